//! Handshakes that are answered with something else.

use serde_json::json;

use crate::against;
use crate::scene::Scene;
use crate::server::{Foreign, Server};

/// A runtime whose WebSocket is at `path`.
async fn at(server: &Server, path: &str) -> Scene {
    Scene::against(server, |config| config.connection.path = path.to_owned()).await
}

against!(a_refusal_that_will_not_change_is_final_and_says_why: websockets, uvicorn, h11, node);
async fn a_refusal_that_will_not_change_is_final_and_says_why(foreign: Foreign) {
    let server = foreign.start().await;
    for (status, reason) in
        [(401, "unauthenticated"), (403, "forbidden"), (404, "not_found"), (400, "rejected")]
    {
        let mut scene = at(&server, &format!("/refuse/{status}")).await;
        let failed = scene.connection_becomes("failed").await;
        assert_eq!((&failed["reason"], &failed["attempt"]), (&json!(reason), &json!(1)), "{failed}");
        assert_eq!(failed["error"]["status"], status, "{failed}");
        let message = failed["error"]["message"].as_str().unwrap();
        assert!(!message.contains("/refuse") && !message.contains("127.0.0.1"), "{message}");
        // The link is one thing, requests another.
        if !server.foreign.is_websocket_alone() {
            let answer = scene.json(mainstay::Request::get("/echo")).await;
            assert_eq!(answer["method"], "GET");
        }
    }
}

against!(a_refusal_that_may_change_is_tried_again_when_the_server_said: websockets, uvicorn, h11, node);
async fn a_refusal_that_may_change_is_tried_again_when_the_server_said(foreign: Foreign) {
    let server = foreign.start().await;
    for (status, reason) in [(503, "unavailable"), (429, "rate_limited")] {
        let mut scene = at(&server, &format!("/refuse/{status}")).await;
        let waiting = scene.connection_becomes("reconnecting").await;
        assert_eq!((&waiting["reason"], &waiting["error"]["status"]), (&json!(reason), &json!(status)));
        // Its own delay would be a tenth of a second at most.
        let wait = waiting["next_attempt_in_ms"].as_u64().unwrap();
        assert!((1_000..=2_000).contains(&wait), "{waiting}");
    }
}

// An application that closes before it accepts, a WebSocket route that is not there, a guard that raises: this is what
// a client sees of each on uvicorn.
against!(what_fastapi_does_not_accept_is_forbidden: uvicorn, h11);
async fn what_fastapi_does_not_accept_is_forbidden(foreign: Foreign) {
    let server = foreign.start().await;
    for path in ["/unaccepted", "/no-such-path", "/echo"] {
        let failed = at(&server, path).await.connection_becomes("failed").await;
        assert_eq!(
            (&failed["reason"], &failed["error"]["status"]),
            (&json!("forbidden"), &json!(403)),
            "{path}"
        );
    }
    let failed = at(&server, "/dependency").await.connection_becomes("failed").await;
    assert_eq!((&failed["reason"], &failed["error"]["status"]), (&json!("unauthenticated"), &json!(401)));
}

// What happens where uvicorn was installed without a library for WebSockets.
against!(uvicorn_without_websockets_has_none_at_that_place: uvicorn, h11);
async fn uvicorn_without_websockets_has_none_at_that_place(foreign: Foreign) {
    let server = foreign.with(["--ws", "none"]).start().await;
    let failed = at(&server, "/ws").await.connection_becomes("failed").await;
    assert_eq!(
        (&failed["reason"], &failed["error"]["status"]),
        (&json!("not_found"), &json!(404)),
        "{failed}"
    );
}

against!(a_server_without_websockets_is_told_from_one_with_another_path: node);
async fn a_server_without_websockets_is_told_from_one_with_another_path(foreign: Foreign) {
    let server = foreign.with(["--without-websocket"]).start().await;
    let failed = at(&server, "/ws").await.connection_becomes("failed").await;
    assert_eq!(failed["reason"], "not_found", "{failed}");
    // A page in place of a handshake may be a network's sign-in page, which goes away.
    let waiting = at(&server, "/echo").await.connection_becomes("reconnecting").await;
    assert_eq!((&waiting["reason"], &waiting["error"]["status"]), (&json!("not_websocket"), &json!(200)));
}

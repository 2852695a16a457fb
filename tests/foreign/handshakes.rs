//! Handshakes that are answered with something else.

use serde_json::json;

use crate::against;
use crate::fixture::ForeignFixture;
use crate::server::{RunningServer, ServerSpec};

/// A runtime whose WebSocket is at `path`.
async fn start_at(server: &RunningServer, path: &str) -> ForeignFixture {
    ForeignFixture::start(server, |config| config.connection.path = path.to_owned()).await
}

against!(a_refusal_that_will_not_change_is_final_and_says_why: websockets, uvicorn, h11, node);
async fn a_refusal_that_will_not_change_is_final_and_says_why(foreign: ServerSpec) {
    let server = foreign.start().await;
    for (status, reason) in
        [(401, "unauthenticated"), (403, "forbidden"), (404, "not_found"), (400, "rejected")]
    {
        let mut scene = start_at(&server, &format!("/refuse/{status}")).await;
        let failed = scene.wait_for_connection("failed").await;
        assert_eq!((&failed["reason"], &failed["attempt"]), (&json!(reason), &json!(1)), "{failed}");
        assert_eq!(failed["error"]["status"], status, "{failed}");
        let message = failed["error"]["message"].as_str().unwrap();
        assert!(!message.contains("/refuse") && !message.contains("127.0.0.1"), "{message}");
        // The link is one thing, requests another.
        if !server.spec.is_websocket_only() {
            let answer = scene.request_json(mainstay::Request::get("/echo")).await;
            assert_eq!(answer["method"], "GET");
        }
    }
}

against!(a_refusal_that_may_change_is_tried_again_when_the_server_said: websockets, uvicorn, h11, node);
async fn a_refusal_that_may_change_is_tried_again_when_the_server_said(foreign: ServerSpec) {
    let server = foreign.start().await;
    for (status, reason) in [(503, "unavailable"), (429, "rate_limited")] {
        let mut scene = start_at(&server, &format!("/refuse/{status}")).await;
        let waiting = scene.wait_for_connection("reconnecting").await;
        assert_eq!((&waiting["reason"], &waiting["error"]["status"]), (&json!(reason), &json!(status)));
        // Its own delay would be a tenth of a second at most.
        let wait = waiting["next_attempt_in_ms"].as_u64().unwrap();
        assert!((1_000..=2_000).contains(&wait), "{waiting}");
    }
}

// An application that closes before it accepts, a WebSocket route that is not there, a guard that raises: this is what
// a client sees of each on uvicorn.
against!(what_fastapi_does_not_accept_is_forbidden: uvicorn, h11);
async fn what_fastapi_does_not_accept_is_forbidden(foreign: ServerSpec) {
    let server = foreign.start().await;
    for path in ["/unaccepted", "/no-such-path", "/echo"] {
        let failed = start_at(&server, path).await.wait_for_connection("failed").await;
        assert_eq!(
            (&failed["reason"], &failed["error"]["status"]),
            (&json!("forbidden"), &json!(403)),
            "{path}"
        );
    }
    let failed = start_at(&server, "/dependency").await.wait_for_connection("failed").await;
    assert_eq!((&failed["reason"], &failed["error"]["status"]), (&json!("unauthenticated"), &json!(401)));
}

// What happens where uvicorn was installed without a library for WebSockets.
against!(uvicorn_without_websockets_has_none_at_that_place: uvicorn, h11);
async fn uvicorn_without_websockets_has_none_at_that_place(foreign: ServerSpec) {
    let server = foreign.with(["--ws", "none"]).start().await;
    let failed = start_at(&server, "/ws").await.wait_for_connection("failed").await;
    assert_eq!(
        (&failed["reason"], &failed["error"]["status"]),
        (&json!("not_found"), &json!(404)),
        "{failed}"
    );
}

against!(a_server_without_websockets_is_told_from_one_with_another_path: node);
async fn a_server_without_websockets_is_told_from_one_with_another_path(foreign: ServerSpec) {
    let server = foreign.with(["--without-websocket"]).start().await;
    let failed = start_at(&server, "/ws").await.wait_for_connection("failed").await;
    assert_eq!(failed["reason"], "not_found", "{failed}");
    // A page in place of a handshake may be a network's sign-in page, which goes away.
    let waiting = start_at(&server, "/echo").await.wait_for_connection("reconnecting").await;
    assert_eq!((&waiting["reason"], &waiting["error"]["status"]), (&json!("not_websocket"), &json!(200)));
}

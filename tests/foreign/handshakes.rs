//! Tests handshakes with another response than 101.

use serde_json::json;

use crate::against;
use crate::fixture::ForeignFixture;
use crate::server::{RunningServer, ServerSpec};
use crate::support::assert_members;

/// Starts a runtime whose WebSocket is at `path`.
async fn start_at(server: &RunningServer, path: &str) -> ForeignFixture {
    ForeignFixture::start(server, |config| config.connection.path = path.to_owned()).await
}

against!(unrecoverable_refusal_fails_with_its_reason: websockets, uvicorn, h11, node);
async fn unrecoverable_refusal_fails_with_its_reason(foreign: ServerSpec) {
    let server = foreign.start().await;
    for (status, reason) in
        [(401, "unauthenticated"), (403, "forbidden"), (404, "not_found"), (400, "bad_request")]
    {
        let mut fixture = start_at(&server, &format!("/refuse/{status}")).await;
        let failed = fixture.wait_for_connection("failed").await;
        assert_eq!((&failed["reason"], &failed["attempt"]), (&json!(reason), &json!(1)), "{failed}");
        assert_eq!(failed["error"]["status"], status, "{failed}");
        let message = failed["error"]["message"].as_str().unwrap();
        assert!(!message.contains("/refuse") && !message.contains("127.0.0.1"), "{message}");
        // The connection fails, but requests still succeed.
        if !server.spec.is_websocket_only() {
            let answer = fixture.request_json(mainstay::Request::get("/echo")).await;
            assert_eq!(answer["method"], "GET");
        }
    }
}

against!(temporary_refusal_is_retried_after_retry_after: websockets, uvicorn, h11, node);
async fn temporary_refusal_is_retried_after_retry_after(foreign: ServerSpec) {
    let server = foreign.start().await;
    for (status, reason) in [(503, "unavailable"), (429, "rate_limited")] {
        let mut fixture = start_at(&server, &format!("/refuse/{status}")).await;
        let waiting = fixture.wait_for_connection("reconnecting").await;
        assert_eq!((&waiting["reason"], &waiting["error"]["status"]), (&json!(reason), &json!(status)));
        // Its own delay would be a tenth of a second at most.
        let wait = waiting["next_attempt_in_ms"].as_u64().unwrap();
        assert!((1_000..=2_000).contains(&wait), "{waiting}");
    }
}

// An application that closes before it accepts, a missing WebSocket route, a guard that raises: a client sees these on
// uvicorn.
against!(fastapi_rejections_are_forbidden: uvicorn, h11);
async fn fastapi_rejections_are_forbidden(foreign: ServerSpec) {
    let server = foreign.start().await;
    for path in ["/unaccepted", "/no-such-path", "/echo"] {
        let failed = start_at(&server, path).await.wait_for_connection("failed").await;
        assert_members(&failed, &json!({ "reason": "forbidden", "error": { "status": 403 } }));
    }
    let failed = start_at(&server, "/dependency").await.wait_for_connection("failed").await;
    assert_eq!((&failed["reason"], &failed["error"]["status"]), (&json!("unauthenticated"), &json!(401)));
}

// This happens where uvicorn was installed without a library for WebSockets.
against!(uvicorn_without_websockets_has_none_at_that_place: uvicorn, h11);
async fn uvicorn_without_websockets_has_none_at_that_place(foreign: ServerSpec) {
    let server = foreign.with(["--ws", "none"]).start().await;
    let failed = start_at(&server, "/ws").await.wait_for_connection("failed").await;
    assert_members(&failed, &json!({ "reason": "not_found", "error": { "status": 404 } }));
}

against!(missing_websocket_support_differs_from_wrong_path: node);
async fn missing_websocket_support_differs_from_wrong_path(foreign: ServerSpec) {
    let server = foreign.with(["--without-websocket"]).start().await;
    let failed = start_at(&server, "/ws").await.wait_for_connection("failed").await;
    assert_eq!(failed["reason"], "not_found", "{failed}");
    // A page in place of a handshake may be a network's sign-in page, which is temporary.
    let waiting = start_at(&server, "/echo").await.wait_for_connection("reconnecting").await;
    assert_eq!((&waiting["reason"], &waiting["error"]["status"]), (&json!("not_websocket"), &json!(200)));
}

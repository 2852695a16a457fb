//! Tests temporary failures, killed servers and missing responses: what is repeated, and what must not be.

use mainstay::Request;
use mainstay::{Code, Reason};
use serde_json::json;

use crate::against;
use crate::fixture::{ForeignFixture, ServerAndRuntime, millis, retries_for_restart, send_request};
use crate::server::ServerSpec;

against!(failure_that_passes_is_not_seen_by_the_caller(started): uvicorn, h11, node);
async fn failure_that_passes_is_not_seen_by_the_caller((_server, mut fixture): ServerAndRuntime) {
    let later = fixture.request(Request::get("/flaky/later?failures=1&retry_after=1")).await.unwrap();
    let retry = fixture.wait_for_event("request_retry").await;
    assert_eq!((later.attempts, &retry["delay_ms"]), (2, &json!(1_000)), "{retry}");
    for status in [408, 425, 429, 500, 502, 503, 504] {
        let response =
            fixture.request(Request::get(format!("/flaky/get{status}?failures=2&status={status}"))).await;
        assert_eq!(response.unwrap().attempts, 3, "{status}");
    }
    let response =
        fixture.request(Request::put("/flaky/put?failures=1").json(&json!({ "n": 1 }))).await.unwrap();
    assert_eq!(response.attempts, 2);
    let seen = fixture.requests_seen("put").await;
    assert_eq!(seen.len(), 2);
    assert_eq!((&seen[0]["body"], &seen[0]), (&json!(json!({ "n": 1 }).to_string()), &seen[1]));
    let error = fixture.request(Request::get("/flaky/stubborn?failures=3")).await.unwrap_err();
    assert_eq!((error.code, error.reason, error.attempts), (Code::ServerError, Reason::Unavailable, 3));
    fixture.mainstay.shutdown().await;
    fixture.wait_for_event("runtime_stopped").await;
    assert_eq!(fixture.count("request_retry"), 1 + 7 * 2 + 1 + 2);
}

against!(answer_that_does_not_come_in_time_is_a_timeout(started): uvicorn, h11, node);
async fn answer_that_does_not_come_in_time_is_a_timeout((mut server, fixture): ServerAndRuntime) {
    let request = Request::get("/slow?ms=60000").timeout(millis(200)).retries(1);
    let error = fixture.request(request).await.unwrap_err();
    assert_eq!((error.code, error.reason, error.attempts), (Code::Timeout, Reason::TimedOut, 2));
    // A response that begins and then stalls is treated alike.
    let error =
        fixture.request(Request::get("/begin/still").timeout(millis(2_000)).retries(0)).await.unwrap_err();
    assert_eq!(error.code, Code::Timeout, "{error:?}");
    assert_eq!(error.reason, Reason::TimedOut, "{error:?}");
    assert_eq!(error.status, Some(200), "{error:?}");
    let request = Request::post("/hold/late").body("{}").timeout(millis(3_000));
    let (error, ()) = tokio::join!(fixture.request(request), server.expect_line("holding late"));
    let error = error.unwrap_err();
    assert_eq!(error.code, Code::Timeout, "{error:?}");
    assert_eq!(error.reason, Reason::OutcomeUnknown, "{error:?}");
    assert_eq!(error.attempts, 1, "{error:?}");
    server.expect_line("released late").await;
    assert_eq!(fixture.requests_seen("late").await.len(), 1);
}

against!(server_that_is_killed_within_its_answer_is_a_network_error: uvicorn, h11, node);
async fn server_that_is_killed_within_its_answer_is_a_network_error(foreign: ServerSpec) {
    // One response has a length, one comes in chunks.
    for path in ["/begin/cut?length=1000", "/begin/cut"] {
        let mut server = foreign.start().await;
        let fixture = ForeignFixture::start(&server, |_| ()).await;
        let request = Request::get(path).retries(0);
        let (error, _) = tokio::join!(fixture.request(request), async {
            server.expect_line("begun cut").await;
            server.kill().await
        });
        let error = error.unwrap_err();
        assert_eq!((error.code, error.reason), (Code::NetworkError, Reason::ConnectionReset), "{error:?}");
        assert!(error.retryable, "{error:?}");
    }
}

against!(truncated_response_is_retried_once_server_is_back: uvicorn, h11, node);
async fn truncated_response_is_retried_once_server_is_back(foreign: ServerSpec) {
    let mut server = foreign.start().await;
    let fixture = ForeignFixture::start(&server, retries_for_restart).await;
    let (answer, _server) =
        tokio::join!(fixture.request(Request::get("/sse?count=4&ms=100&name=it")), async {
            server.expect_line("streaming it").await;
            server.kill().await.restart_with([]).await
        });
    let answer = answer.unwrap();
    let expected: String = (0..4).map(|number| format!("event: step\ndata: {number}\n\n")).collect();
    assert!(answer.body == expected && answer.attempts > 1, "{answer:?}");
}

against!(server_killed_during_post_leaves_outcome_unknown(started): uvicorn, h11, node);
async fn server_killed_during_post_leaves_outcome_unknown((mut server, mut fixture): ServerAndRuntime) {
    let request = Request::post("/hold/it").json(&json!({ "pay": 100 }));
    let (error, gone) = tokio::join!(fixture.request(request), async {
        server.expect_line("holding it").await;
        server.kill().await
    });
    let error = error.unwrap_err();
    assert_eq!((error.code, error.reason), (Code::NetworkError, Reason::OutcomeUnknown), "{error:?}");
    assert_eq!((error.attempts, error.retryable), (1, false));
    // No server acted on a refused request, so a POST waits until the server is back, and is sent once.
    let request = Request::post("/flaky/back?failures=0").body("{}");
    let mainstay = fixture.mainstay.clone();
    let (answer, server) = tokio::join!(send_request(&mainstay, request), async {
        fixture
            .wait_for("a refused trial", |event| event["kind"] == "queue_held" && event["failures"] != 0)
            .await;
        gone.restart_with([]).await
    });
    assert_eq!(answer.unwrap().attempts, 1);
    let fixture = ForeignFixture::start(&server, |_| ()).await;
    assert_eq!(fixture.requests_seen("back").await.len(), 1);
}

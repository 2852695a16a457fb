//! Failures that pass, servers that are killed, answers that do not come: what is repeated, and what must not be.

use mainstay::Request;
use mainstay::actors::error::{Code, Reason};
use serde_json::json;

use crate::against;
use crate::fixture::{ForeignFixture, millis, retries_for_restart, send_request};
use crate::server::ServerSpec;

against!(a_failure_that_passes_is_not_seen_by_the_caller: uvicorn, h11, node);
async fn a_failure_that_passes_is_not_seen_by_the_caller(foreign: ServerSpec) {
    let server = foreign.start().await;
    let mut scene = ForeignFixture::start(&server, |_| ()).await;
    for status in [408, 425, 429, 500, 502, 503, 504] {
        let response =
            scene.request(Request::get(format!("/flaky/get{status}?failures=2&status={status}"))).await;
        assert_eq!(response.unwrap().attempts, 3, "{status}");
    }
    let response =
        scene.request(Request::put("/flaky/put?failures=1").json(&json!({ "n": 1 }))).await.unwrap();
    assert_eq!(response.attempts, 2);
    let seen = scene.requests_seen("put").await;
    assert_eq!(seen.len(), 2);
    assert_eq!((&seen[0]["body"], &seen[0]), (&json!(json!({ "n": 1 }).to_string()), &seen[1]));
    let error = scene.request(Request::get("/flaky/stubborn?failures=3")).await.unwrap_err();
    assert_eq!((error.code, error.reason, error.attempts), (Code::ServerError, Reason::Unavailable, 3));
    scene.mainstay.shutdown().await;
    scene.wait_for_event("runtime_stopped").await;
    assert_eq!(scene.count("request_retry"), 7 * 2 + 1 + 2);
}

against!(a_server_that_says_when_to_come_back_is_not_asked_before: uvicorn, h11, node);
async fn a_server_that_says_when_to_come_back_is_not_asked_before(foreign: ServerSpec) {
    let server = foreign.start().await;
    let mut scene = ForeignFixture::start(&server, |_| ()).await;
    let response = scene.request(Request::get("/flaky/later?failures=1&retry_after=1")).await.unwrap();
    assert_eq!(response.attempts, 2);
    let retry = scene.wait_for_event("request_retry").await;
    assert_eq!((&retry["delay_ms"], &retry["reason"]), (&json!(1_000), &json!("unavailable")), "{retry}");
    // A date that has passed asks for nothing, and neither does what cannot be read.
    for asked in ["Fri,%2001%20Jan%202021%2000:00:00%20GMT", "soon", "-1"] {
        let name = format!("late{}", asked.len());
        let path = format!("/flaky/{name}?failures=1&retry_after={asked}");
        assert_eq!(scene.request(Request::get(path)).await.unwrap().attempts, 2);
        assert!(scene.wait_for_event("request_retry").await["delay_ms"].as_u64().unwrap() <= 50);
    }
    let error = scene.request(Request::get("/fail/503?retry_after=7").retries(0)).await.unwrap_err();
    assert_eq!((error.reason, error.retry_after_ms), (Reason::Unavailable, Some(7_000)));
}

against!(a_fault_of_the_application_hides_whether_a_post_was_carried_out: uvicorn, h11, node);
async fn a_fault_of_the_application_hides_whether_a_post_was_carried_out(foreign: ServerSpec) {
    let server = foreign.start().await;
    let scene = ForeignFixture::start(&server, |_| ()).await;
    let error = scene.request(Request::get("/raise")).await.unwrap_err();
    assert_eq!((error.code, error.reason, error.attempts), (Code::ServerError, Reason::ServerError, 3));
    let error = scene.request(Request::post("/raise")).await.unwrap_err();
    assert_eq!(
        (error.reason, error.status, error.attempts),
        (Reason::OutcomeUnknown, Some(500), 1),
        "{error:?}"
    );
    let error = scene.request(Request::post("/flaky/post?failures=1")).await.unwrap_err();
    assert_eq!(
        (error.reason, error.status, error.attempts),
        (Reason::OutcomeUnknown, Some(503), 1),
        "{error:?}"
    );
    assert_eq!(scene.requests_seen("post").await.len(), 1);
}

against!(every_attempt_carries_the_same_key: uvicorn, h11, node);
async fn every_attempt_carries_the_same_key(foreign: ServerSpec) {
    let server = foreign.start().await;
    let scene = ForeignFixture::start(&server, |_| ()).await;
    let given = Request::post("/flaky/given?failures=2").idempotency_key("order-17").body("{}");
    assert_eq!(scene.request(given).await.unwrap().attempts, 3);
    let keys: Vec<_> = scene.requests_seen("given").await.iter().map(|seen| seen["key"].clone()).collect();
    assert_eq!(keys, ["order-17", "order-17", "order-17"]);
    let made = Request::post("/flaky/made?failures=2").generated_idempotency_key().body("{}");
    assert_eq!(scene.request(made).await.unwrap().attempts, 3);
    let seen = scene.requests_seen("made").await;
    assert!(seen.len() == 3 && seen[0] == seen[1] && seen[0] == seen[2], "{seen:?}");
    assert_eq!(seen[0]["key"].as_str().unwrap().len(), 36);
}

against!(an_answer_that_does_not_come_in_time_is_a_timeout: uvicorn, h11, node);
async fn an_answer_that_does_not_come_in_time_is_a_timeout(foreign: ServerSpec) {
    let mut server = foreign.start().await;
    let scene = ForeignFixture::start(&server, |_| ()).await;
    let request = Request::get("/slow?ms=60000").timeout(millis(200)).retries(1);
    let error = scene.request(request).await.unwrap_err();
    assert_eq!((error.code, error.reason, error.attempts), (Code::Timeout, Reason::TimedOut, 2));
    // Begun and then standing still is no better.
    let error =
        scene.request(Request::get("/begin/still").timeout(millis(2_000)).retries(0)).await.unwrap_err();
    assert_eq!(
        (error.code, error.reason, error.status),
        (Code::Timeout, Reason::TimedOut, Some(200)),
        "{error:?}"
    );
    let request = Request::post("/hold/late").body("{}").timeout(millis(3_000));
    let (error, ()) = tokio::join!(scene.request(request), server.expect_line("holding late"));
    let error = error.unwrap_err();
    assert_eq!(
        (error.code, error.reason, error.attempts),
        (Code::Timeout, Reason::OutcomeUnknown, 1),
        "{error:?}"
    );
    server.expect_line("released late").await;
    assert_eq!(scene.requests_seen("late").await.len(), 1);
}

against!(a_server_that_is_killed_within_its_answer_is_a_network_error: uvicorn, h11, node);
async fn a_server_that_is_killed_within_its_answer_is_a_network_error(foreign: ServerSpec) {
    // An answer whose length was announced, and one in chunks.
    for path in ["/begin/cut?length=1000", "/begin/cut"] {
        let mut server = foreign.start().await;
        let scene = ForeignFixture::start(&server, |_| ()).await;
        let request = Request::get(path).retries(0);
        let (error, _) = tokio::join!(scene.request(request), async {
            server.expect_line("begun cut").await;
            server.kill().await
        });
        let error = error.unwrap_err();
        assert_eq!((error.code, error.reason), (Code::NetworkError, Reason::ConnectionReset), "{error:?}");
        assert!(error.retryable, "{error:?}");
    }
}

against!(an_answer_that_was_cut_off_is_asked_for_again_when_the_server_is_back: uvicorn, h11, node);
async fn an_answer_that_was_cut_off_is_asked_for_again_when_the_server_is_back(foreign: ServerSpec) {
    let mut server = foreign.start().await;
    let scene = ForeignFixture::start(&server, retries_for_restart).await;
    let (answer, _server) = tokio::join!(scene.request(Request::get("/sse?count=4&ms=100&name=it")), async {
        server.expect_line("streaming it").await;
        server.kill().await.restart_with([]).await
    });
    let answer = answer.unwrap();
    let expected: String = (0..4).map(|number| format!("event: step\ndata: {number}\n\n")).collect();
    assert!(answer.body == expected && answer.attempts > 1, "{answer:?}");
}

against!(a_server_that_is_killed_with_a_post_in_hand_leaves_its_outcome_unknown: uvicorn, h11, node);
async fn a_server_that_is_killed_with_a_post_in_hand_leaves_its_outcome_unknown(foreign: ServerSpec) {
    let mut server = foreign.start().await;
    let mut scene = ForeignFixture::start(&server, |_| ()).await;
    let request = Request::post("/hold/it").json(&json!({ "pay": 100 }));
    let (error, gone) = tokio::join!(scene.request(request), async {
        server.expect_line("holding it").await;
        server.kill().await
    });
    let error = error.unwrap_err();
    assert_eq!((error.code, error.reason), (Code::NetworkError, Reason::OutcomeUnknown), "{error:?}");
    assert_eq!((error.attempts, error.retryable), (1, false));
    // A request that meets nobody was not acted on by anybody, so a POST waits until somebody is there, and is sent once.
    let request = Request::post("/flaky/back?failures=0").body("{}");
    let mainstay = scene.mainstay.clone();
    let (answer, server) = tokio::join!(send_request(&mainstay, request), async {
        scene
            .wait_for("a refused trial", |event| event["kind"] == "queue_held" && event["failures"] != 0)
            .await;
        gone.restart_with([]).await
    });
    assert_eq!(answer.unwrap().attempts, 1);
    let scene = ForeignFixture::start(&server, |_| ()).await;
    assert_eq!(scene.requests_seen("back").await.len(), 1);
}

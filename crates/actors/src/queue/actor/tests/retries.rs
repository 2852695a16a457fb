//! What is tried again, when, and what is not.

use futures_util::future::join_all;

use super::{
    fixture::{QueueFixture, advance_time, failure_reason, get, policy, post, run_until_idle, s, status},
    scripted_transport::ScriptedResponse,
};
use crate::{
    error::{Code, Reason},
    queue::{QueuePolicy, events::RequestRetry},
};

#[tokio::test(start_paused = true)]
async fn attempts_share_one_key_and_follow_the_policy_delays() {
    let scene = QueueFixture::start(policy()).await;
    scene
        .script
        .on("/a", [ScriptedResponse::Respond(503), ScriptedResponse::Reset, ScriptedResponse::Respond(200)]);
    let answer = scene.request(post("/a").generated_idempotency_key()).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.attempts), (200, 3));
    assert_eq!(scene.script.times("/a"), [0, 1, 3]);
    let keys: Vec<_> = scene.script.seen().into_iter().map(|seen| seen.key.unwrap()).collect();
    assert!(keys[0].len() == 36 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    let told: Vec<RequestRetry> = scene.events().await;
    let told: Vec<_> = told.iter().map(|event| (event.attempt, event.delay_ms, event.reason)).collect();
    assert_eq!(told, [(2, 1000, Reason::Unavailable), (3, 2000, Reason::ConnectionReset)]);
}

#[tokio::test(start_paused = true)]
async fn two_requests_never_share_a_generated_key() {
    let scene = QueueFixture::start(policy()).await;
    let answers = ["/a", "/b"].map(|path| scene.request(post(path).generated_idempotency_key()));
    assert!(join_all(answers).await.into_iter().all(|answer| answer.is_ok()));
    let seen = scene.script.seen();
    assert!(seen[0].key.is_some() && seen[1].key.is_some() && seen[0].key != seen[1].key);
}

#[tokio::test(start_paused = true)]
async fn keyless_post_that_may_have_arrived_is_not_retried() {
    for (play, code) in [
        (ScriptedResponse::Hang, Code::Timeout),
        (ScriptedResponse::Reset, Code::NetworkError),
        (ScriptedResponse::Respond(500), Code::ServerError),
        (ScriptedResponse::Panic, Code::ServerError),
    ] {
        let scene = QueueFixture::start(policy()).await;
        scene.script.on("/pay", [play]);
        let (id, answer) = scene.submit(post("/pay"));
        let error = answer.await.unwrap_err();
        assert_eq!((error.code, error.reason), (code, Reason::OutcomeUnknown));
        assert_eq!((error.retryable, error.attempts, error.request_id), (false, 1, Some(id)));
        advance_time(s(600)).await;
        assert_eq!(scene.script.paths(), ["/pay"]);
        assert_eq!(scene.event_kinds_of(id).await.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_that_cannot_have_arrived_is_repeated() {
    let scene = QueueFixture::start(policy()).await;
    scene.script.on("/pay", [ScriptedResponse::Refuse, ScriptedResponse::Respond(201)]);
    assert_eq!(status(scene.request(post("/pay")).await), 201);
    assert_eq!(scene.script.times("/pay"), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn exhausted_retries_return_the_last_failure() {
    let scene = QueueFixture::start(policy()).await;
    scene.script.on(
        "/a",
        [
            ScriptedResponse::Reset,
            ScriptedResponse::Reset,
            ScriptedResponse::Hang,
            ScriptedResponse::Respond(502),
        ],
    );
    let error = scene.request(get("/a")).await.unwrap_err();
    assert_eq!((error.reason, error.attempts, error.status), (Reason::BadGateway, 4, Some(502)));
    assert_eq!(scene.script.times("/a"), [0, 1, 3, 37]);
}

#[tokio::test(start_paused = true)]
async fn client_error_status_is_final_at_once() {
    let scene = QueueFixture::start(policy()).await;
    scene.script.on("/a", [ScriptedResponse::Respond(404)]);
    assert_eq!(failure_reason(scene.request(get("/a")).await), (Reason::NotFound, 1));
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_within_a_backoff_changes_nothing() {
    for jump_s in [-86_400 * 365, -10, 10, 86_400 * 365] {
        let scene = QueueFixture::start(policy()).await;
        scene.script.on(
            "/a",
            [ScriptedResponse::RetryAfter(20), ScriptedResponse::Reset, ScriptedResponse::Respond(200)],
        );
        let answer = scene.request(get("/a"));
        advance_time(s(5)).await;
        scene.clock.jump(jump_s);
        assert_eq!(status(answer.await), 200);
        assert_eq!(scene.script.times("/a"), [0, 20, 22]);
    }
}

#[tokio::test(start_paused = true)]
async fn backoff_holds_no_permit() {
    let scene = QueueFixture::start(policy()).await;
    scene.script.on("/down", [ScriptedResponse::RetryAfter(10), ScriptedResponse::Respond(200)]);
    let (down, other) = (scene.request(get("/down")), scene.request(get("/other")));
    assert_eq!(status(other.await), 200);
    assert_eq!(scene.script.times("/other"), [0]);
    assert_eq!(status(down.await), 200);
    assert_eq!(scene.script.times("/down"), [0, 10]);
}

#[tokio::test(start_paused = true)]
async fn backoff_and_attempt_do_not_count_as_queue_time() {
    let scene = QueueFixture::start(QueuePolicy { wait_timeout: s(2), timeout: s(30), ..policy() }).await;
    scene
        .script
        .on("/a", [ScriptedResponse::Hang, ScriptedResponse::RetryAfter(10), ScriptedResponse::Respond(200)]);
    assert_eq!(status(scene.request(get("/a")).await), 200);
    assert_eq!(scene.script.times("/a"), [0, 31, 41]);
}

#[tokio::test(start_paused = true)]
async fn request_expiring_before_a_retry_says_so() {
    let scene = QueueFixture::start(QueuePolicy { wait_timeout: s(5), ..policy() }).await;
    scene.script.on("/down", [ScriptedResponse::Reset, ScriptedResponse::Respond(200)]);
    scene.script.on("/long", [ScriptedResponse::RespondAfter(s(20), 200)]);
    let (down, _long) = (scene.request(get("/down")), scene.request(get("/long")));
    let error = down.await.unwrap_err();
    assert_eq!((error.code, error.reason, error.attempts), (Code::Timeout, Reason::Expired, 1));
    assert_eq!(error.details.as_deref(), Some("the last attempt failed: connection_reset"));
    assert!(!error.message.contains("not sent"));
    assert_eq!(scene.runtime.now().as_secs(), 6);
    advance_time(s(60)).await;
    assert_eq!(scene.script.times("/down").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn retries_of_a_failing_backend_stay_within_the_budget() {
    let scene = QueueFixture::start(QueuePolicy { max_concurrent: 5, ..policy() }).await;
    scene.script.on("/x", [ScriptedResponse::Respond(503)]);
    let answers: Vec<_> = (0..100).map(|_| scene.request(get("/x"))).collect();
    for answer in join_all(answers).await {
        assert_eq!(failure_reason(answer).0, Reason::Unavailable);
    }
    // A fifth of the requests, and the reserve of ten.
    assert_eq!(scene.script.paths().len(), 100 + 20 + 10);
    scene.crash().await;
    let answers: Vec<_> = (0..10).map(|_| scene.request(get("/x"))).collect();
    join_all(answers).await;
    assert_eq!(scene.script.paths().len(), 110 + 22 + 10, "a crash gives nothing back");
}

#[tokio::test(start_paused = true)]
async fn unreachable_backend_gets_probes_and_no_retries() {
    let scene = QueueFixture::start(QueuePolicy { max_concurrent: 5, ..policy() }).await;
    scene.script.refuse_all(true);
    let answers: Vec<_> = (0..100).map(|_| scene.request(get("/x"))).collect();
    for answer in join_all(answers).await {
        assert_eq!(failure_reason(answer), (Reason::Disconnected, 0));
    }
    assert_eq!(scene.script.paths().len(), 5 + 5);
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_panics_fails_its_own_request_alone() {
    let scene = QueueFixture::start(QueuePolicy { max_concurrent: 2, ..policy() }).await;
    scene.script.on("/bad", [ScriptedResponse::Panic]);
    scene.script.on("/good", [ScriptedResponse::RespondAfter(s(20), 200)]);
    let (good, bad) = (scene.request(post("/good")), scene.request(get("/bad")));
    assert_eq!(failure_reason(bad.await), (Reason::Crashed, 4));
    assert_eq!(status(good.await), 200);
    run_until_idle().await;
    assert_eq!((scene.generation(), scene.script.running()), (1, 0));
}

//! Tests retries: which, and when.

use super::*;

#[tokio::test(start_paused = true)]
async fn attempts_share_one_key_and_follow_the_policy_delays() {
    let fixture = with_plan("/a", [Respond(503), Reset, Respond(200)]).await;
    let answer = fixture.request(post("/a").generated_idempotency_key()).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.attempts), (200, 3));
    assert_eq!(fixture.transport.times("/a"), [0, 1, 3]);
    let keys: Vec<_> = fixture.transport.seen().into_iter().map(|seen| seen.key.unwrap()).collect();
    assert!(keys[0].len() == 36 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    let recorded: Vec<RequestRetry> = fixture.events().await;
    let recorded: Vec<_> =
        recorded.iter().map(|event| (event.attempt, event.delay_ms, event.reason)).collect();
    assert_eq!(recorded, [(2, 1000, Reason::Unavailable), (3, 2000, Reason::ConnectionReset)]);
}

#[tokio::test(start_paused = true)]
async fn two_requests_never_share_a_generated_key() {
    let fixture = QueueFixture::start(policy()).await;
    let answers = ["/a", "/b"].map(|path| fixture.request(post(path).generated_idempotency_key()));
    assert!(join_all(answers).await.into_iter().all(|answer| answer.is_ok()));
    let seen = fixture.transport.seen();
    assert!(seen[0].key.is_some() && seen[1].key.is_some() && seen[0].key != seen[1].key);
}

#[tokio::test(start_paused = true)]
async fn exhausted_retries_return_the_last_failure() {
    let fixture = with_plan("/a", [Reset, Reset, Hang, Respond(502)]).await;
    let error = fixture.request(get("/a")).await.unwrap_err();
    assert_eq!((error.reason, error.attempts, error.status), (Reason::BadGateway, 4, Some(502)));
    assert_eq!(fixture.transport.times("/a"), [0, 1, 3, 37]);
}

#[tokio::test(start_paused = true)]
async fn wall_clock_that_jumps_within_a_backoff_changes_nothing() {
    for jump_s in [-86_400 * 365, -10, 10, 86_400 * 365] {
        let fixture = with_plan("/a", [RetryAfter(20), Reset, Respond(200)]).await;
        let answer = fixture.request(get("/a"));
        advance_time(s(5)).await;
        fixture.clock.jump(jump_s);
        assert_eq!(status(answer.await), 200);
        assert_eq!(fixture.transport.times("/a"), [0, 20, 22]);
    }
}

#[tokio::test(start_paused = true)]
async fn backoff_holds_no_permit() {
    let fixture = with_plan("/down", [RetryAfter(10), Respond(200)]).await;
    let (down, other) = (fixture.request(get("/down")), fixture.request(get("/other")));
    assert_eq!(status(other.await), 200);
    assert_eq!(fixture.transport.times("/other"), [0]);
    assert_eq!(status(down.await), 200);
    assert_eq!(fixture.transport.times("/down"), [0, 10]);
}

#[tokio::test(start_paused = true)]
async fn backoff_and_attempt_do_not_count_as_queue_time() {
    let fixture = QueueFixture::start(QueuePolicy { wait_timeout: s(2), timeout: s(30), ..policy() }).await;
    fixture.on("/a", [Hang, RetryAfter(10), Respond(200)]);
    assert_eq!(status(fixture.request(get("/a")).await), 200);
    assert_eq!(fixture.transport.times("/a"), [0, 31, 41]);
}

#[tokio::test(start_paused = true)]
async fn request_expiring_before_a_retry_says_so() {
    let fixture = QueueFixture::start(QueuePolicy { wait_timeout: s(5), ..policy() }).await;
    fixture.on("/down", [Reset, Respond(200)]);
    fixture.on("/long", [After(s(20))]);
    let (down, _long) = (fixture.request(get("/down")), fixture.request(get("/long")));
    let error = down.await.unwrap_err();
    assert_eq!((error.code, error.reason, error.attempts), (Code::Timeout, Reason::Expired, 1));
    assert_eq!(error.details.as_deref(), Some("the last attempt failed: connection_reset"));
    assert!(!error.message.contains("not sent"));
    assert_eq!(fixture.runtime.now().as_secs(), 6);
    advance_time(s(60)).await;
    assert_eq!(fixture.transport.times("/down").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn retries_of_a_failing_backend_stay_within_the_budget() {
    let fixture = QueueFixture::start(QueuePolicy { max_concurrent: 5, ..policy() }).await;
    fixture.on("/x", [Respond(503)]);
    let answers: Vec<_> = (0..100).map(|_| fixture.request(get("/x"))).collect();
    for answer in join_all(answers).await {
        assert_eq!(failure_reason(answer).0, Reason::Unavailable);
    }
    // One fifth of the requests, and the reserve of ten.
    assert_eq!(fixture.transport.paths().len(), 100 + 20 + 10);
    fixture.crash().await;
    let answers: Vec<_> = (0..10).map(|_| fixture.request(get("/x"))).collect();
    join_all(answers).await;
    assert_eq!(fixture.transport.paths().len(), 110 + 22 + 10, "a crash gives nothing back");
}

#[tokio::test(start_paused = true)]
async fn transport_that_panics_fails_its_own_request_alone() {
    let fixture = QueueFixture::start(QueuePolicy { max_concurrent: 2, ..policy() }).await;
    fixture.on("/bad", [Panic]);
    fixture.on("/good", [After(s(20))]);
    let (good, bad) = (fixture.request(post("/good")), fixture.request(get("/bad")));
    assert_eq!(failure_reason(bad.await), (Reason::Crashed, 4));
    assert_eq!(status(good.await), 200);
    run_until_idle().await;
    assert_eq!((fixture.generation(), fixture.transport.running()), (1, 0));
}

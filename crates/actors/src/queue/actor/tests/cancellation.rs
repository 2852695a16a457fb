//! Tests cancelled requests and callers that are gone.

use super::*;

/// Returns a fixture with one request that holds the only permit for a minute.
async fn occupied_queue() -> (QueueFixture, impl Future) {
    let fixture = with_plan("/long", [After(s(60))]).await;
    let long = fixture.request(get("/long").timeout(s(100)));
    run_until_idle().await;
    (fixture, long)
}

#[tokio::test(start_paused = true)]
async fn request_cancelled_in_the_queue_is_not_sent() {
    let (fixture, long) = occupied_queue().await;
    let (id, answer) = fixture.submit(get("/x"));
    assert_eq!(fixture.queue.cancel(id).await, Ok(true));
    assert_eq!(fixture.queue.cancel(id).await, Ok(false));
    let error = answer.await.unwrap_err();
    assert_eq!((error.reason, error.attempts, error.request_id), (Reason::Cancelled, 0, Some(id)));
    long.await;
    advance_time(s(60)).await;
    assert_eq!(fixture.transport.paths(), ["/long"]);
    assert_eq!(fixture.event_kinds_of(id).await, ["request_failed"]);
}

#[tokio::test(start_paused = true)]
async fn request_cancelled_in_its_attempt_frees_its_permit() {
    let fixture = with_plan("/hang", [Hang]).await;
    let (id, hang) = fixture.submit(get("/hang"));
    let next = fixture.request(get("/next"));
    run_until_idle().await;
    assert_eq!((fixture.transport.running(), fixture.view.stats().waiting), (1, 1));
    assert_eq!(fixture.queue.cancel(id).await, Ok(true));
    assert_eq!(failure_reason(hang.await), (Reason::Cancelled, 1));
    assert_eq!(status(next.await), 200);
    run_until_idle().await;
    assert_eq!(fixture.transport.peak(), 1);
    assert_eq!(fixture.transport.running(), 0);
    assert_eq!(fixture.view.stats().running, 0);
    assert_eq!(fixture.event_kinds_of(id).await, ["request_failed"]);
}

#[tokio::test(start_paused = true)]
async fn request_cancelled_in_a_backoff_is_not_retried() {
    let fixture = with_plan("/down", [RetryAfter(10)]).await;
    let (id, down) = fixture.submit(get("/down"));
    advance_time(s(5)).await;
    assert_eq!(fixture.queue.cancel(id).await, Ok(true));
    assert_eq!(failure_reason(down.await), (Reason::Cancelled, 1));
    advance_time(s(60)).await;
    assert_eq!(fixture.transport.times("/down"), [0]);
    assert_eq!(fixture.event_kinds_of(id).await, ["request_retry", "request_failed"]);
    let failed: Vec<RequestFailed> = fixture.events().await;
    assert_eq!(failed[0].dropped_attempt, Some(2));
}

#[tokio::test(start_paused = true)]
async fn simultaneous_answer_and_cancel_end_the_request_once() {
    let fixture = QueueFixture::start(QueuePolicy { max_concurrent: 2, ..policy() }).await;
    fixture.on("/x", [After(s(1))]);
    for _ in 0..20 {
        let (id, answer) = fixture.submit(get("/x"));
        let cancel = async {
            advance_time(s(1)).await;
            fixture.queue.cancel(id).await.unwrap()
        };
        let (answer, cancelled) = tokio::join!(answer, cancel);
        assert_eq!(answer.is_err(), cancelled);
        assert_eq!(fixture.event_kinds_of(id).await.len(), 1);
    }
    run_until_idle().await;
    assert_eq!(fixture.view.stats().running, 0);
}

#[tokio::test(start_paused = true)]
async fn cancel_of_an_unknown_request_changes_nothing() {
    let fixture = QueueFixture::start(policy()).await;
    assert_eq!(fixture.queue.cancel(RequestId(99)).await, Ok(false));
    assert!(fixture.events::<RequestFailed>().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn dropped_caller_frees_its_place_in_the_queue() {
    let (fixture, _long) = occupied_queue().await;
    let (id, answer) = fixture.submit(get("/x"));
    run_until_idle().await;
    assert_eq!(fixture.view.stats().waiting, 1);
    drop(answer);
    run_until_idle().await;
    assert_eq!(fixture.view.stats().waiting, 0);
    assert_eq!(fixture.event_kinds_of(id).await, ["request_failed"]);
}

#[tokio::test(start_paused = true)]
async fn dropped_caller_ends_its_attempt() {
    let (fixture, long) = occupied_queue().await;
    let next = fixture.request(get("/next"));
    drop(long);
    assert_eq!(status(next.await), 200);
    assert_eq!((fixture.runtime.now().as_secs(), fixture.transport.peak()), (0, 1));
    assert_eq!(fixture.event_kinds_of(RequestId(1)).await, ["request_failed"]);
}

#[tokio::test(start_paused = true)]
async fn dropped_caller_is_detected_when_its_turn_comes() {
    let (fixture, long) = occupied_queue().await;
    let request = Arc::new(get("/x").build().unwrap());
    let id = RequestId(50);
    let mut silent = Box::pin(fixture.address.call(|reply| QueueMessage::Enqueue { id, request, reply }));
    assert!(futures_util::poll!(&mut silent).is_pending());
    drop(silent);
    long.await;
    run_until_idle().await;
    assert_eq!(fixture.transport.paths(), ["/long"]);
    assert_eq!(fixture.event_kinds_of(id).await, ["request_failed"]);
}

#[tokio::test(start_paused = true)]
async fn answered_request_is_not_cancelled_on_drop() {
    let fixture = QueueFixture::start(policy()).await;
    assert_eq!(status(fixture.request(get("/x")).await), 200);
    assert_eq!(fixture.address.backlog(), 0);
}

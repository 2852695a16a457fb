//! Tests crashes, restarts, stops and the end of the restart budget, for the callers that wait.

use super::*;

#[tokio::test(start_paused = true)]
async fn crash_keeps_waiting_requests_in_order() {
    let fixture = with_plan("/long", [After(s(5))]).await;
    let long = fixture.request(get("/long"));
    let low = fixture.request(get("/low").priority(Priority::Low));
    let normal = fixture.request(post("/normal"));
    let high = fixture.request(get("/high").priority(Priority::High));
    run_until_idle().await;
    fixture.crash().await;
    let late = fixture.request(get("/late"));
    assert_eq!(fixture.generation(), 2);
    for answer in [status(long.await), status(low.await), status(normal.await), status(high.await)] {
        assert_eq!(answer, 200);
    }
    assert_eq!(status(late.await), 200);
    // The interrupted attempt waits one second before it is repeated.
    assert_eq!(fixture.transport.paths(), ["/long", "/high", "/normal", "/low", "/late", "/long"]);
    assert_eq!(fixture.transport.peak(), 1);
}

#[tokio::test(start_paused = true)]
async fn crash_repeats_safe_attempts_and_reports_others_unknown() {
    let fixture = QueueFixture::start(QueuePolicy { max_concurrent: 3, ..policy() }).await;
    for path in ["/get", "/post", "/keyed"] {
        fixture.on(path, [Hang, Respond(200)]);
    }
    let get = fixture.request(get("/get"));
    let (id, post_) = fixture.submit(post("/post"));
    let keyed = fixture.request(post("/keyed").generated_idempotency_key());
    run_until_idle().await;
    fixture.crash().await;
    let error = post_.await.unwrap_err();
    assert_eq!((error.code, error.reason), (Code::ServerError, Reason::OutcomeUnknown));
    assert_eq!((error.retryable, error.attempts, error.request_id), (false, 1, Some(id)));
    assert_eq!((get.await.unwrap().attempts, keyed.await.unwrap().attempts), (2, 2));
    assert_eq!(fixture.transport.paths().iter().filter(|path| *path == "/post").count(), 1);
    assert!(fixture.transport.violations().is_empty(), "{:?}", fixture.transport.violations());
    assert_eq!(fixture.event_kinds_of(id).await, ["request_failed"]);
}

#[tokio::test(start_paused = true)]
async fn repeated_crashes_do_not_exceed_the_retries() {
    let fixture = with_plan("/hang", [Hang]).await;
    let hang = fixture.request(get("/hang").retries(2).timeout(s(1000)));
    for _ in 0..3 {
        advance_time(s(10)).await;
        fixture.crash().await;
    }
    assert_eq!(failure_reason(hang.await), (Reason::Crashed, 3));
    assert_eq!(fixture.transport.paths().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn crash_keeps_backoffs_and_deadlines() {
    let fixture = with_plan("/down", [RetryAfter(20), Respond(200)]).await;
    fixture.on("/long", [After(s(30))]);
    let down = fixture.request(get("/down"));
    advance_time(s(5)).await;
    fixture.crash().await;
    assert_eq!(status(down.await), 200);
    assert_eq!(fixture.transport.times("/down"), [0, 20]);
    let _long = fixture.request(post("/long").idempotency_key("k").timeout(s(100)));
    let late = fixture.request(get("/late").wait_timeout(s(10)));
    let asked_at = fixture.runtime.now();
    advance_time(s(2)).await;
    fixture.crash().await;
    // The interrupted attempt leaves its permit to the waiting one.
    assert_eq!(status(late.await), 200);
    assert!(fixture.runtime.now() - asked_at < s(3));
}

/// Returns a queue that is down for this long after a crash, whose backend takes a minute at `/long`.
async fn restarted_after(delay: Duration) -> QueueFixture {
    let child_policy = ChildPolicy { delay: Delay::Fixed { delay }, ..restart_policy() };
    let fixture = QueueFixture::start_with(child_policy, policy()).await;
    fixture.on("/long", [After(s(60))]);
    fixture
}

#[tokio::test(start_paused = true)]
async fn request_expired_while_the_actor_is_down_is_not_sent() {
    let fixture = restarted_after(s(30)).await;
    let _long = fixture.request(get("/long").timeout(s(100)));
    let (id, late) = fixture.submit(get("/late").wait_timeout(s(10)));
    let patient = fixture.request(get("/patient"));
    run_until_idle().await;
    fixture.crash().await;
    assert_eq!(failure_reason(late.await), (Reason::Expired, 0));
    assert_eq!(status(patient.await), 200);
    assert!(!fixture.transport.paths().contains(&"/late".to_owned()));
    assert_eq!(fixture.event_kinds_of(id).await, ["request_timed_out"]);
}

#[tokio::test(start_paused = true)]
async fn request_cancelled_while_the_actor_is_down_is_cancelled() {
    let fixture = restarted_after(s(30)).await;
    let _long = fixture.request(get("/long"));
    let (id, cancelled) = fixture.submit(get("/x"));
    run_until_idle().await;
    fixture.crash().await;
    assert_eq!(fixture.queue.cancel(id).await, Ok(true));
    assert_eq!(failure_reason(cancelled.await).0, Reason::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn restart_by_hand_loses_nothing_that_waits() {
    let fixture = with_plan("/long", [After(s(5))]).await;
    let (long, next) = (fixture.request(get("/long")), fixture.request(post("/next")));
    run_until_idle().await;
    fixture.runtime.root().restart("queue").await.unwrap();
    assert_eq!(fixture.generation(), 2);
    assert_eq!((status(next.await), status(long.await)), (200, 200));
}

#[tokio::test(start_paused = true)]
async fn stop_answers_and_records_all_waiting_requests() {
    let fixture = QueueFixture::start(QueuePolicy { max_concurrent: 2, ..policy() }).await;
    fixture.on("/get", [Hang]);
    fixture.on("/post", [Hang]);
    let (running, in_doubt, waiting) =
        (fixture.request(get("/get")), fixture.request(post("/post")), fixture.request(post("/waiting")));
    run_until_idle().await;
    fixture.runtime.root().stop("queue").await.unwrap();
    assert_eq!(failure_reason(running.await), (Reason::Stopped, 1));
    assert_eq!(failure_reason(in_doubt.await), (Reason::OutcomeUnknown, 1));
    assert_eq!(failure_reason(waiting.await), (Reason::Stopped, 0));
    assert_eq!(failure_reason(fixture.request(get("/late")).await), (Reason::Stopped, 0));
    assert_eq!(fixture.queue.cancel(RequestId(1)).await.unwrap_err().reason, Reason::Stopped);
    let recorded: Vec<_> = fixture.events::<RequestFailed>().await.iter().map(|event| event.reason).collect();
    assert_eq!(recorded, [Reason::Stopped, Reason::OutcomeUnknown, Reason::Stopped]);
    assert_eq!((fixture.view.stats().waiting, fixture.transport.running()), (0, 0));
    fixture.runtime.root().start("queue").await.unwrap();
    assert_eq!(status(fixture.request(get("/again")).await), 200);
    assert_eq!(fixture.transport.paths().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn end_of_the_runtime_answers_all_waiting_requests() {
    for is_dropped in [false, true] {
        let fixture = QueueFixture::start(QueuePolicy { max_concurrent: 2, ..policy() }).await;
        fixture.on("/get", [Hang]);
        fixture.on("/post", [Hang]);
        let requests = [get("/get"), post("/post"), get("/waiting")];
        let answers = requests.map(|request| fixture.request(request));
        run_until_idle().await;
        if is_dropped {
            drop(fixture.runtime);
        } else {
            fixture.runtime.shutdown().await;
        }
        run_until_idle().await;
        let reasons = answers.map(|answer| failure_reason(answer.now_or_never().unwrap()));
        let expected = [(Reason::Stopped, 1), (Reason::OutcomeUnknown, 1), (Reason::Stopped, 0)];
        assert_eq!(reasons, expected, "dropped: {is_dropped}");
    }
}

#[tokio::test(start_paused = true)]
async fn give_up_answers_all_waiting_requests_and_reset_recovers() {
    let budget = Some(Budget { restarts_max: 1, window: s(600) });
    let fixture = QueueFixture::start_with(ChildPolicy { budget, ..restart_policy() }, policy()).await;
    fixture.on("/long", [Hang]);
    fixture.on("/waiting", [Hang]);
    let (running, waiting) = (fixture.request(get("/long")), fixture.request(get("/waiting")));
    run_until_idle().await;
    fixture.crash().await;
    fixture.crash().await;
    let expected = (Reason::Stopped, Reason::Stopped);
    assert_eq!((failure_reason(running.await).0, failure_reason(waiting.await).0), expected);
    fixture.runtime.root().reset("queue").await.unwrap();
    assert_eq!(status(fixture.request(get("/again")).await), 200);
}

#[tokio::test(start_paused = true)]
async fn poison_request_is_failed_after_repeated_crashes() {
    let once = ChildPolicy { checkpoint_crashes_max: 1, ..restart_policy() };
    let fixture = QueueFixture::start_with(once, policy()).await;
    fixture.on("/long", [Hang]);
    let (running, in_doubt) = (fixture.request(get("/long")), fixture.request(post("/waiting")));
    run_until_idle().await;
    // The second incarnation crashes before it has handled anything, so its snapshot is the cause.
    drop(fixture.address.inject_panic().unwrap());
    drop(fixture.address.inject_panic().unwrap());
    let expected = (Reason::Crashed, Reason::OutcomeUnknown);
    assert_eq!((failure_reason(running.await).0, failure_reason(in_doubt.await).0), expected);
    assert_eq!((fixture.generation(), status(fixture.request(get("/again")).await)), (3, 200));
}

#[tokio::test(start_paused = true)]
async fn requests_sent_while_the_actor_is_down_are_handled_later() {
    let fixture = restarted_after(s(5)).await;
    fixture.crash().await;
    let answer = fixture.request(post("/x"));
    assert_eq!(status(answer.await), 200);
    assert_eq!(fixture.transport.times("/x"), [5]);
}

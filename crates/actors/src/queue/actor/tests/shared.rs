//! Tests that callers share one request, if they allow it.

use super::*;

#[tokio::test(start_paused = true)]
async fn shared_get_makes_one_attempt_and_answers_each_caller() {
    let fixture = with_plan("/a", [After(s(1))]).await;
    let asked: Vec<_> = (0..100).map(|_| fixture.submit(get("/a?x=1").shared())).collect();
    let (ids, answers): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
    for (id, answer) in ids.iter().zip(join_all(answers).await) {
        let answer = answer.unwrap();
        assert_eq!((answer.request_id, answer.attempts, &answer.body[..]), (*id, 1, &b"{}"[..]));
        assert_eq!(fixture.event_kinds_of(*id).await.last().unwrap(), "request_done");
    }
    assert_eq!(fixture.transport.paths(), ["/a"]);
    let joined: Vec<RequestJoined> = fixture.events().await;
    assert!(joined.len() == 99 && joined.iter().all(|event| event.with == RequestId(1)));
}

#[tokio::test(start_paused = true)]
async fn request_after_the_answer_makes_a_new_attempt() {
    let fixture = QueueFixture::start(policy()).await;
    assert_eq!(status(fixture.request(get("/a").shared()).await), 200);
    assert_eq!(status(fixture.request(get("/a").shared()).await), 200);
    assert_eq!(fixture.transport.paths(), ["/a", "/a"]);
}

#[tokio::test(start_paused = true)]
async fn different_or_unshared_requests_are_not_joined() {
    let fixture = with_plan("/a", [After(s(1))]).await;
    let asked = [
        get("/a").shared(),
        get("/a?x=1").shared(),
        get("/a").header("Accept", "text/plain").shared(),
        get("/a").timeout(s(9)).shared(),
        get("/a").wait_timeout(s(50)).shared(),
        get("/a").retries(1).shared(),
        get("/a"),
        get("/a"),
    ];
    let number = asked.len();
    assert!(join_all(asked.map(|request| fixture.request(request))).await.into_iter().all(|it| it.is_ok()));
    assert_eq!(fixture.transport.paths().len(), number);
    assert_eq!(post("/a").shared().build().unwrap_err().reason, Reason::InvalidRequest);
    assert_eq!(get("/a").body("x").shared().build().unwrap_err().reason, Reason::InvalidRequest);
}

#[tokio::test(start_paused = true)]
async fn first_caller_leaving_keeps_the_shared_request() {
    let fixture = with_plan("/a", [After(s(5))]).await;
    let (first, first_answer) = fixture.submit(get("/a").shared());
    let (_, second) = fixture.submit(get("/a").shared());
    let (third, third_answer) = fixture.submit(get("/a").shared());
    advance_time(s(1)).await;
    drop(first_answer);
    assert!(fixture.queue.cancel(third).await.unwrap());
    assert!(!fixture.queue.cancel(third).await.unwrap(), "it has left already");
    assert_eq!(failure_reason(third_answer.await), (Reason::Cancelled, 1));
    assert_eq!(fixture.event_kinds_of(first).await, ["request_failed"]);
    assert_eq!(status(second.await), 200);
    assert_eq!(fixture.transport.paths(), ["/a"]);
}

#[tokio::test(start_paused = true)]
async fn caller_leaving_in_a_backoff_drops_no_attempt_of_the_others() {
    let fixture = with_plan("/down", [RetryAfter(10), Respond(200)]).await;
    let (_, first) = fixture.submit(get("/down").shared());
    let (second, second_answer) = fixture.submit(get("/down").shared());
    advance_time(s(5)).await;
    assert!(fixture.queue.cancel(second).await.unwrap());
    assert_eq!(failure_reason(second_answer.await), (Reason::Cancelled, 1));
    assert_eq!(status(first.await), 200);
    let failed: Vec<RequestFailed> = fixture.events().await;
    assert_eq!(failed.iter().map(|event| event.dropped_attempt).collect::<Vec<_>>(), [None]);
}

#[tokio::test(start_paused = true)]
async fn last_caller_leaving_cancels_the_shared_request() {
    let fixture = with_plan("/a", [Hang]).await;
    let answers = [fixture.request(get("/a").shared()), fixture.request(get("/a").shared())];
    run_until_idle().await;
    assert_eq!(fixture.transport.running(), 1);
    drop(answers);
    run_until_idle().await;
    assert_eq!((fixture.transport.running(), fixture.view.stats().running), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn each_caller_keeps_its_own_wait_timeout() {
    let fixture = QueueFixture::start(QueuePolicy { wait_timeout: s(10), ..policy() }).await;
    fixture.on("/long", [After(s(15))]);
    let _long = fixture.request(get("/long"));
    let early = fixture.request(get("/a").shared());
    advance_time(s(8)).await;
    let late = fixture.request(get("/a").shared());
    assert_eq!(failure_reason(early.await), (Reason::Expired, 0));
    assert_eq!(fixture.runtime.now().as_secs(), 10);
    assert_eq!(status(late.await), 200);
    assert_eq!(fixture.runtime.now().as_secs(), 15);
    assert_eq!(fixture.transport.paths(), ["/long", "/a"]);
}

#[tokio::test(start_paused = true)]
async fn shared_request_takes_the_highest_priority() {
    let fixture = with_plan("/long", [After(s(1))]).await;
    let _long = fixture.request(get("/long"));
    let shared = fixture.request(get("/a").shared().priority(Priority::Low));
    let other = fixture.request(get("/b"));
    let urgent = fixture.request(get("/a").shared().priority(Priority::High));
    assert!(join_all([shared, other, urgent]).await.into_iter().all(|answer| answer.is_ok()));
    assert_eq!(fixture.transport.paths(), ["/long", "/a", "/b"]);
}

#[tokio::test(start_paused = true)]
async fn shared_failure_carries_each_callers_own_id() {
    let fixture = with_plan("/a", [Respond(404)]).await;
    let asked = [fixture.submit(get("/a").shared()), fixture.submit(get("/a").shared())];
    for (id, answer) in asked {
        let error = answer.await.unwrap_err();
        assert_eq!((error.reason, error.request_id), (Reason::NotFound, Some(id)));
        assert_eq!(fixture.event_kinds_of(id).await.last().unwrap(), "request_failed");
    }
    assert_eq!(fixture.transport.paths(), ["/a"]);
}

#[tokio::test(start_paused = true)]
async fn crash_keeps_all_callers_of_a_shared_request() {
    let fixture = with_plan("/a", [Hang, Respond(200)]).await;
    let answers: Vec<_> = (0..3).map(|_| fixture.request(get("/a").shared())).collect();
    run_until_idle().await;
    fixture.crash().await;
    let late = fixture.request(get("/a").shared());
    assert!(join_all(answers).await.into_iter().all(|answer| answer.unwrap().attempts == 2));
    assert_eq!(status(late.await), 200);
    assert_eq!(fixture.transport.paths(), ["/a", "/a"]);
}

#[tokio::test(start_paused = true)]
async fn joined_callers_are_limited_by_queue_max() {
    let fixture = QueueFixture::start(limited_policy(3, Overflow::Reject)).await;
    fixture.on("/a", [After(s(1))]);
    let answers: Vec<_> = (0..5).map(|_| fixture.request(get("/a").shared())).collect();
    run_until_idle().await;
    let mut answers = answers.into_iter();
    let last = answers.next_back().unwrap();
    assert_eq!(failure_reason(last.now_or_never().unwrap()), (Reason::QueueFull, 0));
    assert!(join_all(answers).await.into_iter().all(|answer| answer.is_ok()));
}

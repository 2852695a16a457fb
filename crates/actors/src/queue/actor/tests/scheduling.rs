//! Tests the order of requests and their timeouts.

use super::*;

#[tokio::test(start_paused = true)]
async fn requests_run_by_priority_then_by_arrival() {
    let fixture = with_plan("/first", [After(s(1))]).await;
    let asked = [
        ("/first", Priority::Low),
        ("/low/1", Priority::Low),
        ("/normal/1", Priority::Normal),
        ("/high/1", Priority::High),
        ("/low/2", Priority::Low),
        ("/normal/2", Priority::Normal),
        ("/high/2", Priority::High),
    ];
    let answers = asked.map(|(path, priority)| fixture.request(get(path).priority(priority)));
    assert!(join_all(answers).await.into_iter().all(|answer| answer.is_ok()));
    let paths = ["/first", "/high/1", "/high/2", "/normal/1", "/normal/2", "/low/1", "/low/2"];
    assert_eq!(fixture.transport.paths(), paths);
}

#[tokio::test(start_paused = true)]
async fn low_request_runs_within_the_bound_under_high_load() {
    let lanes = PriorityQueuePolicy { queue_max: 4, age_after: s(5), ..PriorityQueuePolicy::default() };
    let fixture = QueueFixture::start(QueuePolicy { queue: lanes, ..policy() }).await;
    fixture.on("/high", [After(s(1))]);
    let high = || fixture.request(get("/high").priority(Priority::High));
    let mut others = vec![high(), high()];
    let low = tokio::time::timeout(s(60), fixture.request(get("/low").priority(Priority::Low)));
    let load = async {
        loop {
            others.push(high());
            advance_time(s(1)).await;
        }
    };
    tokio::select! {
        low = low => assert_eq!(status(low.unwrap()), 200),
        () = load => unreachable!(),
    }
    // Twice `age_after`, and the time for those that were there before it could not be overtaken any more.
    let started = fixture.transport.times("/low")[0];
    assert!((10..=14).contains(&started), "started after {started} s");
}

/// Puts a request with this id into the mailbox.
async fn enqueue(fixture: &QueueFixture, id: u64, path: &str) -> Result<Response, Error> {
    let (id, request) = (RequestId(id), Arc::new(get(path).build().unwrap()));
    fixture.address.call(move |reply| QueueMessage::Enqueue { id, request, reply }).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn id_order_counts_when_callers_overtake_each_other() {
    let fixture = with_plan("/first", [After(s(1))]).await;
    let (first, third, second) = tokio::join!(
        enqueue(&fixture, 101, "/first"),
        enqueue(&fixture, 103, "/third"),
        enqueue(&fixture, 102, "/second")
    );
    assert!([first, second, third].into_iter().all(|answer| answer.is_ok()));
    assert_eq!(fixture.transport.paths(), ["/first", "/second", "/third"]);
}

#[tokio::test(start_paused = true)]
async fn two_requests_of_one_id_are_not_confused() {
    let fixture = with_plan("/one", [After(s(1))]).await;
    let (one, other) = tokio::join!(enqueue(&fixture, 7, "/one"), enqueue(&fixture, 7, "/other"));
    assert_eq!(status(one), 200);
    assert_eq!(failure_reason(other), (Reason::Internal, 0));
    assert_eq!(fixture.transport.paths(), ["/one"]);
}

#[tokio::test(start_paused = true)]
async fn response_has_duration_attempts_and_request_id() {
    let fixture = with_plan("/a", [Reset, After(s(2))]).await;
    let (id, answer) = fixture.submit(get("/a"));
    let answer = answer.await.unwrap();
    assert_eq!((answer.ms, answer.attempts, answer.request_id, answer.cached), (3000, 2, id, false));
    let error = fixture.queue.request(post("/b?x=1").timeout(s(1)).build().unwrap());
    fixture.on("/b", [Hang]);
    let error = error.await.unwrap_err();
    assert_eq!((error.attempts, error.request_id), (1, Some(RequestId(2))));
}

// === time ===

#[tokio::test(start_paused = true)]
async fn request_that_expires_in_the_queue_is_never_sent() {
    let fixture = with_plan("/slow", [After(s(20))]).await;
    let slow = fixture.request(get("/slow"));
    let (id, late) = fixture.submit(get("/late").wait_timeout(s(5)));
    let error = late.await.unwrap_err();
    assert_eq!((error.code, error.reason, error.attempts), (Code::Timeout, Reason::Expired, 0));
    assert_eq!((error.request_id, fixture.runtime.now().as_secs()), (Some(id), 5));
    assert_eq!(status(slow.await), 200);
    advance_time(s(100)).await;
    assert_eq!(fixture.transport.paths(), ["/slow"]);
    assert_eq!(fixture.event_kinds_of(id).await, ["request_timed_out"]);
    let RequestTimedOut(recorded) = fixture.events().await.remove(0);
    assert_eq!((recorded.reason, recorded.ms, recorded.attempts), (Reason::Expired, 5000, 0));
}

#[tokio::test(start_paused = true)]
async fn queue_time_and_attempt_time_are_separate() {
    let fixture = QueueFixture::start(QueuePolicy { timeout: s(30), wait_timeout: s(60), ..policy() }).await;
    fixture.on("/long", [After(s(50))]);
    fixture.on("/next", [After(s(25))]);
    let (long, next) = (fixture.request(get("/long").timeout(s(100))), fixture.request(get("/next")));
    assert_eq!(status(long.await), 200);
    assert_eq!(next.await.unwrap().ms, 75_000);
}

#[tokio::test(start_paused = true)]
async fn attempt_that_times_out_gives_its_place_to_the_next() {
    let fixture = with_plan("/hang", [Hang]).await;
    let hang = fixture.request(get("/hang").timeout(s(2)).retries(0));
    let next = fixture.request(get("/next"));
    assert_eq!(failure_reason(hang.await), (Reason::TimedOut, 1));
    assert_eq!(status(next.await), 200);
    assert_eq!((fixture.transport.times("/next"), fixture.transport.peak()), (vec![2], 1));
    assert_eq!(fixture.view.stats().running, 0);
}

#[tokio::test(start_paused = true)]
async fn request_without_wait_runs_at_once_or_fails() {
    let fixture = with_plan("/first", [After(s(5))]).await;
    let impatient = |path| fixture.request(get(path).wait_timeout(s(0)));
    let (first, second) = (impatient("/first"), impatient("/second"));
    assert_eq!(failure_reason(second.await), (Reason::Expired, 0));
    assert_eq!(status(first.await), 200);
    assert_eq!(fixture.transport.paths(), ["/first"]);
}

#[tokio::test(start_paused = true)]
async fn maximal_timeouts_mean_no_limit() {
    let fixture = QueueFixture::start(QueuePolicy { wait_timeout: Duration::MAX, ..policy() }).await;
    fixture.on("/long", [After(s(80_000))]);
    let (long, next) = (fixture.request(get("/long").timeout(s(86_400))), fixture.request(get("/next")));
    assert_eq!((status(long.await), status(next.await)), (200, 200));
}

#[tokio::test(start_paused = true)]
async fn deadline_covers_waits_attempts_and_delays() {
    let fixture = QueueFixture::start(QueuePolicy { max_concurrent: 2, ..policy() }).await;
    fixture.on("/slow", [After(s(40)), After(s(40))]);
    fixture.on("/hang", [Hang, Hang, Hang]);
    fixture.on("/busy", [Respond(503), Respond(503), Respond(503), Respond(503)]);
    let outcome = async |answer: Result<Response, Error>| {
        let (reason, attempts) = failure_reason(answer);
        (reason, attempts, fixture.runtime.now().as_secs())
    };
    // In its attempt: a read could be repeated, and a write without a key may have been carried out.
    let read = fixture.request(get("/hang").deadline(s(5)).timeout(s(100)));
    let write = fixture.request(post("/hang").deadline(s(5)).timeout(s(100)));
    assert_eq!(outcome(read.await).await, (Reason::DeadlineExceeded, 1, 5));
    assert_eq!(outcome(write.await).await, (Reason::OutcomeUnknown, 1, 5));
    run_until_idle().await;
    assert_eq!(fixture.view.stats().running, 0);
    // In the queue.
    let slow = || fixture.request(get("/slow").timeout(s(100)));
    let busy = [slow(), slow()];
    let waiting = fixture.request(get("/late").deadline(s(5)));
    assert_eq!(outcome(waiting.await).await, (Reason::DeadlineExceeded, 0, 10));
    assert!(join_all(busy).await.into_iter().all(|answer| answer.is_ok()));
    // The third attempt would begin after the deadline, so the second is the last.
    let retried = fixture.request(get("/busy").deadline(s(2)));
    assert_eq!(outcome(retried.await).await, (Reason::Unavailable, 2, 46));
}

#[tokio::test(start_paused = true)]
async fn deadline_ends_a_streamed_body() {
    let fixture = with_plan("/parts", [Stream(2, s(2), ScriptedEnd::Hang)]).await;
    let mut download = fixture.open(get("/parts").deadline(s(5)).timeout(s(100))).await.unwrap();
    let (bytes, end) = read_to_end(&mut download).await;
    assert_eq!((bytes, end.unwrap_err().reason), (8, Reason::DeadlineExceeded));
    assert_eq!(fixture.runtime.now().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn shared_request_ends_for_each_caller_at_its_own_deadline() {
    let fixture = with_plan("/a", [After(s(8))]).await;
    let first = fixture.request(get("/a").shared().deadline(s(5)).timeout(s(100)));
    advance_time(s(4)).await;
    let second = fixture.request(get("/a").shared().deadline(s(5)).timeout(s(100)));
    assert_eq!(failure_reason(first.await), (Reason::DeadlineExceeded, 1));
    assert_eq!(status(second.await), 200);
    assert_eq!(fixture.transport.paths(), ["/a"]);
}

// === groups ===

#[tokio::test(start_paused = true)]
async fn full_group_holds_no_other_request() {
    let limits = [GroupLimit::new("/model/**", 2).unwrap()];
    let fixture = QueueFixture::start_limited(QueuePolicy { max_concurrent: 10, ..policy() }, limits).await;
    let paths = ["/model/1", "/model/2", "/model/3", "/model/4"];
    for path in paths {
        fixture.on(path, [After(s(4))]);
    }
    let priorities = [Priority::Normal, Priority::Normal, Priority::Low, Priority::High];
    let model: Vec<_> = paths
        .iter()
        .zip(priorities)
        .map(|(path, priority)| fixture.request(get(path).priority(priority)))
        .collect();
    run_until_idle().await;
    assert_eq!(status(fixture.request(get("/other").priority(Priority::Low)).await), 200);
    assert!(join_all(model).await.into_iter().all(|answer| answer.is_ok()));
    assert_eq!(fixture.transport.paths(), ["/model/1", "/model/2", "/other", "/model/4", "/model/3"]);
    assert_eq!(fixture.runtime.now().as_secs(), 8);
    run_until_idle().await;
    assert_eq!(fixture.view.stats().running, 0);
}

#[tokio::test(start_paused = true)]
async fn outage_with_a_full_group_waits_for_the_next_probe() {
    let limits = [GroupLimit::new("/model/**", 1).unwrap()];
    let fixture = QueueFixture::start_limited(QueuePolicy { max_concurrent: 10, ..policy() }, limits).await;
    fixture.on("/model/1", [After(s(30))]);
    let (one, two) = (fixture.request(get("/model/1").timeout(s(100))), fixture.request(get("/model/2")));
    run_until_idle().await;
    fixture.set_availability(BackendAvailability::Down);
    assert_eq!((status(one.await), status(two.await)), (200, 200));
    assert_eq!(fixture.runtime.now().as_secs(), 30);
}

// === by id ===

#[tokio::test(start_paused = true)]
async fn waiting_request_is_moved_and_listed_by_id() {
    let fixture = with_plan("/first", [After(s(4))]).await;
    let (running_id, running) = fixture.submit(get("/first"));
    let (other, (id, moved)) =
        (fixture.request(get("/other")), fixture.submit(get("/moved?token=x").priority(Priority::Low)));
    run_until_idle().await;
    assert_eq!(fixture.queue.set_priority(id, Priority::High).await, Ok(true));
    assert_eq!(fixture.queue.set_priority(running_id, Priority::High).await, Ok(false), "it runs already");
    assert_eq!(fixture.queue.set_priority(RequestId(99), Priority::High).await, Ok(false));
    let listed = fixture.queue.list(9).await.unwrap();
    let shown: Vec<_> = listed.iter().map(|it| (&*it.path, it.priority, it.phase, it.attempts)).collect();
    assert_eq!(
        shown,
        [
            ("/first", Priority::Normal, PendingPhase::Running, 1),
            ("/other", Priority::Normal, PendingPhase::Waiting, 0),
            ("/moved", Priority::High, PendingPhase::Waiting, 0),
        ]
    );
    assert_eq!(fixture.queue.list(1).await.unwrap().len(), 1);
    assert_eq!(fixture.view.stats().by_priority.high, 1);
    assert!(
        join_all([running.boxed(), other.boxed(), moved.boxed()])
            .await
            .into_iter()
            .all(|answer| answer.is_ok())
    );
    assert_eq!(fixture.transport.paths(), ["/first", "/moved", "/other"]);
}

// === overflow ===

/// Returns the results of three waiting requests, oldest first, and of one more, with room for three.
async fn overflow_outcomes(overflow: Overflow) -> (Vec<Result<u16, Reason>>, Vec<QueueOverflow>) {
    let fixture = QueueFixture::start(limited_policy(3, overflow)).await;
    fixture.on("/first", [After(s(1))]);
    let _first = fixture.request(get("/first"));
    run_until_idle().await;
    let priorities = [Priority::Normal, Priority::Low, Priority::Low, Priority::Normal];
    let answers = priorities.map(|priority| fixture.request(post("/x").priority(priority)));
    let outcomes = join_all(answers).await.into_iter().map(|answer| match answer {
        Ok(response) => Ok(response.status.as_u16()),
        Err(error) => {
            assert!(error.retryable && error.attempts == 0, "{error:?}");
            Err(error.reason)
        }
    });
    let outcomes = outcomes.collect();
    assert_eq!(fixture.transport.paths().len(), 4);
    (outcomes, fixture.events().await)
}

#[tokio::test(start_paused = true)]
async fn overflow_policy_answers_the_evicted_request() {
    let cases = [
        (Overflow::Reject, 3, Reason::QueueFull, Priority::Normal),
        (Overflow::DropOldest, 0, Reason::Evicted, Priority::Normal),
        (Overflow::DropLowest, 2, Reason::Evicted, Priority::Low),
    ];
    for (policy, leaves, reason, priority) in cases {
        let (outcomes, recorded) = overflow_outcomes(policy).await;
        let mut expected = vec![Ok(200); 4];
        expected[leaves] = Err(reason);
        assert_eq!(outcomes, expected, "{policy:?}");
        let [event] = &recorded[..] else { panic!("{recorded:?}") };
        assert_eq!((event.reason, event.priority, event.overflow), (reason, priority, policy));
        assert_eq!((event.request.request_id, event.queue_max), (RequestId(leaves as u64 + 2), 3));
    }
}

#[tokio::test(start_paused = true)]
async fn evicted_request_that_was_attempted_says_so() {
    let fixture = QueueFixture::start(limited_policy(2, Overflow::DropOldest)).await;
    fixture.on("/broken", [Reset]);
    fixture.on("/long", [After(s(60))]);
    let broken = fixture.request(get("/broken"));
    run_until_idle().await;
    // It takes the permit while the other one waits for its second attempt, which then is due.
    let long = fixture.request(get("/long").timeout(s(100)).priority(Priority::High));
    advance_time(s(2)).await;
    let rest = [(); 2].map(|()| fixture.request(get("/rest")));
    let error = broken.await.unwrap_err();
    assert_eq!((error.reason, error.attempts), (Reason::Evicted, 1));
    assert!(!error.message.contains("not sent"), "{error}");
    assert!(error.details.unwrap().contains("connection_reset"));
    assert_eq!(status(long.await), 200);
    assert!(join_all(rest).await.into_iter().all(|answer| answer.is_ok()));
}

#[tokio::test(start_paused = true)]
async fn expired_requests_take_no_room() {
    let fixture = QueueFixture::start(limited_policy(1, Overflow::Reject)).await;
    fixture.on("/first", [After(s(10))]);
    let (_first, late) = (fixture.request(get("/first")), fixture.request(get("/late").wait_timeout(s(2))));
    run_until_idle().await;
    assert_eq!(failure_reason(fixture.request(get("/none")).await), (Reason::QueueFull, 0));
    advance_time(s(2)).await;
    let next = fixture.request(get("/next"));
    assert_eq!((failure_reason(late.await), status(next.await)), ((Reason::Expired, 0), 200));
}

#[tokio::test(start_paused = true)]
async fn hundred_thousand_waiting_requests_are_all_answered() {
    const MANY: usize = 100_000;
    let limits = limited_policy(MANY, Overflow::Reject);
    let policy = QueuePolicy { max_concurrent: 50, wait_timeout: s(3600), ..limits };
    let (transport, view) = (ScriptedTransport::new(), QueueView::default());
    let child = Child::new("queue", QueueActor::new(Arc::clone(&transport) as _, policy, view.clone()));
    let (_runtime, queue, _) = start_queue(child.mailbox_capacity(MANY), Runtime::builder()).await;
    transport.on("/x", [After(s(1))]);
    let request = Request::get("/x").build().unwrap();
    let answers = (0..MANY).map(|_| queue.submit(request.clone()).1).collect::<Vec<_>>();
    run_until_idle().await;
    assert_eq!(view.stats().waiting, MANY - 50);
    for answer in answers {
        assert_eq!(status(answer.await), 200);
    }
    assert_eq!(transport.peak(), 50);
}

#[tokio::test(start_paused = true)]
async fn full_mailbox_delays_callers_until_there_is_room() {
    let actor = QueueActor::new(ScriptedTransport::new(), policy(), QueueView::default());
    let child = Child::new("queue", actor).mailbox_capacity(2);
    let (_runtime, queue, _) = start_queue(child, Runtime::builder()).await;
    let request = Request::get("/x").build().unwrap();
    let answers = (0..10).map(|_| queue.submit(request.clone()).1);
    assert!(join_all(answers).await.into_iter().all(|answer| answer.is_ok()));
}

// === figures ===

#[tokio::test(start_paused = true)]
async fn view_tells_waiting_and_running_without_the_actor() {
    let fixture = QueueFixture::start(policy()).await;
    assert_eq!(fixture.view.stats().max_concurrent, 1);
    fixture.on("/down", [Reset]);
    fixture.on("/slow", [After(s(60))]);
    let _down = fixture.request(get("/down").priority(Priority::High));
    let _slow = fixture.request(get("/slow"));
    let _rest =
        [Priority::Low, Priority::Low, Priority::Normal].map(|p| fixture.request(get("/x").priority(p)));
    run_until_idle().await;
    let stats = fixture.view.stats();
    assert_eq!((stats.waiting, stats.backing_off, stats.running), (4, 1, 1));
    assert_eq!(stats.by_priority, WaitingByPriority { high: 1, normal: 1, low: 2 });
    let mut changes = fixture.view.subscribe();
    changes.wait_for(|stats| stats.waiting == 0).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn journal_omits_query_headers_and_body() {
    let fixture = with_plan("/a", [Respond(429)]).await;
    let request = post("/a?token=sesame").header("Authorization", "sesame").body("sesame").retries(1);
    let (id, answer) = fixture.submit(request);
    assert_eq!(failure_reason(answer.await), (Reason::RateLimited, 2));
    assert_eq!(status(fixture.request(get(&format!("/{}", "x".repeat(5000)))).await), 200);
    assert_eq!(fixture.event_kinds_of(id).await, ["request_retry", "request_failed"]);
    let records = fixture.journal_records().await;
    assert!(records.iter().all(|record| !format!("{record:?}").contains("sesame")));
    let started: Vec<RequestStarted> = fixture.events().await;
    let begun: Vec<_> = started.iter().map(|event| (event.attempt, event.waited_ms)).collect();
    assert_eq!(begun, [(1, 0), (2, 1000), (1, 0)]);
    assert_eq!((started[0].request.method.as_str(), started[0].request.path.as_str()), ("POST", "/a"));
    assert!(started[2].request.path.chars().count() < 250);
    let done: Vec<RequestDone> = fixture.events().await;
    assert_eq!((done.len(), done[0].status, done[0].cached, done[0].attempts), (1, 200, false, 1));
}

#[tokio::test(start_paused = true)]
async fn success_is_recorded_only_in_a_verbose_journal() {
    let child =
        Child::new("queue", QueueActor::new(ScriptedTransport::new(), policy(), QueueView::default()));
    let (runtime, queue, _) = start_queue(child, Runtime::builder()).await;
    let before = runtime.journal().cursor();
    assert_eq!(status(queue.request(Request::get("/x").build().unwrap()).await), 200);
    assert_eq!(runtime.journal().cursor(), before);
}

//! Tests the order of requests and their timeouts.

use mainstay_runtime::clock::WallTime;

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

/// The process stands still for six seconds. Meanwhile the response came that frees the permit.
#[tokio::test(start_paused = true)]
async fn wait_that_ends_in_a_standstill_is_judged_after_what_came() {
    for (first_takes, outcome) in [(3, Ok(200)), (60, Err((Reason::Expired, 0)))] {
        let fixture = with_plan("/first", [After(s(first_takes))]).await;
        let _first = fixture.submit(get("/first"));
        let (id, second) = fixture.submit(get("/second").wait_timeout(s(4)));
        run_until_idle().await;
        tokio::time::advance(s(6)).await;
        let second = second.await;
        assert_eq!(second.map(|it| it.status.as_u16()).map_err(|e| (e.reason, e.attempts)), outcome);
        let ended_at = fixture.runtime.now();
        if outcome.is_ok() {
            assert!(ended_at < s(7), "at once: {ended_at:?}");
        } else {
            assert!(s(7) <= ended_at && ended_at < s(8), "a second later: {ended_at:?}");
            assert_eq!(fixture.event_kinds_of(id).await, ["request_timed_out"]);
        }
    }
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
async fn path_that_hangs_delays_other_paths_by_one_second() {
    let fixture = QueueFixture::start(QueuePolicy { max_concurrent: 5, ..policy() }).await;
    fixture.on("/hang", std::iter::repeat_n(Hang, 30));
    let hanging = (0..20).map(|_| fixture.request(get("/hang").retries(0))).collect::<Vec<_>>();
    fixture.on("/quick", std::iter::repeat_n(After(Duration::from_millis(100)), 50));
    let quick = (0..50).map(|_| fixture.request(get("/quick"))).collect::<Vec<_>>();
    run_until_idle().await;
    let stats = fixture.view.stats();
    assert_eq!((stats.running, stats.slow, stats.waiting), (5, 0, 65));
    let answers = join_all(quick).await;
    let longest = answers.into_iter().map(|answer| answer.unwrap().ms).max().unwrap();
    assert_eq!(longest, 2000, "a second, and ten times 100 ms as without the other path");
    let stats = fixture.view.stats();
    assert_eq!((stats.running, stats.slow, stats.waiting), (5, 5, 15));
    let started: Vec<RequestStarted> = fixture.events().await;
    assert_eq!(started.iter().filter(|event| event.slow == 5).count(), 50);
    assert_eq!(fixture.transport.peak(), 5, "the attempts that count");
    assert!(join_all(hanging).await.into_iter().all(|answer| answer.is_err()));
}

/// The slow path keeps its place in the order while others are always there to run.
#[tokio::test(start_paused = true)]
async fn slow_path_gets_its_turn_under_load_of_others() {
    let fixture = QueueFixture::start(QueuePolicy { max_concurrent: 2, ..policy() }).await;
    fixture.on("/stream", [After(s(40)), After(s(40)), After(s(1))]);
    let mut slow = (0..3).map(|_| fixture.request(get("/stream").timeout(s(60)))).collect::<Vec<_>>();
    let last = slow.pop().unwrap();
    fixture.on("/other", std::iter::repeat_n(After(Duration::from_millis(500)), 1000));
    let _others = (0..400).map(|_| fixture.request(get("/other"))).collect::<Vec<_>>();
    assert_eq!(last.await.unwrap().ms, 41_000, "as soon as one of its path has ended");
    assert!(fixture.view.stats().waiting > 100);
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
    fixture.on("/slow/1", [After(s(40))]);
    fixture.on("/slow/2", [After(s(40))]);
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
    let busy = ["/slow/1", "/slow/2"].map(|path| fixture.request(get(path).timeout(s(100))));
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
async fn many_waiting_requests_are_all_answered() {
    let many = crate::tier::cases(10_000, 100_000) as usize;
    let limits = limited_policy(many, Overflow::Reject);
    let policy = QueuePolicy { max_concurrent: 50, wait_timeout: s(3600), ..limits };
    let (transport, view) = (ScriptedTransport::new(), QueueView::default());
    let child = Child::new("queue", QueueActor::new(Arc::clone(&transport) as _, policy, view.clone()));
    let (_runtime, queue, _) = start_queue(child.mailbox_capacity(many), Runtime::builder()).await;
    transport.on("/x", [After(s(1))]);
    let request = Request::get("/x").build().unwrap();
    let answers = (0..many).map(|_| queue.submit(request.clone()).1).collect::<Vec<_>>();
    run_until_idle().await;
    assert_eq!(view.stats().waiting, many - 50);
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
async fn view_has_the_durations_of_requests_that_ended() {
    let fixture = QueueFixture::start(limited_policy(1, Overflow::Reject)).await;
    fixture.on("/slow", [After(s(4)), After(s(8))]);
    fixture.on("/bad", [Respond(404)]);
    fixture.on("/stream", [Stream(9, s(1), ScriptedEnd::Break)]);
    assert_eq!(status(fixture.request(get("/slow").priority(Priority::High)).await), 200);
    assert_eq!(failure_reason(fixture.request(get("/bad")).await).0, Reason::NotFound);
    let mut stream = fixture.open(get("/stream").priority(Priority::Low)).await.unwrap();
    assert!(read_to_end(&mut stream).await.1.is_err(), "it counts when it begins");
    // What the caller takes back, or the queue refuses, says nothing about the backend.
    let (cancelled, running) = fixture.submit(get("/slow"));
    run_until_idle().await;
    let waiting = fixture.submit(get("/waiting"));
    assert_eq!(failure_reason(fixture.request(get("/refused")).await).0, Reason::QueueFull);
    assert!(fixture.queue.cancel(waiting.0).await.unwrap() && fixture.queue.cancel(cancelled).await.unwrap());
    assert_eq!(failure_reason(running.await).0, Reason::Cancelled);
    let latency = fixture.view.latency(|at| WallTime(jiff::Timestamp::UNIX_EPOCH + at));
    let LatencyByPriority { high, normal, low } = latency.by_priority;
    let each = [high, normal, low].map(|figures| (figures.count, figures.failed, figures.total_ms));
    assert_eq!(each, [(1, 0, 4000), (1, 1, 0), (1, 0, 0)]);
    assert_eq!((latency.all.count, latency.all.p50_ms), (3, Some(0)));
    assert!(latency.all.p95_ms.unwrap().abs_diff(4000) <= 125, "{latency:?}");
    assert_eq!(latency.spans.len(), 1);
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

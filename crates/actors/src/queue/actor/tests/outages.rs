//! Tests that requests wait while the backend cannot be reached.

use mainstay_runtime::journal::{Event, Level};

use super::*;

fn concurrent_policy() -> QueuePolicy {
    QueuePolicy { max_concurrent: 5, ..policy() }
}

#[tokio::test(start_paused = true)]
async fn requests_wait_out_an_outage_and_go_on_in_order() {
    let fixture = QueueFixture::start(concurrent_policy()).await;
    fixture.transport.refuse_all(true);
    let paths = ["/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8"];
    let answers: Vec<_> = paths.iter().map(|path| fixture.request(post(path))).collect();
    advance_time(s(20)).await;
    fixture.transport.refuse_all(false);
    let seen_before = fixture.transport.paths().len();
    for answer in join_all(answers).await {
        assert_eq!(answer.unwrap().attempts, 1, "what was never sent is no attempt");
    }
    assert_eq!(fixture.transport.paths()[seen_before..], paths);
    assert_eq!(fixture.transport.violations(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn outage_lets_one_probe_at_a_time_with_growing_delays() {
    let fixture = QueueFixture::start(concurrent_policy()).await;
    fixture.transport.refuse_all(true);
    let _answers: Vec<_> = (0..20).map(|_| fixture.request(get("/x"))).collect();
    advance_time(s(59)).await;
    // Five started before the outage was known; then one after 1, 2, 4, 8, 16 s.
    assert_eq!(fixture.transport.times("/x"), [0, 0, 0, 0, 0, 1, 3, 7, 15, 31]);
}

#[tokio::test(start_paused = true)]
async fn request_expiring_in_an_outage_learns_its_cause() {
    let fixture = QueueFixture::start(QueuePolicy { wait_timeout: s(10), ..concurrent_policy() }).await;
    fixture.transport.refuse_all(true);
    let (id, answer) = fixture.submit(get("/x"));
    let error = answer.await.unwrap_err();
    assert_eq!((error.code, error.reason), (Code::NetworkError, Reason::Disconnected));
    assert_eq!((error.attempts, error.retryable), (0, true));
    assert_eq!(error.message, Reason::ConnectionRefused.message());
    assert_eq!(error.details.as_deref(), Some("the last attempt failed: connection_refused"));
    assert_eq!(fixture.runtime.now().as_secs(), 10);
    assert_eq!(fixture.event_kinds_of(id).await, ["request_failed"]);
}

#[tokio::test(start_paused = true)]
async fn request_without_wait_timeout_fails_at_once_in_an_outage() {
    let fixture = QueueFixture::start(concurrent_policy()).await;
    fixture.transport.refuse_all(true);
    // The first one meets the outage, and the second one is held by it.
    for path in ["/x", "/y"] {
        let answer = fixture.request(get(path).wait_timeout(s(0))).await;
        assert_eq!(failure_reason(answer), (Reason::Disconnected, 0), "{path}");
    }
    assert_eq!(fixture.runtime.now().as_secs(), 0);
}

#[tokio::test(start_paused = true)]
async fn outage_uses_up_no_retries() {
    let fixture = QueueFixture::start(concurrent_policy()).await;
    fixture.on("/a", [Refuse, Refuse, Refuse, Respond(503), Respond(503)]);
    let error = fixture.request(get("/a")).await.unwrap_err();
    assert_eq!((error.reason, error.attempts), (Reason::Unavailable, 4));
}

#[tokio::test(start_paused = true)]
async fn restored_or_seen_backend_releases_all_held_requests() {
    for is_seen in [false, true] {
        let fixture = QueueFixture::start(concurrent_policy()).await;
        fixture.transport.refuse_all(true);
        let answers: Vec<_> = (0..7).map(|_| fixture.request(get("/x"))).collect();
        advance_time(s(10)).await;
        fixture.transport.refuse_all(false);
        if is_seen {
            fixture.address.cast(QueueMessage::BackendSeen).await.unwrap();
        } else {
            fixture.set_availability(BackendAvailability::Up);
        }
        for answer in join_all(answers).await {
            assert_eq!(status(answer), 200, "seen: {is_seen}");
        }
        assert_eq!(fixture.runtime.now().as_secs(), 10, "seen: {is_seen}");
    }
}

#[tokio::test(start_paused = true)]
async fn lost_connection_holds_requests_until_one_answer() {
    let fixture = QueueFixture::start(concurrent_policy()).await;
    fixture.set_availability(BackendAvailability::Down);
    run_until_idle().await;
    let asked = fixture.runtime.now();
    fixture.on("/slow", [After(s(20))]);
    let slow = fixture.request(get("/slow").priority(Priority::High));
    assert_eq!(status(fixture.request(get("/x")).await), 200);
    // The slow one was the probe; the next went out beside it after the first delay, and its response released the
    // rest.
    assert_eq!((fixture.runtime.now() - asked).as_secs(), 1);
    assert_eq!(status(fixture.request(get("/y")).await), 200);
    assert_eq!((fixture.runtime.now() - asked).as_secs(), 1);
    assert_eq!(status(slow.await), 200);
}

#[tokio::test(start_paused = true)]
async fn outage_ended_by_a_crash_is_recorded_as_released() {
    let fixture = QueueFixture::start(concurrent_policy()).await;
    fixture.on("/x", [Refuse, Respond(200)]);
    let answer = fixture.request(get("/x"));
    run_until_idle().await;
    assert!(fixture.view.stats().outage.is_some());
    fixture.crash().await;
    assert_eq!(status(answer.await), 200);
    let kinds = fixture.journal_records().await.into_iter().map(|record| record.kind);
    let kinds: Vec<_> = kinds.filter(|kind| kind.starts_with("queue_")).collect();
    assert_eq!(kinds, ["queue_held", "queue_released"]);
}

#[tokio::test(start_paused = true)]
async fn crash_in_an_outage_keeps_requests_in_order() {
    let fixture = QueueFixture::start(concurrent_policy()).await;
    fixture.transport.refuse_all(true);
    let paths = ["/1", "/2", "/3", "/4", "/5", "/6"];
    let answers: Vec<_> = paths.iter().map(|path| fixture.request(post(path))).collect();
    advance_time(s(2)).await;
    fixture.crash().await;
    fixture.transport.refuse_all(false);
    let seen_before = fixture.transport.paths().len();
    fixture.address.cast(QueueMessage::BackendSeen).await.unwrap();
    assert!(join_all(answers).await.into_iter().all(|answer| answer.is_ok()));
    assert_eq!(fixture.transport.paths()[seen_before..], paths);
}

#[tokio::test(start_paused = true)]
async fn incarnation_starting_in_an_outage_records_it() {
    let fixture = QueueFixture::start(concurrent_policy()).await;
    fixture.set_availability(BackendAvailability::Down);
    run_until_idle().await;
    fixture.crash().await;
    fixture.set_availability(BackendAvailability::Up);
    run_until_idle().await;
    let kinds = fixture.journal_records().await.into_iter().map(|record| (record.generation, record.kind));
    let kinds: Vec<_> = kinds.filter(|(_, kind)| kind.starts_with("queue_")).collect();
    let [held, released] = ["queue_held", "queue_released"].map(str::to_owned);
    assert_eq!(kinds, [(1, held.clone()), (2, held), (2, released)]);
}

#[tokio::test(start_paused = true)]
async fn journal_and_view_tell_the_outage_and_the_next_probe() {
    let fixture = QueueFixture::start(concurrent_policy()).await;
    fixture.on("/x", [Refuse, Refuse, Respond(200)]);
    let answer = fixture.request(get("/x"));
    run_until_idle().await;
    let outage = fixture.view.stats().outage.unwrap();
    assert_eq!((outage.reason, outage.failures), (Reason::ConnectionRefused, 1));
    assert_eq!((outage.since.as_secs(), outage.next_probe_at.as_secs()), (0, 1));
    assert_eq!(fixture.view.stats().waiting, 1);
    assert_eq!(status(answer.await), 200);
    assert_eq!(fixture.view.stats().outage, None);
    let reason = Reason::ConnectionRefused;
    let held = |failures, ms| {
        let (next_probe_in_ms, backend) = (Some(ms), None);
        QueueHeld { reason, failures, next_probe_in_ms, waiting: 1, backend, is_orderly_start: false }
    };
    assert_eq!(held(1, 1000).level(), Level::Warn);
    assert_eq!(fixture.events::<QueueHeld>().await, [held(1, 1000), held(2, 2000)]);
    let released = QueueReleased { reason, failures: 2, held_ms: 3000, waiting: 1 };
    assert_eq!(fixture.events::<QueueReleased>().await, [released]);
}

// === the absence of a backend that its owner knows of ===

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_to_an_absent_backend() {
    let fixture = QueueFixture::start(concurrent_policy()).await;
    fixture.set_absence(Some("The backend is starting."), false).await;
    fixture.set_availability(BackendAvailability::Down);
    run_until_idle().await;
    let answer = fixture.request(get("/x"));
    advance_time(s(20)).await;
    assert_eq!(fixture.transport.paths(), Vec::<String>::new());
    let held = QueueHeld {
        reason: Reason::Disconnected,
        failures: 0,
        next_probe_in_ms: None,
        waiting: 0,
        backend: Some("The backend is starting.".to_owned()),
        is_orderly_start: true,
    };
    assert_eq!(held.level(), Level::Info, "nothing is wrong");
    assert_eq!(held.describe(), "the queue holds the requests to come: The backend is starting.");
    assert_eq!(fixture.events::<QueueHeld>().await, [held]);
    fixture.set_absence(None, false).await;
    assert_eq!(status(answer.await), 200);
}

#[tokio::test(start_paused = true)]
async fn request_expiring_in_an_absence_learns_what_comes_next() {
    let fixture = QueueFixture::start(QueuePolicy { wait_timeout: s(10), ..concurrent_policy() }).await;
    fixture.set_availability(BackendAvailability::Down);
    for (text, message, details) in [
        ("The backend starts in 4 s.", "The backend starts in 4 s.", None),
        ("It waits for http://x/y.", "The backend is away.", Some("It waits for http://x/y.")),
    ] {
        fixture.set_absence(Some(text), false).await;
        let error = fixture.request(get("/x")).await.unwrap_err();
        assert_eq!((error.reason, error.retryable), (Reason::Disconnected, true));
        assert_eq!((&*error.message, error.details.as_deref()), (message, details));
    }
    assert_eq!(fixture.runtime.now().as_secs(), 20);
}

#[tokio::test(start_paused = true)]
async fn final_absence_fails_waiting_and_new_requests_at_once() {
    let fixture = QueueFixture::start(concurrent_policy()).await;
    fixture.on("/again", [Respond(503)]);
    let again = fixture.request(get("/again"));
    run_until_idle().await;
    fixture.set_absence(Some("The backend is being restarted."), false).await;
    let waiting = fixture.request(get("/waiting"));
    run_until_idle().await;
    fixture.set_absence(Some("The backend is given up."), true).await;
    for (answer, attempts) in [(again.await, 1), (waiting.await, 0), (fixture.request(get("/new")).await, 0)]
    {
        let error = answer.unwrap_err();
        assert_eq!((error.reason, error.attempts, error.retryable), (Reason::Disconnected, attempts, false));
        assert_eq!(error.message, "The backend is given up.");
    }
    assert_eq!(fixture.runtime.now().as_secs(), 0);
    assert_eq!(fixture.transport.paths(), ["/again"]);
}

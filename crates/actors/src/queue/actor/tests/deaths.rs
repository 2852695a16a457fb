//! Tests requests over which the backend dies.

use mainstay_runtime::journal::Event;

use super::*;

/// The backend breaks the connection and is down, twice.
const TWO_DEATHS: [ScriptedResponse; 4] = [Reset, Refuse, Reset, Refuse];

#[tokio::test(start_paused = true)]
async fn request_over_which_the_backend_died_twice_is_quarantined() {
    let fixture = with_plan("/kill", [Reset, Refuse, Refuse, Reset, Refuse, Respond(200)]).await;
    let (id, answer) = fixture.submit(get("/kill").retries(9));
    assert_eq!(failure_reason(answer.await), (Reason::Quarantined, 2));
    assert_eq!(fixture.event_kinds_of(id).await, ["request_retry", "request_retry", "request_failed"]);
    let failed: Vec<RequestFailed> = fixture.events().await;
    assert_eq!((failed[0].reason, failed[0].attempts), (Reason::Quarantined, 2));
    advance_time(s(600)).await;
    assert_eq!(fixture.transport.paths().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn answer_between_break_and_refusal_is_no_death() {
    let fixture = QueueFixture::start(policy()).await;
    let plays = [Reset, Respond(503), Refuse, Reset, Respond(503), Refuse];
    fixture.on("/a", plays.into_iter().chain([Respond(200)]));
    assert_eq!(status(fixture.request(get("/a").retries(9)).await), 200);

    // The response to another request shows the same.
    fixture.on("/b", [Reset, Refuse, Reset, Refuse, Respond(200)]);
    let answer = fixture.request(get("/b").retries(9));
    run_until_idle().await;
    assert_eq!(status(fixture.request(get("/other")).await), 200);
    assert_eq!(status(answer.await), 200);
}

/// Requests what breaks the connection three times, each time after two seconds. Calls `end` at `at` within each attempt,
/// or after it; the backend is back at once.
async fn break_thrice(at: Duration, end: impl Fn(&QueueFixture)) -> (Result<Response, Error>, usize) {
    let fixture =
        with_plan("/kill", [ResetAfter(s(2)), ResetAfter(s(2)), ResetAfter(s(2)), Respond(200)]).await;
    let answer = fixture.request(get("/kill").retries(9));
    for delay in [s(1), s(2), s(4)] {
        advance_time(at).await;
        end(&fixture);
        let _ = fixture.address.try_cast(QueueMessage::BackendSeen);
        advance_time(s(2) + delay - at).await;
    }
    (answer.await, fixture.transport.paths().len())
}

/// The exit of the process is seen after the announcement of the third attempt.
#[tokio::test(start_paused = true)]
async fn late_exit_names_the_announced_attempt_as_dropped() {
    let fixture = with_plan("/kill", [ResetAfter(s(2)), ResetAfter(s(2)), Respond(200)]).await;
    let (id, answer) = fixture.submit(get("/kill").retries(9));
    for delay in [s(1), s(2)] {
        advance_time(BEHIND).await;
        fixture.backend_ends.send_modify(|ends| ends.exits += 1);
        let _ = fixture.address.try_cast(QueueMessage::BackendSeen);
        advance_time(s(2) + delay - BEHIND).await;
    }
    assert_eq!(failure_reason(answer.await), (Reason::Quarantined, 2));
    assert_eq!(fixture.event_kinds_of(id).await, ["request_retry", "request_retry", "request_failed"]);
    let retries: Vec<RequestRetry> = fixture.events().await;
    let failed: Vec<RequestFailed> = fixture.events().await;
    assert_eq!((retries[1].attempt, failed[0].dropped_attempt), (3, Some(3)));
    let sentence = failed[0].describe();
    assert!(sentence.ends_with("because the backend ended over it; attempt 3 is not made"), "{sentence}");
}

/// An exit that is seen before the end of the attempt ends the request without an announcement.
#[tokio::test(start_paused = true)]
async fn early_exit_drops_no_attempt() {
    let fixture = QueueFixture::start(QueuePolicy { quarantine_after: 1, ..policy() }).await;
    fixture.on("/kill", [ResetAfter(s(2)), Respond(200)]);
    let (id, answer) = fixture.submit(get("/kill").retries(9));
    advance_time(WITHIN).await;
    fixture.backend_ends.send_modify(|ends| ends.exits += 1);
    assert_eq!(failure_reason(answer.await), (Reason::Quarantined, 1));
    assert_eq!(fixture.event_kinds_of(id).await, ["request_failed"]);
    let failed: Vec<RequestFailed> = fixture.events().await;
    assert_eq!(failed[0].dropped_attempt, None);
}

const WITHIN: Duration = Duration::from_millis(1500);
const BEHIND: Duration = Duration::from_millis(2500);

#[tokio::test(start_paused = true)]
async fn exit_of_a_backend_that_is_back_at_once_is_a_death() {
    for at in [WITHIN, BEHIND] {
        let (answer, sent) = break_thrice(at, |fixture| {
            fixture.backend_ends.send_modify(|ends| ends.exits += 1);
        })
        .await;
        assert_eq!((failure_reason(answer), sent), ((Reason::Quarantined, 2), 2), "{at:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn dial_that_finds_nothing_after_a_break_shows_a_death() {
    let (answer, sent) = break_thrice(BEHIND, |fixture| {
        fixture.set_availability(BackendAvailability::Unknown);
        fixture.set_availability(BackendAvailability::Down);
    })
    .await;
    assert_eq!((failure_reason(answer), sent), ((Reason::Quarantined, 2), 2));
}

#[tokio::test(start_paused = true)]
async fn backend_that_the_runtime_stops_died_over_nothing() {
    for at in [WITHIN, BEHIND] {
        let (answer, sent) = break_thrice(at, |fixture| {
            fixture.backend_ends.send_modify(|ends| ends.stops += 1);
            fixture.set_availability(BackendAvailability::Down);
        })
        .await;
        assert_eq!((status(answer), sent), (200, 4), "{at:?}");
    }
    // Connections are refused between the stop and the next process.
    let fixture = QueueFixture::start(policy()).await;
    let stop = [ResetAfter(s(2)), Refuse];
    fixture.on("/slow", stop.iter().cycle().take(6).cloned().chain([Respond(200)]));
    let answer = fixture.request(get("/slow").retries(9));
    for delay in [s(1), s(2), s(4)] {
        advance_time(s(1)).await;
        fixture.backend_ends.send_modify(|ends| ends.stops += 1);
        advance_time(s(1) + delay).await;
        run_until_idle().await;
        fixture.backend_ends.send_modify(|ends| ends.stops += 1);
        advance_time(s(1)).await;
    }
    assert_eq!(status(answer.await), 200);
}

#[tokio::test(start_paused = true)]
async fn break_without_retries_says_if_the_backend_has_ended() {
    for (exits, stops, message) in [
        (1, 0, "The backend ended while it had this request. Look into its log before you send it again."),
        (0, 0, Reason::ConnectionReset.message()),
        (1, 1, Reason::ConnectionReset.message()),
    ] {
        let fixture = with_plan("/kill", [ResetAfter(s(2))]).await;
        let answer = fixture.request(get("/kill").retries(0));
        advance_time(s(1)).await;
        fixture.backend_ends.send_modify(|ends| (ends.exits, ends.stops) = (exits, stops));
        let error = answer.await.unwrap_err();
        assert_eq!((error.reason, &*error.message), (Reason::ConnectionReset, message));
        assert_message_helps(message);
        assert!(!message.contains("Try again"), "it may end the backend again");
    }
}

#[tokio::test(start_paused = true)]
async fn last_break_of_a_suspect_names_the_backend() {
    let fixture = with_plan("/kill", [Reset, Refuse, Reset]).await;
    let error = fixture.request(get("/kill").retries(1)).await.unwrap_err();
    assert_eq!((error.reason, error.attempts), (Reason::ConnectionReset, 2));
    assert_message_helps(&error.message);
    assert!(error.message.contains("ended over this before"), "{error:?}");
    let fixture = with_plan("/break", [Reset, Respond(503), Reset]).await;
    let error = fixture.request(get("/break").retries(2)).await.unwrap_err();
    assert_eq!(error.message, Reason::ConnectionReset.message());
}

#[tokio::test(start_paused = true)]
async fn refusal_keeps_the_reason_of_an_earlier_attempt() {
    let fixture = QueueFixture::start(QueuePolicy { wait_timeout: s(5), ..policy() }).await;
    fixture.on("/a", [Reset, Refuse]);
    let error = fixture.request(get("/a")).await.unwrap_err();
    assert_eq!((error.reason, error.attempts), (Reason::Disconnected, 1));
    assert_eq!(error.details.as_deref(), Some("the last attempt failed: connection_reset"));
    let retries: Vec<RequestRetry> = fixture.events().await;
    assert_eq!(retries.len(), 1);
}

/// Several requests are in flight when the backend dies over one of them.
#[tokio::test(start_paused = true)]
async fn bystanders_of_a_death_are_not_blamed() {
    let fixture = QueueFixture::start(QueuePolicy { max_concurrent: 5, ..policy() }).await;
    let innocent = || [Reset, Refuse, After(s(5))];
    fixture.on("/a", innocent());
    fixture.on("/b", innocent());
    fixture.on("/kill", TWO_DEATHS);
    let answers: Vec<_> = ["/a", "/b", "/kill"].map(|path| fixture.request(get(path).retries(9))).into();
    run_until_idle().await;
    // The backend has died once, and those three run one at a time from now on. Others run beside them.
    advance_time(s(4)).await;
    assert_eq!((status(fixture.request(post("/other")).await), fixture.transport.running()), (200, 1));
    let [a, b, kill] = join_all(answers).await.try_into().unwrap();
    assert_eq!((status(a), status(b)), (200, 200));
    assert_eq!(failure_reason(kill), (Reason::Quarantined, 2));
    let last = |path| *fixture.transport.times(path).last().unwrap();
    assert!(last("/a").abs_diff(last("/b")) >= 5, "they were in flight at once");
}

#[tokio::test(start_paused = true)]
async fn queue_crash_keeps_the_deaths_of_the_backend() {
    let fixture = with_plan("/kill", TWO_DEATHS).await;
    let answer = fixture.request(get("/kill").retries(9));
    advance_time(s(1)).await;
    run_until_idle().await;
    fixture.crash().await;
    assert_eq!(failure_reason(answer.await), (Reason::Quarantined, 2));
}

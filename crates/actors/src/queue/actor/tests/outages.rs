//! While the backend cannot be reached, requests wait for it.

use futures_util::future::join_all;

use super::{
    fixture::{QueueFixture, advance_time, failure_reason, get, policy, post, run_until_idle, s, status},
    scripted_transport::ScriptedResponse,
};
use crate::{
    connection::status::ConnectionState,
    error::{Code, Reason},
    queue::{
        QueueMessage, QueuePolicy,
        events::{QueueHeld, QueueReleased},
    },
    request::Priority,
};

fn concurrent_policy() -> QueuePolicy {
    QueuePolicy { max_concurrent: 5, ..policy() }
}

#[tokio::test(start_paused = true)]
async fn requests_wait_out_an_outage_and_go_on_in_order() {
    let scene = QueueFixture::start(concurrent_policy()).await;
    scene.script.refuse_all(true);
    let paths = ["/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8"];
    let answers: Vec<_> = paths.iter().map(|path| scene.request(post(path))).collect();
    advance_time(s(20)).await;
    scene.script.refuse_all(false);
    let seen_before = scene.script.paths().len();
    for answer in join_all(answers).await {
        assert_eq!(answer.unwrap().attempts, 1, "what was never sent is no attempt");
    }
    assert_eq!(scene.script.paths()[seen_before..], paths);
    assert_eq!(scene.script.violations(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn outage_lets_one_probe_at_a_time_with_growing_delays() {
    let scene = QueueFixture::start(concurrent_policy()).await;
    scene.script.refuse_all(true);
    let _answers: Vec<_> = (0..20).map(|_| scene.request(get("/x"))).collect();
    advance_time(s(59)).await;
    // Five started before anything was known; then one after 1, 2, 4, 8, 16 s.
    assert_eq!(scene.script.times("/x"), [0, 0, 0, 0, 0, 1, 3, 7, 15, 31]);
}

#[tokio::test(start_paused = true)]
async fn request_expiring_in_an_outage_learns_its_cause() {
    let scene = QueueFixture::start(QueuePolicy { wait_timeout: s(10), ..concurrent_policy() }).await;
    scene.script.refuse_all(true);
    let (id, answer) = scene.submit(get("/x"));
    let error = answer.await.unwrap_err();
    assert_eq!((error.code, error.reason), (Code::NetworkError, Reason::Disconnected));
    assert_eq!((error.attempts, error.retryable), (0, true));
    assert_eq!(error.message, Reason::ConnectionRefused.message());
    assert_eq!(error.details.as_deref(), Some("the last attempt failed: connection_refused"));
    assert_eq!(scene.runtime.now().as_secs(), 10);
    assert_eq!(scene.event_kinds_of(id).await, ["request_failed"]);
}

#[tokio::test(start_paused = true)]
async fn request_without_wait_timeout_fails_at_once_in_an_outage() {
    let scene = QueueFixture::start(concurrent_policy()).await;
    scene.script.refuse_all(true);
    assert_eq!(failure_reason(scene.request(get("/x").wait_timeout(s(0))).await), (Reason::Disconnected, 0));
    assert_eq!(failure_reason(scene.request(get("/y").wait_timeout(s(0))).await), (Reason::Disconnected, 0));
    assert_eq!(scene.runtime.now().as_secs(), 0);
}

#[tokio::test(start_paused = true)]
async fn outage_uses_up_no_retries() {
    let scene = QueueFixture::start(concurrent_policy()).await;
    scene.script.on(
        "/a",
        [
            ScriptedResponse::Refuse,
            ScriptedResponse::Refuse,
            ScriptedResponse::Refuse,
            ScriptedResponse::Respond(503),
            ScriptedResponse::Respond(503),
        ],
    );
    let error = scene.request(get("/a")).await.unwrap_err();
    assert_eq!((error.reason, error.attempts), (Reason::Unavailable, 4));
}

#[tokio::test(start_paused = true)]
async fn link_up_releases_all_held_requests() {
    let scene = QueueFixture::start(concurrent_policy()).await;
    scene.script.refuse_all(true);
    let answers: Vec<_> = (0..7).map(|_| scene.request(get("/x"))).collect();
    advance_time(s(10)).await;
    scene.script.refuse_all(false);
    scene.set_link_state(ConnectionState::Connected);
    for answer in join_all(answers).await {
        assert_eq!(status(answer), 200);
    }
    assert_eq!(scene.runtime.now().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn link_down_alone_holds_requests_for_one_answer() {
    let scene = QueueFixture::start(concurrent_policy()).await;
    scene.set_link_state(ConnectionState::Reconnecting);
    run_until_idle().await;
    let asked = scene.runtime.now();
    scene.script.on("/slow", [ScriptedResponse::RespondAfter(s(20), 200)]);
    let slow = scene.request(get("/slow").priority(Priority::High));
    assert_eq!(status(scene.request(get("/x")).await), 200);
    // The slow one was the trial; the next went out beside it after the first delay, and its answer freed the rest.
    assert_eq!((scene.runtime.now() - asked).as_secs(), 1);
    assert_eq!(status(scene.request(get("/y")).await), 200);
    assert_eq!((scene.runtime.now() - asked).as_secs(), 1);
    assert_eq!(status(slow.await), 200);
}

#[tokio::test(start_paused = true)]
async fn closed_link_holds_nothing() {
    let scene = QueueFixture::start(concurrent_policy()).await;
    scene.set_link_state(ConnectionState::Disconnected);
    run_until_idle().await;
    assert!(
        join_all((0..5).map(|_| scene.request(get("/x")))).await.into_iter().all(|answer| answer.is_ok())
    );
    assert_eq!(scene.events::<QueueHeld>().await, []);
}

#[tokio::test(start_paused = true)]
async fn redialled_link_holds_requests_and_a_first_dial_does_not() {
    let scene = QueueFixture::start(concurrent_policy()).await;
    scene.set_link_state(ConnectionState::Connecting);
    run_until_idle().await;
    assert_eq!(scene.view.stats().outage, None);
    scene.set_link_state(ConnectionState::Reconnecting);
    run_until_idle().await;
    assert_eq!(scene.view.stats().outage.unwrap().reason, Reason::Disconnected);
}

#[tokio::test(start_paused = true)]
async fn outage_ended_by_a_crash_is_recorded_as_released() {
    let scene = QueueFixture::start(concurrent_policy()).await;
    scene.script.on("/x", [ScriptedResponse::Refuse, ScriptedResponse::Respond(200)]);
    let answer = scene.request(get("/x"));
    run_until_idle().await;
    assert!(scene.view.stats().outage.is_some());
    scene.crash().await;
    assert_eq!(status(answer.await), 200);
    let kinds = scene.journal_records().await.into_iter().map(|record| record.kind);
    let kinds: Vec<_> = kinds.filter(|kind| kind.starts_with("queue_")).collect();
    assert_eq!(kinds, ["queue_held", "queue_released"]);
}

#[tokio::test(start_paused = true)]
async fn backend_seen_releases_all_held_requests() {
    let scene = QueueFixture::start(concurrent_policy()).await;
    scene.script.refuse_all(true);
    let answer = scene.request(get("/x"));
    advance_time(s(5)).await;
    scene.script.refuse_all(false);
    scene.address.cast(QueueMessage::BackendSeen).await.unwrap();
    assert_eq!(status(answer.await), 200);
    assert_eq!(scene.runtime.now().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn crash_in_an_outage_keeps_requests_in_order() {
    let scene = QueueFixture::start(concurrent_policy()).await;
    scene.script.refuse_all(true);
    let paths = ["/1", "/2", "/3", "/4", "/5", "/6"];
    let answers: Vec<_> = paths.iter().map(|path| scene.request(post(path))).collect();
    advance_time(s(2)).await;
    scene.crash().await;
    scene.script.refuse_all(false);
    let seen_before = scene.script.paths().len();
    scene.address.cast(QueueMessage::BackendSeen).await.unwrap();
    assert!(join_all(answers).await.into_iter().all(|answer| answer.is_ok()));
    assert_eq!(scene.script.paths()[seen_before..], paths);
}

#[tokio::test(start_paused = true)]
async fn incarnation_starting_in_an_outage_records_it() {
    let scene = QueueFixture::start(concurrent_policy()).await;
    scene.set_link_state(ConnectionState::Reconnecting);
    run_until_idle().await;
    scene.crash().await;
    scene.set_link_state(ConnectionState::Connected);
    run_until_idle().await;
    let kinds = scene.journal_records().await.into_iter().map(|record| (record.generation, record.kind));
    let kinds: Vec<_> = kinds.filter(|(_, kind)| kind.starts_with("queue_")).collect();
    let [held, released] = ["queue_held", "queue_released"].map(str::to_owned);
    assert_eq!(kinds, [(1, held.clone()), (2, held), (2, released)]);
}

#[tokio::test(start_paused = true)]
async fn journal_and_view_tell_the_outage_and_the_next_probe() {
    let scene = QueueFixture::start(concurrent_policy()).await;
    scene
        .script
        .on("/x", [ScriptedResponse::Refuse, ScriptedResponse::Refuse, ScriptedResponse::Respond(200)]);
    let answer = scene.request(get("/x"));
    run_until_idle().await;
    let hold = scene.view.stats().outage.unwrap();
    assert_eq!((hold.reason, hold.failures), (Reason::ConnectionRefused, 1));
    assert_eq!((hold.since.as_secs(), hold.next_probe_at.as_secs()), (0, 1));
    assert_eq!(scene.view.stats().waiting, 1);
    assert_eq!(status(answer.await), 200);
    assert_eq!(scene.view.stats().outage, None);
    let held = |failures, next_trial_in_ms| QueueHeld {
        reason: Reason::ConnectionRefused,
        failures,
        next_probe_in_ms: next_trial_in_ms,
        waiting: 1,
    };
    assert_eq!(scene.events::<QueueHeld>().await, [held(1, 1000), held(2, 2000)]);
    let reason = Reason::ConnectionRefused;
    let released = QueueReleased { reason, failures: 2, held_ms: 3000, waiting: 0 };
    assert_eq!(scene.events::<QueueReleased>().await, [released]);
}

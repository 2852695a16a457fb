//! While the backend cannot be reached, requests wait for it.

use futures_util::future::join_all;

use super::{
    scene::{Scene, get, pass, policy, post, s, settle, status, why},
    script::Play,
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

fn wide() -> QueuePolicy {
    QueuePolicy { max_concurrent: 5, ..policy() }
}

#[tokio::test(start_paused = true)]
async fn requests_wait_for_a_backend_that_is_away_and_go_on_in_order_when_it_is_back() {
    let scene = Scene::of(wide()).await;
    scene.script.refuse_all(true);
    let paths = ["/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8"];
    let answers: Vec<_> = paths.iter().map(|path| scene.ask(post(path))).collect();
    pass(s(20)).await;
    scene.script.refuse_all(false);
    let seen_before = scene.script.paths().len();
    for answer in join_all(answers).await {
        assert_eq!(answer.unwrap().attempts, 1, "what was never sent is no attempt");
    }
    assert_eq!(scene.script.paths()[seen_before..], paths);
    assert_eq!(scene.script.wrongs(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn only_one_request_at_a_time_tries_and_ever_more_seldom() {
    let scene = Scene::of(wide()).await;
    scene.script.refuse_all(true);
    let _answers: Vec<_> = (0..20).map(|_| scene.ask(get("/x"))).collect();
    pass(s(59)).await;
    // Five started before anything was known; then one after 1, 2, 4, 8, 16 s.
    assert_eq!(scene.script.times("/x"), [0, 0, 0, 0, 0, 1, 3, 7, 15, 31]);
}

#[tokio::test(start_paused = true)]
async fn one_whose_wait_ends_meanwhile_learns_what_kept_it_and_that_nothing_was_sent() {
    let scene = Scene::of(QueuePolicy { wait_timeout: s(10), ..wide() }).await;
    scene.script.refuse_all(true);
    let (id, answer) = scene.submit(get("/x"));
    let error = answer.await.unwrap_err();
    assert_eq!((error.code, error.reason), (Code::NetworkError, Reason::Disconnected));
    assert_eq!((error.attempts, error.retryable), (0, true));
    assert_eq!(error.message, Reason::ConnectionRefused.message());
    assert_eq!(error.details.as_deref(), Some("the last attempt failed: connection_refused"));
    assert_eq!(scene.runtime.now().as_secs(), 10);
    assert_eq!(scene.fate(id).await, ["request_failed"]);
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_want_to_wait_fails_at_once() {
    let scene = Scene::of(wide()).await;
    scene.script.refuse_all(true);
    assert_eq!(why(scene.ask(get("/x").wait_timeout(s(0))).await), (Reason::Disconnected, 0));
    assert_eq!(why(scene.ask(get("/y").wait_timeout(s(0))).await), (Reason::Disconnected, 0));
    assert_eq!(scene.runtime.now().as_secs(), 0);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_the_backend_leaves_every_retry_for_what_comes_after() {
    let scene = Scene::of(wide()).await;
    scene.script.on("/a", [Play::Refuse, Play::Refuse, Play::Refuse, Play::Answer(503), Play::Answer(503)]);
    let error = scene.ask(get("/a")).await.unwrap_err();
    assert_eq!((error.reason, error.attempts), (Reason::Unavailable, 4));
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_up_again_lets_all_of_them_go_at_once() {
    let scene = Scene::of(wide()).await;
    scene.script.refuse_all(true);
    let answers: Vec<_> = (0..7).map(|_| scene.ask(get("/x"))).collect();
    pass(s(10)).await;
    scene.script.refuse_all(false);
    scene.link(ConnectionState::Connected);
    for answer in join_all(answers).await {
        assert_eq!(status(answer), 200);
    }
    assert_eq!(scene.runtime.now().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_goes_down_alone_costs_the_others_one_answer() {
    let scene = Scene::of(wide()).await;
    scene.link(ConnectionState::Reconnecting);
    settle().await;
    let asked = scene.runtime.now();
    scene.script.on("/slow", [Play::AnswerAfter(s(20), 200)]);
    let slow = scene.ask(get("/slow").priority(Priority::High));
    assert_eq!(status(scene.ask(get("/x")).await), 200);
    // The slow one was the trial; the next went out beside it after the first delay, and its answer freed the rest.
    assert_eq!((scene.runtime.now() - asked).as_secs(), 1);
    assert_eq!(status(scene.ask(get("/y")).await), 200);
    assert_eq!((scene.runtime.now() - asked).as_secs(), 1);
    assert_eq!(status(slow.await), 200);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_somebody_closed_holds_nothing() {
    let scene = Scene::of(wide()).await;
    scene.link(ConnectionState::Disconnected);
    settle().await;
    assert!(join_all((0..5).map(|_| scene.ask(get("/x")))).await.into_iter().all(|answer| answer.is_ok()));
    assert_eq!(scene.told::<QueueHeld>().await, []);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_dialled_for_the_first_time_holds_nothing_and_one_that_is_dialled_again_does() {
    let scene = Scene::of(wide()).await;
    scene.link(ConnectionState::Connecting);
    settle().await;
    assert_eq!(scene.view.stats().hold, None);
    scene.link(ConnectionState::Reconnecting);
    settle().await;
    assert_eq!(scene.view.stats().hold.unwrap().reason, Reason::Disconnected);
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_a_crash_ends_is_told_as_over() {
    let scene = Scene::of(wide()).await;
    scene.script.on("/x", [Play::Refuse, Play::Answer(200)]);
    let answer = scene.ask(get("/x"));
    settle().await;
    assert!(scene.view.stats().hold.is_some());
    scene.crash().await;
    assert_eq!(status(answer.await), 200);
    let kinds = scene.story().await.into_iter().map(|record| record.kind);
    let kinds: Vec<_> = kinds.filter(|kind| kind.starts_with("queue_")).collect();
    assert_eq!(kinds, ["queue_held", "queue_released"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_the_backend_gave_elsewhere_lets_all_of_them_go() {
    let scene = Scene::of(wide()).await;
    scene.script.refuse_all(true);
    let answer = scene.ask(get("/x"));
    pass(s(5)).await;
    scene.script.refuse_all(false);
    scene.address.cast(QueueMessage::BackendSeen).await.unwrap();
    assert_eq!(status(answer.await), 200);
    assert_eq!(scene.runtime.now().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_crash_of_the_queue_meanwhile_loses_nothing_and_keeps_the_order() {
    let scene = Scene::of(wide()).await;
    scene.script.refuse_all(true);
    let paths = ["/1", "/2", "/3", "/4", "/5", "/6"];
    let answers: Vec<_> = paths.iter().map(|path| scene.ask(post(path))).collect();
    pass(s(2)).await;
    scene.crash().await;
    scene.script.refuse_all(false);
    let seen_before = scene.script.paths().len();
    scene.address.cast(QueueMessage::BackendSeen).await.unwrap();
    assert!(join_all(answers).await.into_iter().all(|answer| answer.is_ok()));
    assert_eq!(scene.script.paths()[seen_before..], paths);
}

#[tokio::test(start_paused = true)]
async fn an_incarnation_that_begins_with_requests_held_says_so_before_it_lets_them_go() {
    let scene = Scene::of(wide()).await;
    scene.link(ConnectionState::Reconnecting);
    settle().await;
    scene.crash().await;
    scene.link(ConnectionState::Connected);
    settle().await;
    let kinds = scene.story().await.into_iter().map(|record| (record.generation, record.kind));
    let kinds: Vec<_> = kinds.filter(|(_, kind)| kind.starts_with("queue_")).collect();
    let [held, released] = ["queue_held", "queue_released"].map(str::to_owned);
    assert_eq!(kinds, [(1, held.clone()), (2, held), (2, released)]);
}

#[tokio::test(start_paused = true)]
async fn the_journal_and_the_view_say_since_when_and_why_and_when_it_is_tried_again() {
    let scene = Scene::of(wide()).await;
    scene.script.on("/x", [Play::Refuse, Play::Refuse, Play::Answer(200)]);
    let answer = scene.ask(get("/x"));
    settle().await;
    let hold = scene.view.stats().hold.unwrap();
    assert_eq!((hold.reason, hold.failures), (Reason::ConnectionRefused, 1));
    assert_eq!((hold.since.as_secs(), hold.next_trial_at.as_secs()), (0, 1));
    assert_eq!(scene.view.stats().waiting, 1);
    assert_eq!(status(answer.await), 200);
    assert_eq!(scene.view.stats().hold, None);
    let held = |failures, next_trial_in_ms| QueueHeld {
        reason: Reason::ConnectionRefused,
        failures,
        next_trial_in_ms,
        waiting: 1,
    };
    assert_eq!(scene.told::<QueueHeld>().await, [held(1, 1000), held(2, 2000)]);
    let reason = Reason::ConnectionRefused;
    let released = QueueReleased { reason, failures: 2, held_ms: 3000, waiting: 0 };
    assert_eq!(scene.told::<QueueReleased>().await, [released]);
}

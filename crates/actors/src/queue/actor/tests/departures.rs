//! Requests that are called off, and callers that go away.

use std::sync::Arc;

use super::{
    scene::{Scene, get, pass, policy, s, settle, status, why},
    script::Play,
};
use crate::{
    error::Reason,
    queue::{QueueMessage, QueuePolicy, events::RequestFailed},
    request::RequestId,
};

/// A scene with one request that has the only place for a minute.
async fn occupied() -> (Scene, impl Future) {
    let scene = Scene::of(policy()).await;
    scene.script.on("/long", [Play::AnswerAfter(s(60), 200)]);
    let long = scene.ask(get("/long").timeout(s(100)));
    settle().await;
    (scene, long)
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_called_off_in_the_queue_is_never_sent_and_ends_once() {
    let (scene, long) = occupied().await;
    let (id, answer) = scene.submit(get("/x"));
    assert_eq!(scene.queue.cancel(id).await, Ok(true));
    assert_eq!(scene.queue.cancel(id).await, Ok(false));
    let error = answer.await.unwrap_err();
    assert_eq!((error.reason, error.attempts, error.request_id), (Reason::Cancelled, 0, Some(id)));
    long.await;
    pass(s(60)).await;
    assert_eq!(scene.script.paths(), ["/long"]);
    assert_eq!(scene.fate(id).await, ["request_failed"]);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_called_off_in_its_attempt_is_dropped_and_the_next_has_its_place() {
    let scene = Scene::of(policy()).await;
    scene.script.on("/hang", [Play::Hang]);
    let (id, hang) = scene.submit(get("/hang"));
    let next = scene.ask(get("/next"));
    settle().await;
    assert_eq!((scene.script.running(), scene.view.stats().waiting), (1, 1));
    assert_eq!(scene.queue.cancel(id).await, Ok(true));
    assert_eq!(why(hang.await), (Reason::Cancelled, 1));
    assert_eq!(status(next.await), 200);
    settle().await;
    assert_eq!((scene.script.peak(), scene.script.running(), scene.view.stats().running), (1, 0, 0));
    assert_eq!(scene.fate(id).await, ["request_failed"]);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_called_off_in_a_backoff_is_not_repeated() {
    let scene = Scene::of(policy()).await;
    scene.script.on("/down", [Play::AskToWait(10)]);
    let (id, down) = scene.submit(get("/down"));
    pass(s(5)).await;
    assert_eq!(scene.queue.cancel(id).await, Ok(true));
    assert_eq!(why(down.await), (Reason::Cancelled, 1));
    pass(s(60)).await;
    assert_eq!(scene.script.times("/down"), [0]);
    assert_eq!(scene.fate(id).await, ["request_retry", "request_failed"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_and_a_cancellation_at_one_moment_are_one_end() {
    let scene = Scene::of(QueuePolicy { max_concurrent: 2, ..policy() }).await;
    scene.script.on("/x", [Play::AnswerAfter(s(1), 200)]);
    for _ in 0..20 {
        let (id, answer) = scene.submit(get("/x"));
        let cancel = async {
            pass(s(1)).await;
            scene.queue.cancel(id).await.unwrap()
        };
        let (answer, cancelled) = tokio::join!(answer, cancel);
        assert_eq!(answer.is_err(), cancelled);
        assert_eq!(scene.fate(id).await.len(), 1);
    }
    settle().await;
    assert_eq!(scene.view.stats().running, 0);
}

#[tokio::test(start_paused = true)]
async fn calling_off_what_never_was_changes_nothing() {
    let scene = Scene::of(policy()).await;
    assert_eq!(scene.queue.cancel(RequestId(99)).await, Ok(false));
    assert!(scene.told::<RequestFailed>().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_frees_its_place_in_the_queue() {
    let (scene, _long) = occupied().await;
    let (id, answer) = scene.submit(get("/x"));
    settle().await;
    assert_eq!(scene.view.stats().waiting, 1);
    drop(answer);
    settle().await;
    assert_eq!(scene.view.stats().waiting, 0);
    assert_eq!(scene.fate(id).await, ["request_failed"]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_ends_its_attempt() {
    let (scene, long) = occupied().await;
    let next = scene.ask(get("/next"));
    drop(long);
    assert_eq!(status(next.await), 200);
    assert_eq!((scene.runtime.now().as_secs(), scene.script.peak()), (0, 1));
    assert_eq!(scene.fate(RequestId(1)).await, ["request_failed"]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_without_a_word_is_found_out_when_its_turn_comes() {
    let (scene, long) = occupied().await;
    let request = Arc::new(get("/x").build().unwrap());
    let id = RequestId(50);
    let mut silent = Box::pin(scene.address.call(|reply| QueueMessage::Enqueue { id, request, reply }));
    assert!(futures_util::poll!(&mut silent).is_pending());
    drop(silent);
    long.await;
    settle().await;
    assert_eq!(scene.script.paths(), ["/long"]);
    assert_eq!(scene.fate(id).await, ["request_failed"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_has_come_is_no_cause_to_call_anything_off() {
    let scene = Scene::of(policy()).await;
    assert_eq!(status(scene.ask(get("/x")).await), 200);
    assert_eq!(scene.address.backlog(), 0);
}

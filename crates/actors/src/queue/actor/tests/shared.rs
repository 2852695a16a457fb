//! Callers who ask for the same at the same time share one request, where they allow it.

use futures_util::{FutureExt, future::join_all};

use super::{
    scene::{Scene, get, pass, policy, post, s, settle, status, why},
    script::Play,
};
use crate::{
    error::Reason,
    queue::{LanesPolicy, QueuePolicy, events::RequestJoined},
    request::{Priority, RequestId},
};

#[tokio::test(start_paused = true)]
async fn a_hundred_callers_of_the_same_get_share_one_attempt_and_each_is_answered_under_its_own_id() {
    let scene = Scene::of(policy()).await;
    scene.script.on("/a", [Play::AnswerAfter(s(1), 200)]);
    let asked: Vec<_> = (0..100).map(|_| scene.submit(get("/a?x=1").shared())).collect();
    let (ids, answers): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
    for (id, answer) in ids.iter().zip(join_all(answers).await) {
        let answer = answer.unwrap();
        assert_eq!((answer.request_id, answer.attempts, &answer.body[..]), (*id, 1, &b"{}"[..]));
        assert_eq!(scene.fate(*id).await.last().unwrap(), "request_done");
    }
    assert_eq!(scene.script.paths(), ["/a"]);
    let joined: Vec<RequestJoined> = scene.told().await;
    assert!(joined.len() == 99 && joined.iter().all(|event| event.with == RequestId(1)));
}

#[tokio::test(start_paused = true)]
async fn one_that_comes_when_the_answer_is_there_asks_anew() {
    let scene = Scene::of(policy()).await;
    assert_eq!(status(scene.ask(get("/a").shared()).await), 200);
    assert_eq!(status(scene.ask(get("/a").shared()).await), 200);
    assert_eq!(scene.script.paths(), ["/a", "/a"]);
}

#[tokio::test(start_paused = true)]
async fn what_differs_in_anything_or_does_not_allow_it_is_not_shared() {
    let scene = Scene::of(policy()).await;
    scene.script.on("/a", [Play::AnswerAfter(s(1), 200)]);
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
    assert!(join_all(asked.map(|request| scene.ask(request))).await.into_iter().all(|it| it.is_ok()));
    assert_eq!(scene.script.paths().len(), number);
    assert_eq!(post("/a").shared().build().unwrap_err().reason, Reason::InvalidRequest);
    assert_eq!(get("/a").body("x").shared().build().unwrap_err().reason, Reason::InvalidRequest);
}

#[tokio::test(start_paused = true)]
async fn the_first_caller_can_leave_without_the_others_noticing() {
    let scene = Scene::of(policy()).await;
    scene.script.on("/a", [Play::AnswerAfter(s(5), 200)]);
    let (first, first_answer) = scene.submit(get("/a").shared());
    let (_, second) = scene.submit(get("/a").shared());
    let (third, third_answer) = scene.submit(get("/a").shared());
    pass(s(1)).await;
    drop(first_answer);
    assert!(scene.queue.cancel(third).await.unwrap());
    assert!(!scene.queue.cancel(third).await.unwrap(), "it has left already");
    assert_eq!(why(third_answer.await), (Reason::Cancelled, 1));
    assert_eq!(scene.fate(first).await, ["request_failed"]);
    assert_eq!(status(second.await), 200);
    assert_eq!(scene.script.paths(), ["/a"]);
}

#[tokio::test(start_paused = true)]
async fn the_last_caller_to_leave_calls_it_off() {
    let scene = Scene::of(policy()).await;
    scene.script.on("/a", [Play::Hang]);
    let answers = [scene.ask(get("/a").shared()), scene.ask(get("/a").shared())];
    settle().await;
    assert_eq!(scene.script.running(), 1);
    drop(answers);
    settle().await;
    assert_eq!((scene.script.running(), scene.view.stats().running), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn each_caller_waits_as_long_as_it_would_alone() {
    let scene = Scene::of(QueuePolicy { wait_timeout: s(10), ..policy() }).await;
    scene.script.on("/long", [Play::AnswerAfter(s(15), 200)]);
    let _long = scene.ask(get("/long"));
    let early = scene.ask(get("/a").shared());
    pass(s(8)).await;
    let late = scene.ask(get("/a").shared());
    assert_eq!(why(early.await), (Reason::Expired, 0));
    assert_eq!(scene.runtime.now().as_secs(), 10);
    assert_eq!(status(late.await), 200);
    assert_eq!(scene.runtime.now().as_secs(), 15);
    assert_eq!(scene.script.paths(), ["/long", "/a"]);
}

#[tokio::test(start_paused = true)]
async fn the_most_urgent_caller_says_how_urgent_it_is() {
    let scene = Scene::of(policy()).await;
    scene.script.on("/long", [Play::AnswerAfter(s(1), 200)]);
    let _long = scene.ask(get("/long"));
    let shared = scene.ask(get("/a").shared().priority(Priority::Low));
    let other = scene.ask(get("/b"));
    let urgent = scene.ask(get("/a").shared().priority(Priority::High));
    assert!(join_all([shared, other, urgent]).await.into_iter().all(|answer| answer.is_ok()));
    assert_eq!(scene.script.paths(), ["/long", "/a", "/b"]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_to_each_with_its_own_id() {
    let scene = Scene::of(policy()).await;
    scene.script.on("/a", [Play::Answer(404)]);
    let asked = [scene.submit(get("/a").shared()), scene.submit(get("/a").shared())];
    for (id, answer) in asked {
        let error = answer.await.unwrap_err();
        assert_eq!((error.reason, error.request_id), (Reason::NotFound, Some(id)));
        assert_eq!(scene.fate(id).await.last().unwrap(), "request_failed");
    }
    assert_eq!(scene.script.paths(), ["/a"]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_of_the_queue_keeps_all_who_share() {
    let scene = Scene::of(policy()).await;
    scene.script.on("/a", [Play::Hang, Play::Answer(200)]);
    let answers: Vec<_> = (0..3).map(|_| scene.ask(get("/a").shared())).collect();
    settle().await;
    scene.crash().await;
    let late = scene.ask(get("/a").shared());
    assert!(join_all(answers).await.into_iter().all(|answer| answer.unwrap().attempts == 2));
    assert_eq!(status(late.await), 200);
    assert_eq!(scene.script.paths(), ["/a", "/a"]);
}

#[tokio::test(start_paused = true)]
async fn no_more_callers_can_share_than_requests_can_wait() {
    let lanes = LanesPolicy { queue_max: 3, ..LanesPolicy::default() };
    let scene = Scene::of(QueuePolicy { lanes, ..policy() }).await;
    scene.script.on("/a", [Play::AnswerAfter(s(1), 200)]);
    let answers: Vec<_> = (0..5).map(|_| scene.ask(get("/a").shared())).collect();
    settle().await;
    let mut answers = answers.into_iter();
    let last = answers.next_back().unwrap();
    assert_eq!(why(last.now_or_never().unwrap()), (Reason::QueueFull, 0));
    assert!(join_all(answers).await.into_iter().all(|answer| answer.is_ok()));
}

//! What is tried again, when, and what is not.

use futures_util::future::join_all;

use super::{
    scene::{Scene, get, pass, policy, post, s, settle, status, why},
    script::Play,
};
use crate::{
    error::{Code, Reason},
    queue::{QueuePolicy, events::RequestRetry},
};

#[tokio::test(start_paused = true)]
async fn all_attempts_carry_one_key_and_the_delays_between_them_are_the_policys() {
    let scene = Scene::of(policy()).await;
    scene.script.on("/a", [Play::Answer(503), Play::Reset, Play::Answer(200)]);
    let answer = scene.ask(post("/a").generated_idempotency_key()).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.attempts), (200, 3));
    assert_eq!(scene.script.times("/a"), [0, 1, 3]);
    let keys: Vec<_> = scene.script.seen().into_iter().map(|seen| seen.key.unwrap()).collect();
    assert!(keys[0].len() == 36 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    let told: Vec<RequestRetry> = scene.told().await;
    let told: Vec<_> = told.iter().map(|event| (event.attempt, event.delay_ms, event.reason)).collect();
    assert_eq!(told, [(2, 1000, Reason::Unavailable), (3, 2000, Reason::ConnectionReset)]);
}

#[tokio::test(start_paused = true)]
async fn two_requests_never_share_a_generated_key() {
    let scene = Scene::of(policy()).await;
    let answers = ["/a", "/b"].map(|path| scene.ask(post(path).generated_idempotency_key()));
    assert!(join_all(answers).await.into_iter().all(|answer| answer.is_ok()));
    let seen = scene.script.seen();
    assert!(seen[0].key.is_some() && seen[1].key.is_some() && seen[0].key != seen[1].key);
}

#[tokio::test(start_paused = true)]
async fn a_post_without_a_key_that_may_have_arrived_is_not_repeated_and_its_outcome_is_unknown() {
    for (play, code) in [
        (Play::Hang, Code::Timeout),
        (Play::Reset, Code::NetworkError),
        (Play::Answer(500), Code::ServerError),
        (Play::Panic, Code::ServerError),
    ] {
        let scene = Scene::of(policy()).await;
        scene.script.on("/pay", [play]);
        let (id, answer) = scene.submit(post("/pay"));
        let error = answer.await.unwrap_err();
        assert_eq!((error.code, error.reason), (code, Reason::OutcomeUnknown));
        assert_eq!((error.retryable, error.attempts, error.request_id), (false, 1, Some(id)));
        pass(s(600)).await;
        assert_eq!(scene.script.paths(), ["/pay"]);
        assert_eq!(scene.fate(id).await.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_that_cannot_have_arrived_is_repeated() {
    let scene = Scene::of(policy()).await;
    scene.script.on("/pay", [Play::Refuse, Play::Answer(201)]);
    assert_eq!(status(scene.ask(post("/pay")).await), 201);
    assert_eq!(scene.script.times("/pay"), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn when_the_retries_are_used_up_the_caller_learns_the_last_failure() {
    let scene = Scene::of(policy()).await;
    scene.script.on("/a", [Play::Reset, Play::Reset, Play::Hang, Play::Answer(502)]);
    let error = scene.ask(get("/a")).await.unwrap_err();
    assert_eq!((error.reason, error.attempts, error.status), (Reason::BadGateway, 4, Some(502)));
    assert_eq!(scene.script.times("/a"), [0, 1, 3, 37]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_by_the_backend_is_final_at_once() {
    let scene = Scene::of(policy()).await;
    scene.script.on("/a", [Play::Answer(404)]);
    assert_eq!(why(scene.ask(get("/a")).await), (Reason::NotFound, 1));
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_within_a_backoff_changes_nothing() {
    for jump_s in [-86_400 * 365, -10, 10, 86_400 * 365] {
        let scene = Scene::of(policy()).await;
        scene.script.on("/a", [Play::AskToWait(20), Play::Reset, Play::Answer(200)]);
        let answer = scene.ask(get("/a"));
        pass(s(5)).await;
        scene.clock.jump(jump_s);
        assert_eq!(status(answer.await), 200);
        assert_eq!(scene.script.times("/a"), [0, 20, 22]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_backoff_holds_no_place() {
    let scene = Scene::of(policy()).await;
    scene.script.on("/down", [Play::AskToWait(10), Play::Answer(200)]);
    let (down, other) = (scene.ask(get("/down")), scene.ask(get("/other")));
    assert_eq!(status(other.await), 200);
    assert_eq!(scene.script.times("/other"), [0]);
    assert_eq!(status(down.await), 200);
    assert_eq!(scene.script.times("/down"), [0, 10]);
}

#[tokio::test(start_paused = true)]
async fn neither_a_backoff_nor_an_attempt_uses_up_the_time_in_the_queue() {
    let scene = Scene::of(QueuePolicy { wait_timeout: s(2), timeout: s(30), ..policy() }).await;
    scene.script.on("/a", [Play::Hang, Play::AskToWait(10), Play::Answer(200)]);
    assert_eq!(status(scene.ask(get("/a")).await), 200);
    assert_eq!(scene.script.times("/a"), [0, 31, 41]);
}

#[tokio::test(start_paused = true)]
async fn a_request_can_expire_while_it_waits_for_another_attempt_and_then_says_so() {
    let scene = Scene::of(QueuePolicy { wait_timeout: s(5), ..policy() }).await;
    scene.script.on("/down", [Play::Reset, Play::Answer(200)]);
    scene.script.on("/long", [Play::AnswerAfter(s(20), 200)]);
    let (down, _long) = (scene.ask(get("/down")), scene.ask(get("/long")));
    let error = down.await.unwrap_err();
    assert_eq!((error.code, error.reason, error.attempts), (Code::Timeout, Reason::Expired, 1));
    assert_eq!(error.details.as_deref(), Some("the last attempt failed: connection_reset"));
    assert!(!error.message.contains("not sent"));
    assert_eq!(scene.runtime.now().as_secs(), 6);
    pass(s(60)).await;
    assert_eq!(scene.script.times("/down").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn with_the_backend_failing_all_retries_together_stay_within_the_budget() {
    let scene = Scene::of(QueuePolicy { max_concurrent: 5, ..policy() }).await;
    scene.script.on("/x", [Play::Answer(503)]);
    let answers: Vec<_> = (0..100).map(|_| scene.ask(get("/x"))).collect();
    for answer in join_all(answers).await {
        assert_eq!(why(answer).0, Reason::Unavailable);
    }
    // A fifth of the requests, and the reserve of ten.
    assert_eq!(scene.script.paths().len(), 100 + 20 + 10);
    scene.crash().await;
    let answers: Vec<_> = (0..10).map(|_| scene.ask(get("/x"))).collect();
    join_all(answers).await;
    assert_eq!(scene.script.paths().len(), 110 + 22 + 10, "a crash gives nothing back");
}

#[tokio::test(start_paused = true)]
async fn with_the_backend_down_there_are_no_retries_at_all_but_a_few_trials() {
    let scene = Scene::of(QueuePolicy { max_concurrent: 5, ..policy() }).await;
    scene.script.refuse_all(true);
    let answers: Vec<_> = (0..100).map(|_| scene.ask(get("/x"))).collect();
    for answer in join_all(answers).await {
        assert_eq!(why(answer), (Reason::Disconnected, 0));
    }
    assert_eq!(scene.script.paths().len(), 5 + 5);
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_panics_fails_its_own_request_alone() {
    let scene = Scene::of(QueuePolicy { max_concurrent: 2, ..policy() }).await;
    scene.script.on("/bad", [Play::Panic]);
    scene.script.on("/good", [Play::AnswerAfter(s(20), 200)]);
    let (good, bad) = (scene.ask(post("/good")), scene.ask(get("/bad")));
    assert_eq!(why(bad.await), (Reason::Crashed, 4));
    assert_eq!(status(good.await), 200);
    settle().await;
    assert_eq!((scene.generation(), scene.script.running()), (1, 0));
}

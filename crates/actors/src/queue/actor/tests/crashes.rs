//! What a crash of the actor, a restart, a stop and a surrender mean for those who wait.

use futures_util::FutureExt;
use mainstay_runtime::policy::{Budget, ChildPolicy, Delay};

use super::{
    scene::{Scene, get, pass, policy, post, s, settle, status, upkeep, why},
    script::Play,
};
use crate::{
    error::{Code, Reason},
    queue::{QueueMessage, QueuePolicy, events::RequestFailed},
    request::Priority,
};

#[tokio::test(start_paused = true)]
async fn after_a_crash_those_that_waited_go_on_in_their_order_and_none_is_lost() {
    let scene = Scene::of(policy()).await;
    scene.script.on("/long", [Play::AnswerAfter(s(5), 200)]);
    let long = scene.ask(get("/long"));
    let low = scene.ask(get("/low").priority(Priority::Low));
    let normal = scene.ask(post("/normal"));
    let high = scene.ask(get("/high").priority(Priority::High));
    settle().await;
    scene.crash().await;
    let late = scene.ask(get("/late"));
    assert_eq!(scene.generation(), 2);
    for answer in [status(long.await), status(low.await), status(normal.await), status(high.await)] {
        assert_eq!(answer, 200);
    }
    assert_eq!(status(late.await), 200);
    // The attempt that the crash cut off waits its second before it is made again.
    assert_eq!(scene.script.paths(), ["/long", "/high", "/normal", "/low", "/late", "/long"]);
    assert_eq!(scene.script.peak(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_a_crash_cut_off_is_repeated_if_that_is_safe_and_else_its_outcome_is_unknown() {
    let scene = Scene::of(QueuePolicy { max_concurrent: 3, ..policy() }).await;
    for path in ["/get", "/post", "/keyed"] {
        scene.script.on(path, [Play::Hang, Play::Answer(200)]);
    }
    let get = scene.ask(get("/get"));
    let (id, post_) = scene.submit(post("/post"));
    let keyed = scene.ask(post("/keyed").generated_idempotency_key());
    settle().await;
    scene.crash().await;
    let error = post_.await.unwrap_err();
    assert_eq!((error.code, error.reason), (Code::ServerError, Reason::OutcomeUnknown));
    assert_eq!((error.retryable, error.attempts, error.request_id), (false, 1, Some(id)));
    assert_eq!((get.await.unwrap().attempts, keyed.await.unwrap().attempts), (2, 2));
    assert_eq!(scene.script.paths().iter().filter(|path| *path == "/post").count(), 1);
    assert!(scene.script.wrongs().is_empty(), "{:?}", scene.script.wrongs());
    assert_eq!(scene.fate(id).await, ["request_failed"]);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_crashes_again_and_again_repeats_an_attempt_no_more_often_than_it_may() {
    let scene = Scene::of(policy()).await;
    scene.script.on("/hang", [Play::Hang]);
    let hang = scene.ask(get("/hang").retries(2).timeout(s(1000)));
    for _ in 0..3 {
        pass(s(10)).await;
        scene.crash().await;
    }
    assert_eq!(why(hang.await), (Reason::Crashed, 3));
    assert_eq!(scene.script.paths().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn neither_a_backoff_nor_a_deadline_is_forgotten_in_a_crash() {
    let scene = Scene::of(policy()).await;
    scene.script.on("/down", [Play::AskToWait(20), Play::Answer(200)]);
    scene.script.on("/long", [Play::AnswerAfter(s(30), 200)]);
    let down = scene.ask(get("/down"));
    pass(s(5)).await;
    scene.crash().await;
    assert_eq!(status(down.await), 200);
    assert_eq!(scene.script.times("/down"), [0, 20]);
    let _long = scene.ask(post("/long").idempotency_key("k").timeout(s(100)));
    let late = scene.ask(get("/late").wait_timeout(s(10)));
    let asked_at = scene.runtime.now();
    pass(s(2)).await;
    scene.crash().await;
    // The attempt that was cut off leaves its place to the one that waits.
    assert_eq!(status(late.await), 200);
    assert!(scene.runtime.now() - asked_at < s(3));
}

#[tokio::test(start_paused = true)]
async fn what_expires_while_the_actor_is_down_is_never_sent() {
    let delay = Delay::Fixed { delay: s(30) };
    let scene = Scene::kept_by(ChildPolicy { delay, ..upkeep() }, policy()).await;
    scene.script.on("/long", [Play::AnswerAfter(s(60), 200)]);
    let _long = scene.ask(get("/long").timeout(s(100)));
    let (id, late) = scene.submit(get("/late").wait_timeout(s(10)));
    let patient = scene.ask(get("/patient"));
    settle().await;
    scene.crash().await;
    assert_eq!(why(late.await), (Reason::Expired, 0));
    assert_eq!(status(patient.await), 200);
    assert!(!scene.script.paths().contains(&"/late".to_owned()));
    assert_eq!(scene.fate(id).await, ["request_timed_out"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_called_off_while_the_actor_was_down_ends_as_called_off() {
    let delay = Delay::Fixed { delay: s(30) };
    let scene = Scene::kept_by(ChildPolicy { delay, ..upkeep() }, policy()).await;
    scene.script.on("/long", [Play::AnswerAfter(s(60), 200)]);
    let _long = scene.ask(get("/long"));
    let (id, called_off) = scene.submit(get("/x"));
    settle().await;
    scene.crash().await;
    assert_eq!(scene.queue.cancel(id).await, Ok(true));
    assert_eq!(why(called_off.await).0, Reason::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_restart_by_hand_loses_nothing_that_waits() {
    let scene = Scene::of(policy()).await;
    scene.script.on("/long", [Play::AnswerAfter(s(5), 200)]);
    let (long, next) = (scene.ask(get("/long")), scene.ask(post("/next")));
    settle().await;
    scene.runtime.root().restart("queue").await.unwrap();
    assert_eq!(scene.generation(), 2);
    assert_eq!((status(next.await), status(long.await)), (200, 200));
}

#[tokio::test(start_paused = true)]
async fn when_the_actor_is_stopped_everyone_who_waits_is_told_and_it_is_written_down() {
    let scene = Scene::of(QueuePolicy { max_concurrent: 2, ..policy() }).await;
    scene.script.on("/get", [Play::Hang]);
    scene.script.on("/post", [Play::Hang]);
    let (running, in_doubt, waiting) =
        (scene.ask(get("/get")), scene.ask(post("/post")), scene.ask(post("/waiting")));
    settle().await;
    scene.runtime.root().stop("queue").await.unwrap();
    assert_eq!(why(running.await), (Reason::Stopped, 1));
    assert_eq!(why(in_doubt.await), (Reason::OutcomeUnknown, 1));
    assert_eq!(why(waiting.await), (Reason::Stopped, 0));
    assert_eq!(why(scene.ask(get("/late")).await), (Reason::Stopped, 0));
    assert_eq!(scene.queue.cancel(crate::request::RequestId(1)).await.unwrap_err().reason, Reason::Stopped);
    let told: Vec<_> = scene.told::<RequestFailed>().await.iter().map(|event| event.reason).collect();
    assert_eq!(told, [Reason::Stopped, Reason::OutcomeUnknown, Reason::Stopped]);
    assert_eq!((scene.view.stats().waiting, scene.script.running()), (0, 0));
    scene.runtime.root().start("queue").await.unwrap();
    assert_eq!(status(scene.ask(get("/again")).await), 200);
    assert_eq!(scene.script.paths().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn when_the_runtime_shuts_down_everyone_who_waits_is_told() {
    let scene = Scene::of(policy()).await;
    scene.script.on("/long", [Play::Hang]);
    let (running, waiting) = (scene.ask(get("/long")), scene.ask(get("/waiting")));
    settle().await;
    scene.runtime.shutdown().await;
    assert_eq!((why(running.await), why(waiting.await)), ((Reason::Stopped, 1), (Reason::Stopped, 0)));
}

#[tokio::test(start_paused = true)]
async fn when_the_runtime_is_dropped_nobody_waits_for_ever() {
    let scene = Scene::of(policy()).await;
    scene.script.on("/long", [Play::Hang]);
    let (running, waiting) = (scene.ask(post("/long")), scene.ask(get("/waiting")));
    settle().await;
    drop(scene.runtime);
    settle().await;
    assert_eq!(why(running.now_or_never().unwrap()), (Reason::OutcomeUnknown, 1));
    assert_eq!(why(waiting.now_or_never().unwrap()), (Reason::Stopped, 0));
}

#[tokio::test(start_paused = true)]
async fn when_the_actor_is_given_up_everyone_who_waits_is_told_and_a_reset_brings_it_back() {
    let budget = Some(Budget { restarts_max: 1, window: s(600) });
    let scene = Scene::kept_by(ChildPolicy { budget, ..upkeep() }, policy()).await;
    scene.script.on("/long", [Play::Hang]);
    scene.script.on("/waiting", [Play::Hang]);
    let (running, waiting) = (scene.ask(get("/long")), scene.ask(get("/waiting")));
    settle().await;
    scene.crash().await;
    scene.crash().await;
    assert_eq!((why(running.await).0, why(waiting.await).0), (Reason::Stopped, Reason::Stopped));
    scene.runtime.root().reset("queue").await.unwrap();
    assert_eq!(status(scene.ask(get("/again")).await), 200);
}

#[tokio::test(start_paused = true)]
async fn what_crashes_its_successors_again_and_again_is_let_go_with_a_word() {
    let scene = Scene::kept_by(ChildPolicy { checkpoint_crashes_max: 1, ..upkeep() }, policy()).await;
    scene.script.on("/long", [Play::Hang]);
    let (running, in_doubt) = (scene.ask(get("/long")), scene.ask(post("/waiting")));
    settle().await;
    // The second incarnation crashes before it has handled anything, so its checkpoint is to blame.
    scene.address.cast(QueueMessage::Panic).await.unwrap();
    scene.address.cast(QueueMessage::Panic).await.unwrap();
    assert_eq!((why(running.await).0, why(in_doubt.await).0), (Reason::Crashed, Reason::OutcomeUnknown));
    assert_eq!((scene.generation(), status(scene.ask(get("/again")).await)), (3, 200));
}

#[tokio::test(start_paused = true)]
async fn requests_that_come_while_the_actor_is_down_are_handled_by_the_next_incarnation() {
    let delay = Delay::Fixed { delay: s(5) };
    let scene = Scene::kept_by(ChildPolicy { delay, ..upkeep() }, policy()).await;
    scene.crash().await;
    let answer = scene.ask(post("/x"));
    assert_eq!(status(answer.await), 200);
    assert_eq!(scene.script.times("/x"), [5]);
}

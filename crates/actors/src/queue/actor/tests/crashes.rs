//! What a crash of the actor, a restart, a stop and a surrender mean for those who wait.

use futures_util::FutureExt;
use mainstay_runtime::policy::{Budget, ChildPolicy, Delay};

use super::{
    fixture::{
        QueueFixture, advance_time, failure_reason, get, policy, post, restart_policy, run_until_idle, s,
        status,
    },
    scripted_transport::ScriptedResponse,
};
use crate::{
    error::{Code, Reason},
    queue::{QueuePolicy, events::RequestFailed},
    request::Priority,
};

#[tokio::test(start_paused = true)]
async fn crash_keeps_waiting_requests_in_order() {
    let scene = QueueFixture::start(policy()).await;
    scene.script.on("/long", [ScriptedResponse::RespondAfter(s(5), 200)]);
    let long = scene.request(get("/long"));
    let low = scene.request(get("/low").priority(Priority::Low));
    let normal = scene.request(post("/normal"));
    let high = scene.request(get("/high").priority(Priority::High));
    run_until_idle().await;
    scene.crash().await;
    let late = scene.request(get("/late"));
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
async fn crash_repeats_safe_attempts_and_reports_others_unknown() {
    let scene = QueueFixture::start(QueuePolicy { max_concurrent: 3, ..policy() }).await;
    for path in ["/get", "/post", "/keyed"] {
        scene.script.on(path, [ScriptedResponse::Hang, ScriptedResponse::Respond(200)]);
    }
    let get = scene.request(get("/get"));
    let (id, post_) = scene.submit(post("/post"));
    let keyed = scene.request(post("/keyed").generated_idempotency_key());
    run_until_idle().await;
    scene.crash().await;
    let error = post_.await.unwrap_err();
    assert_eq!((error.code, error.reason), (Code::ServerError, Reason::OutcomeUnknown));
    assert_eq!((error.retryable, error.attempts, error.request_id), (false, 1, Some(id)));
    assert_eq!((get.await.unwrap().attempts, keyed.await.unwrap().attempts), (2, 2));
    assert_eq!(scene.script.paths().iter().filter(|path| *path == "/post").count(), 1);
    assert!(scene.script.violations().is_empty(), "{:?}", scene.script.violations());
    assert_eq!(scene.event_kinds_of(id).await, ["request_failed"]);
}

#[tokio::test(start_paused = true)]
async fn repeated_crashes_do_not_exceed_the_retries() {
    let scene = QueueFixture::start(policy()).await;
    scene.script.on("/hang", [ScriptedResponse::Hang]);
    let hang = scene.request(get("/hang").retries(2).timeout(s(1000)));
    for _ in 0..3 {
        advance_time(s(10)).await;
        scene.crash().await;
    }
    assert_eq!(failure_reason(hang.await), (Reason::Crashed, 3));
    assert_eq!(scene.script.paths().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn crash_keeps_backoffs_and_deadlines() {
    let scene = QueueFixture::start(policy()).await;
    scene.script.on("/down", [ScriptedResponse::RetryAfter(20), ScriptedResponse::Respond(200)]);
    scene.script.on("/long", [ScriptedResponse::RespondAfter(s(30), 200)]);
    let down = scene.request(get("/down"));
    advance_time(s(5)).await;
    scene.crash().await;
    assert_eq!(status(down.await), 200);
    assert_eq!(scene.script.times("/down"), [0, 20]);
    let _long = scene.request(post("/long").idempotency_key("k").timeout(s(100)));
    let late = scene.request(get("/late").wait_timeout(s(10)));
    let asked_at = scene.runtime.now();
    advance_time(s(2)).await;
    scene.crash().await;
    // The attempt that was cut off leaves its place to the one that waits.
    assert_eq!(status(late.await), 200);
    assert!(scene.runtime.now() - asked_at < s(3));
}

#[tokio::test(start_paused = true)]
async fn request_expired_while_the_actor_is_down_is_not_sent() {
    let delay = Delay::Fixed { delay: s(30) };
    let scene = QueueFixture::start_with(ChildPolicy { delay, ..restart_policy() }, policy()).await;
    scene.script.on("/long", [ScriptedResponse::RespondAfter(s(60), 200)]);
    let _long = scene.request(get("/long").timeout(s(100)));
    let (id, late) = scene.submit(get("/late").wait_timeout(s(10)));
    let patient = scene.request(get("/patient"));
    run_until_idle().await;
    scene.crash().await;
    assert_eq!(failure_reason(late.await), (Reason::Expired, 0));
    assert_eq!(status(patient.await), 200);
    assert!(!scene.script.paths().contains(&"/late".to_owned()));
    assert_eq!(scene.event_kinds_of(id).await, ["request_timed_out"]);
}

#[tokio::test(start_paused = true)]
async fn request_cancelled_while_the_actor_is_down_is_cancelled() {
    let delay = Delay::Fixed { delay: s(30) };
    let scene = QueueFixture::start_with(ChildPolicy { delay, ..restart_policy() }, policy()).await;
    scene.script.on("/long", [ScriptedResponse::RespondAfter(s(60), 200)]);
    let _long = scene.request(get("/long"));
    let (id, called_off) = scene.submit(get("/x"));
    run_until_idle().await;
    scene.crash().await;
    assert_eq!(scene.queue.cancel(id).await, Ok(true));
    assert_eq!(failure_reason(called_off.await).0, Reason::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_restart_by_hand_loses_nothing_that_waits() {
    let scene = QueueFixture::start(policy()).await;
    scene.script.on("/long", [ScriptedResponse::RespondAfter(s(5), 200)]);
    let (long, next) = (scene.request(get("/long")), scene.request(post("/next")));
    run_until_idle().await;
    scene.runtime.root().restart("queue").await.unwrap();
    assert_eq!(scene.generation(), 2);
    assert_eq!((status(next.await), status(long.await)), (200, 200));
}

#[tokio::test(start_paused = true)]
async fn stop_answers_and_records_all_waiting_requests() {
    let scene = QueueFixture::start(QueuePolicy { max_concurrent: 2, ..policy() }).await;
    scene.script.on("/get", [ScriptedResponse::Hang]);
    scene.script.on("/post", [ScriptedResponse::Hang]);
    let (running, in_doubt, waiting) =
        (scene.request(get("/get")), scene.request(post("/post")), scene.request(post("/waiting")));
    run_until_idle().await;
    scene.runtime.root().stop("queue").await.unwrap();
    assert_eq!(failure_reason(running.await), (Reason::Stopped, 1));
    assert_eq!(failure_reason(in_doubt.await), (Reason::OutcomeUnknown, 1));
    assert_eq!(failure_reason(waiting.await), (Reason::Stopped, 0));
    assert_eq!(failure_reason(scene.request(get("/late")).await), (Reason::Stopped, 0));
    assert_eq!(scene.queue.cancel(crate::request::RequestId(1)).await.unwrap_err().reason, Reason::Stopped);
    let told: Vec<_> = scene.events::<RequestFailed>().await.iter().map(|event| event.reason).collect();
    assert_eq!(told, [Reason::Stopped, Reason::OutcomeUnknown, Reason::Stopped]);
    assert_eq!((scene.view.stats().waiting, scene.script.running()), (0, 0));
    scene.runtime.root().start("queue").await.unwrap();
    assert_eq!(status(scene.request(get("/again")).await), 200);
    assert_eq!(scene.script.paths().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn shutdown_answers_all_waiting_requests() {
    let scene = QueueFixture::start(policy()).await;
    scene.script.on("/long", [ScriptedResponse::Hang]);
    let (running, waiting) = (scene.request(get("/long")), scene.request(get("/waiting")));
    run_until_idle().await;
    scene.runtime.shutdown().await;
    assert_eq!(
        (failure_reason(running.await), failure_reason(waiting.await)),
        ((Reason::Stopped, 1), (Reason::Stopped, 0))
    );
}

#[tokio::test(start_paused = true)]
async fn dropped_runtime_answers_all_waiting_requests() {
    let scene = QueueFixture::start(policy()).await;
    scene.script.on("/long", [ScriptedResponse::Hang]);
    let (running, waiting) = (scene.request(post("/long")), scene.request(get("/waiting")));
    run_until_idle().await;
    drop(scene.runtime);
    run_until_idle().await;
    assert_eq!(failure_reason(running.now_or_never().unwrap()), (Reason::OutcomeUnknown, 1));
    assert_eq!(failure_reason(waiting.now_or_never().unwrap()), (Reason::Stopped, 0));
}

#[tokio::test(start_paused = true)]
async fn give_up_answers_all_waiting_requests_and_reset_recovers() {
    let budget = Some(Budget { restarts_max: 1, window: s(600) });
    let scene = QueueFixture::start_with(ChildPolicy { budget, ..restart_policy() }, policy()).await;
    scene.script.on("/long", [ScriptedResponse::Hang]);
    scene.script.on("/waiting", [ScriptedResponse::Hang]);
    let (running, waiting) = (scene.request(get("/long")), scene.request(get("/waiting")));
    run_until_idle().await;
    scene.crash().await;
    scene.crash().await;
    assert_eq!(
        (failure_reason(running.await).0, failure_reason(waiting.await).0),
        (Reason::Stopped, Reason::Stopped)
    );
    scene.runtime.root().reset("queue").await.unwrap();
    assert_eq!(status(scene.request(get("/again")).await), 200);
}

#[tokio::test(start_paused = true)]
async fn poison_request_is_failed_after_repeated_crashes() {
    let scene =
        QueueFixture::start_with(ChildPolicy { checkpoint_crashes_max: 1, ..restart_policy() }, policy())
            .await;
    scene.script.on("/long", [ScriptedResponse::Hang]);
    let (running, in_doubt) = (scene.request(get("/long")), scene.request(post("/waiting")));
    run_until_idle().await;
    // The second incarnation crashes before it has handled anything, so its checkpoint is to blame.
    drop(scene.address.inject_panic().unwrap());
    drop(scene.address.inject_panic().unwrap());
    assert_eq!(
        (failure_reason(running.await).0, failure_reason(in_doubt.await).0),
        (Reason::Crashed, Reason::OutcomeUnknown)
    );
    assert_eq!((scene.generation(), status(scene.request(get("/again")).await)), (3, 200));
}

#[tokio::test(start_paused = true)]
async fn requests_sent_while_the_actor_is_down_are_handled_later() {
    let delay = Delay::Fixed { delay: s(5) };
    let scene = QueueFixture::start_with(ChildPolicy { delay, ..restart_policy() }, policy()).await;
    scene.crash().await;
    let answer = scene.request(post("/x"));
    assert_eq!(status(answer.await), 200);
    assert_eq!(scene.script.times("/x"), [5]);
}

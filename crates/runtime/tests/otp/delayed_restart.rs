//! Lines 31 to 35: delayed restarts.

use std::sync::atomic::Ordering::SeqCst;

use mainstay_runtime::Status;
use mainstay_runtime::policy::{ExitCause, Strategy, SupervisorPolicy};

use crate::stage::{Cue, Player, Stage, at_once, delayed, pass, s, settle};

fn rest_for_one() -> SupervisorPolicy {
    SupervisorPolicy { strategy: Strategy::RestForOne, ..SupervisorPolicy::default() }
}

#[tokio::test(start_paused = true)]
async fn the_supervisor_answers_while_a_restart_is_pending_or_failing() {
    let (stage, [a], [direction]) = Stage::of(SupervisorPolicy::default(), delayed(), ["a"]).await;
    direction.failures_left.store(3, SeqCst);
    a.cast(Cue::Panic).await.unwrap();
    for name in ["b", "c", "d", "e"] {
        let began = stage.runtime.now();
        stage.runtime.root().add(Player::new(name, &stage.script).under(at_once())).await.unwrap();
        assert_eq!(stage.runtime.now(), began);
        pass(s(4)).await;
    }
    pass(s(5)).await;
    assert_eq!(stage.status("root/a"), Status::Running);
}

#[tokio::test(start_paused = true)]
async fn introspection_says_restarting_meanwhile_and_does_not_count_the_child_as_active() {
    let (stage, [a, _], _) = Stage::of(SupervisorPolicy::default(), delayed(), ["a", "b"]).await;
    a.cast(Cue::Panic).await.unwrap();
    settle().await;
    let tree = stage.runtime.tree();
    let vitals = &tree.find("root/a").unwrap().vitals;
    assert_eq!((vitals.status, vitals.restart_due), (Status::Restarting, Some(vitals.since + s(5))));
    let counts = stage.runtime.root().counts();
    assert_eq!((counts.specs, counts.active), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn stopping_a_child_while_it_is_restarting_sticks() {
    let (stage, [a], _) = Stage::of(SupervisorPolicy::default(), delayed(), ["a"]).await;
    a.cast(Cue::Panic).await.unwrap();
    pass(s(3)).await;
    stage.runtime.root().stop("a").await.unwrap();
    pass(s(60)).await;
    assert_eq!((stage.status("root/a"), stage.generation("root/a")), (Status::Stopped, 1));
}

#[tokio::test(start_paused = true)]
async fn rest_for_one_shows_later_siblings_as_not_running_while_the_earlier_one_retries() {
    let (stage, [_, b, _], [_, direction, _]) = Stage::of(rest_for_one(), delayed(), ["a", "b", "c"]).await;
    direction.failures_left.store(2, SeqCst);
    b.cast(Cue::Panic).await.unwrap();
    for _ in 0..3 {
        settle().await;
        let expected = [Status::Running, Status::Restarting, Status::Restarting];
        assert_eq!(stage.statuses(["root/a", "root/b", "root/c"]), expected);
        assert_eq!(stage.runtime.root().counts().active, 1);
        pass(s(5)).await;
    }
    settle().await;
    assert_eq!(stage.statuses(["root/a", "root/b", "root/c"]), [Status::Running; 3]);
}

#[tokio::test(start_paused = true)]
async fn the_supervisor_can_be_stopped_during_a_restart_loop() {
    for child in [at_once(), delayed()] {
        let (stage, [a, _], [direction, _]) = Stage::of(rest_for_one(), child, ["a", "b"]).await;
        direction.failures_left.store(u32::MAX, SeqCst);
        a.cast(Cue::Panic).await.unwrap();
        tokio::task::yield_now().await;
        assert_eq!(stage.runtime.shutdown().await.cause, ExitCause::Normal);
        let before = stage.script.read().len();
        pass(s(60)).await;
        assert_eq!(stage.script.read().len(), 0, "nothing starts after {before} lines");
    }
}

//! Tests lines 31 to 35: delayed restarts.

use mainstay_runtime::events::{RestartCancelled, RestartCanceller};
use mainstay_runtime::journal::Event;

use crate::*;

fn rest_for_one() -> SupervisorPolicy {
    SupervisorPolicy { strategy: Strategy::RestForOne, ..SupervisorPolicy::default() }
}

#[tokio::test(start_paused = true)]
async fn supervisor_answers_while_a_restart_is_pending_or_failing() {
    let (tree, [a], [controls]) = TestTree::one_for_one(delayed_policy(), ["a"]).await;
    controls.failures_left.store(3, SeqCst);
    a.cast(ChildMessage::Panic).await.unwrap();
    for name in ["b", "c", "d", "e"] {
        let began = tree.runtime.now();
        tree.runtime
            .root()
            .add(TestChild::new(name, &tree.log).with_policy(immediate_policy()))
            .await
            .unwrap();
        assert_eq!(tree.runtime.now(), began);
        advance(s(4)).await;
    }
    advance(s(5)).await;
    assert_eq!(tree.status("root/a"), ActorStatus::Running);
}

#[tokio::test(start_paused = true)]
async fn introspection_shows_restarting_as_not_active() {
    let (tree, [a, _], _) = TestTree::one_for_one(delayed_policy(), ["a", "b"]).await;
    a.cast(ChildMessage::Panic).await.unwrap();
    settle().await;
    let root = tree.runtime.tree();
    let info = &root.find("root/a").unwrap().info;
    let delay = info.restart_at.unwrap().0.duration_since(info.since.0);
    assert_eq!((info.status, delay.as_secs()), (ActorStatus::Restarting, 5));
    let counts = tree.runtime.root().counts();
    assert_eq!((counts.specs, counts.active), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn stop_during_restart_keeps_the_child_stopped() {
    let (mut tree, [a], _) = TestTree::one_for_one(delayed_policy(), ["a"]).await;
    a.cast(ChildMessage::Panic).await.unwrap();
    advance(s(3)).await;
    tree.runtime.root().stop("a").await.unwrap();
    let cancelled = RestartCancelled { by: RestartCanceller::Command };
    assert_eq!(next_cancellation(&mut tree, "root/a").await, cancelled);
    tree.runtime.root().stop("a").await.unwrap();
    advance(s(60)).await;
    assert_eq!((tree.status("root/a"), tree.generation("root/a")), (ActorStatus::Stopped, 1));
    assert_eq!(tree.count(RestartCancelled::KIND).await, 0, "the second stop has nothing to cancel");
}

async fn next_cancellation(tree: &mut TestTree, actor: &str) -> RestartCancelled {
    tree.next_event(RestartCancelled::KIND, actor).await.event().unwrap()
}

#[tokio::test(start_paused = true)]
async fn shutdown_during_restart_records_the_cancelled_restart() {
    let (mut tree, [a, _], _) = TestTree::one_for_one(delayed_policy(), ["a", "b"]).await;
    a.cast(ChildMessage::Panic).await.unwrap();
    advance(s(3)).await;
    tree.runtime.shutdown().await;
    let cancelled = RestartCancelled { by: RestartCanceller::Supervisor };
    assert_eq!(next_cancellation(&mut tree, "root/a").await, cancelled);
    assert_eq!(tree.count(RestartCancelled::KIND).await, 0, "one that runs waits for no restart");
}

#[tokio::test(start_paused = true)]
async fn rest_for_one_later_siblings_wait_for_earlier_retry() {
    let (tree, [_, b, _], [_, controls, _]) =
        TestTree::with_children(rest_for_one(), delayed_policy(), ["a", "b", "c"]).await;
    controls.failures_left.store(2, SeqCst);
    b.cast(ChildMessage::Panic).await.unwrap();
    for _ in 0..3 {
        settle().await;
        let expected = [ActorStatus::Running, ActorStatus::Restarting, ActorStatus::Restarting];
        assert_eq!(tree.statuses(["root/a", "root/b", "root/c"]), expected);
        assert_eq!(tree.runtime.root().counts().active, 1);
        advance(s(5)).await;
    }
    settle().await;
    assert_eq!(tree.statuses(["root/a", "root/b", "root/c"]), [ActorStatus::Running; 3]);
}

#[tokio::test(start_paused = true)]
async fn supervisor_can_be_stopped_during_a_restart_loop() {
    for child in [immediate_policy(), delayed_policy()] {
        let (tree, [a, _], [controls, _]) = TestTree::with_children(rest_for_one(), child, ["a", "b"]).await;
        controls.failures_left.store(u32::MAX, SeqCst);
        a.cast(ChildMessage::Panic).await.unwrap();
        tokio::task::yield_now().await;
        assert_eq!(tree.runtime.shutdown().await.cause, ExitCause::Normal);
        let before = tree.log.take().len();
        advance(s(60)).await;
        assert_eq!(tree.log.take().len(), 0, "nothing starts after {before} lines");
    }
}

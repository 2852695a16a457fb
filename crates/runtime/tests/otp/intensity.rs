//! Tests lines 20 to 23: intensity.

use crate::*;

fn intensity_of_two() -> SupervisorPolicy {
    SupervisorPolicy { intensity: intensity(2), ..SupervisorPolicy::default() }
}

#[tokio::test(start_paused = true)]
async fn intensity_exceeded_stops_the_supervisor() {
    let (tree, [a, b], _) = TestTree::with_children(intensity_of_two(), immediate_policy(), ["a", "b"]).await;
    for address in [&a, &b] {
        address.cast(ChildMessage::Panic).await.unwrap();
        settle().await;
    }
    assert_eq!(tree.generations(["root/a", "root/b"]), [2, 2]);
    a.cast(ChildMessage::Panic).await.unwrap();
    assert_eq!(tree.exit_cause().await, ExitCause::Shutdown);
    assert_eq!(b.call(ChildMessage::Ask).await, Err(CallError::Stopped));
}

#[tokio::test(start_paused = true)]
async fn restarts_that_are_spaced_never_trip_the_intensity() {
    let (tree, [a], _) = TestTree::with_children(intensity_of_two(), immediate_policy(), ["a"]).await;
    for _ in 0..20 {
        a.cast(ChildMessage::Panic).await.unwrap();
        advance(s(5)).await;
    }
    assert_eq!(tree.generation("root/a"), 21);
}

#[tokio::test(start_paused = true)]
async fn intensity_exit_restarts_permanent_supervisor_only() {
    for (restart, status) in
        [(RestartType::Transient, ActorStatus::Stopped), (RestartType::Permanent, ActorStatus::Running)]
    {
        let log = LifecycleLog::default();
        let mut root = SupervisorSpec::new("root");
        let mut pool = strict_pool().as_child(ChildPolicy { restart, ..immediate_policy() });
        let a = pool.child(TestChild::new("a", &log).with_policy(immediate_policy())).unwrap();
        root.supervisor(pool).unwrap();
        let mut tree = TestTree::start(root, &log).await;
        a.cast(ChildMessage::Panic).await.unwrap();
        let exited = tree.next_event("actor_exited", "root/pool").await;
        assert_eq!(exited.fields["cause"], "shutdown");
        assert_eq!(exited.fields["message"], "root/pool/a failed once too often: on cue");
        settle().await;
        assert_eq!(tree.status("root/pool"), status);
    }
}

#[tokio::test(start_paused = true)]
async fn every_failed_attempt_to_start_during_a_restart_counts_too() {
    let policy = ChildPolicy { delay: Delay::Fixed { delay: s(1) }, ..immediate_policy() };
    let (tree, [a], [controls]) = TestTree::with_children(intensity_of_two(), policy, ["a"]).await;
    controls.failures_left.store(9, SeqCst);
    a.cast(ChildMessage::Panic).await.unwrap();
    assert_eq!(tree.exit_cause().await, ExitCause::Shutdown);
    assert_eq!(
        tree.log.take(),
        ["start a", "start a"],
        "the crash and one failed start were granted a restart"
    );
}

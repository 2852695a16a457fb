//! Tests lines 16 to 19: restart types.

use crate::*;

fn restart_policy(restart: RestartType) -> ChildPolicy {
    ChildPolicy { restart, stuck_after: Some(s(60)), ..immediate_policy() }
}

/// Returns the generations of a child of this type after an exit of each kind: normal, panic, error, killed.
async fn generations(restart: RestartType) -> Vec<Option<u64>> {
    let mut generations = Vec::new();
    for (message, cause) in [
        (ChildMessage::Stop, "normal"),
        (ChildMessage::Panic, "panic"),
        (ChildMessage::Fail, "error"),
        (ChildMessage::Hang, "stuck"),
    ] {
        let (mut stage, [a], _) = TestTree::one_for_one(restart_policy(restart), ["a"]).await;
        a.cast(message).await.unwrap();
        advance(s(100)).await;
        let decision = stage.next_event("decision", "root/a").await;
        assert_eq!(decision.fields["inputs"]["exit"]["cause"], cause, "{restart:?}");
        let tree = stage.runtime.tree();
        generations.push(tree.find("root/a").map(|node| node.info.generation));
    }
    generations
}

#[tokio::test(start_paused = true)]
async fn permanent_child_restarts_on_every_exit() {
    assert_eq!(generations(RestartType::Permanent).await, [Some(2); 4]);
}

#[tokio::test(start_paused = true)]
async fn transient_child_restarts_on_abnormal_exits_only() {
    assert_eq!(generations(RestartType::Transient).await, [Some(1), Some(2), Some(2), Some(2)]);
}

#[tokio::test(start_paused = true)]
async fn temporary_child_never_restarts_and_its_spec_is_dropped() {
    assert_eq!(generations(RestartType::Temporary).await, [None; 4]);
}

#[tokio::test(start_paused = true)]
async fn group_restart_stops_temporary_child_for_good() {
    let log = LifecycleLog::default();
    let policy = SupervisorPolicy { strategy: Strategy::OneForAll, ..SupervisorPolicy::default() };
    let mut root = SupervisorSpec::new("root").policy(policy);
    let a = root.child(TestChild::new("a", &log).with_policy(immediate_policy())).unwrap();
    root.child(TestChild::new("guest", &log).with_policy(restart_policy(RestartType::Temporary))).unwrap();
    root.child(TestChild::new("c", &log).with_policy(immediate_policy())).unwrap();
    let stage = TestTree::start(root, &log).await;
    log.take();
    a.cast(ChildMessage::Panic).await.unwrap();
    settle().await;
    assert_eq!(log.take(), ["stop c", "stop guest", "start a", "ready a", "start c", "ready c"]);
    assert_eq!(stage.runtime.root().names(), ["a", "c"]);
    assert_eq!(stage.statuses(["root/a", "root/c"]), [ActorStatus::Running; 2]);
}

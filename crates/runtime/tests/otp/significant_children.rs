//! Tests lines 36 to 40: significant children.

use crate::*;

fn significant(restart: RestartType) -> ChildPolicy {
    ChildPolicy { restart, significant: true, ..immediate_policy() }
}

fn auto_shutdown_policy(auto_shutdown: AutoShutdown) -> SupervisorPolicy {
    SupervisorPolicy { auto_shutdown, ..SupervisorPolicy::default() }
}

/// Starts a tree whose root ends with its children.
async fn start_tree<const N: usize>(
    auto_shutdown: AutoShutdown,
    child: ChildPolicy,
    names: [&'static str; N],
) -> (TestTree, [Address<ChildMessage>; N]) {
    let (tree, addresses, _) =
        TestTree::with_children(auto_shutdown_policy(auto_shutdown), child, names).await;
    (tree, addresses)
}

#[tokio::test(start_paused = true)]
async fn significant_needs_auto_shutdown_and_no_permanent() {
    let log = LifecycleLog::default();
    let child = || TestChild::new("a", &log);
    let mut root = SupervisorSpec::new("root").policy(auto_shutdown_policy(AutoShutdown::AnySignificant));
    let fault = PolicyError::SignificantPermanent;
    let refused = root.child(child().with_policy(significant(RestartType::Permanent))).unwrap_err();
    assert_eq!(refused, SpecError::Policy { name: "a".to_owned(), fault });
    let off = SpecError::NoAutoShutdown { name: "a".to_owned() };
    let mut never = SupervisorSpec::new("never");
    never.child(child().with_policy(significant(RestartType::Transient))).unwrap();
    assert_eq!(root.supervisor(never).err(), Some(off.clone()));
    let tree = TestTree::start(SupervisorSpec::new("root"), &log).await;
    let refused = tree.runtime.root().add(child().with_policy(significant(RestartType::Transient))).await;
    assert_eq!(refused.unwrap_err(), AdminError::Spec(off));
}

#[tokio::test(start_paused = true)]
async fn any_significant_fires_on_normal_exit_of_transient_child() {
    let (tree, [a, _]) =
        start_tree(AutoShutdown::AnySignificant, significant(RestartType::Transient), ["a", "b"]).await;
    a.cast(ChildMessage::Panic).await.unwrap();
    settle().await;
    assert_eq!(tree.statuses(["root/a", "root/b"]), [ActorStatus::Running; 2]);
    a.cast(ChildMessage::Stop).await.unwrap();
    assert_eq!(tree.exit_cause().await, ExitCause::Shutdown);
}

#[tokio::test(start_paused = true)]
async fn any_significant_fires_for_a_temporary_child_on_any_exit() {
    for message in [ChildMessage::Stop, ChildMessage::Panic, ChildMessage::Fail] {
        let (mut tree, [a, _]) =
            start_tree(AutoShutdown::AnySignificant, significant(RestartType::Temporary), ["a", "b"]).await;
        a.cast(message).await.unwrap();
        assert_eq!(tree.exit_cause().await, ExitCause::Shutdown);
        assert_eq!(tree.next_event("decision", "root/a").await.fields["decision"], "shut_down");
        assert_eq!(tree.next_event("auto_shutdown", "root").await.fields["child"], "root/a");
    }
}

#[tokio::test(start_paused = true)]
async fn all_significant_fires_with_the_last_active_child() {
    let transient = ChildPolicy { delay: delayed_policy().delay, ..significant(RestartType::Transient) };
    let (tree, [a, b]) = start_tree(AutoShutdown::AllSignificant, transient, ["a", "b"]).await;
    a.cast(ChildMessage::Panic).await.unwrap();
    settle().await;
    assert_eq!(tree.status("root/a"), ActorStatus::Restarting);
    b.cast(ChildMessage::Stop).await.unwrap();
    settle().await;
    assert_eq!(tree.statuses(["root", "root/b"]), [ActorStatus::Running, ActorStatus::Stopped]);
    a.cast(ChildMessage::Stop).await.unwrap();
    assert_eq!(tree.exit_cause().await, ExitCause::Shutdown);
}

#[tokio::test(start_paused = true)]
async fn auto_shutdown_is_not_fired_by_stopping_the_child_by_hand() {
    let (tree, _) =
        start_tree(AutoShutdown::AllSignificant, significant(RestartType::Transient), ["a", "b"]).await;
    tree.runtime.root().stop("a").await.unwrap();
    tree.runtime.root().stop("b").await.unwrap();
    settle().await;
    assert_eq!(tree.status("root"), ActorStatus::Running);
}

#[tokio::test(start_paused = true)]
async fn auto_shutdown_is_not_fired_by_a_siblings_group_restart() {
    let log = LifecycleLog::default();
    let policy = SupervisorPolicy {
        strategy: Strategy::OneForAll,
        ..auto_shutdown_policy(AutoShutdown::AnySignificant)
    };
    let mut root = SupervisorSpec::new("root").policy(policy);
    let a = root.child(TestChild::new("a", &log).with_policy(immediate_policy())).unwrap();
    root.child(TestChild::new("guest", &log).with_policy(significant(RestartType::Temporary))).unwrap();
    root.child(TestChild::new("c", &log).with_policy(significant(RestartType::Transient))).unwrap();
    let tree = TestTree::start(root, &log).await;
    a.cast(ChildMessage::Panic).await.unwrap();
    settle().await;
    assert_eq!(tree.runtime.root().names(), ["a", "c"]);
    assert_eq!(tree.statuses(["root", "root/a", "root/c"]), [ActorStatus::Running; 3]);
}

#[tokio::test(start_paused = true)]
async fn auto_shutdown_cascades_only_through_significant_children() {
    for (is_significant, status) in [(true, None), (false, Some(ActorStatus::Running))] {
        let log = LifecycleLog::default();
        let mut root = SupervisorSpec::new("root").policy(auto_shutdown_policy(AutoShutdown::AnySignificant));
        let as_child = ChildPolicy {
            restart: RestartType::Transient,
            significant: is_significant,
            ..immediate_policy()
        };
        let mut pool = SupervisorSpec::new("pool")
            .policy(auto_shutdown_policy(AutoShutdown::AnySignificant))
            .as_child(as_child);
        let a =
            pool.child(TestChild::new("a", &log).with_policy(significant(RestartType::Transient))).unwrap();
        root.supervisor(pool).unwrap();
        let tree = TestTree::start(root, &log).await;
        a.cast(ChildMessage::Stop).await.unwrap();
        settle().await;
        assert_eq!(tree.status("root/pool"), ActorStatus::Stopped);
        let root = Some(tree.status("root")).filter(|status| *status == ActorStatus::Running);
        assert_eq!(root, status);
    }
}

//! Tests lines 41, 42 and 44: introspection, and what a supervisor's restart keeps.

use crate::*;

#[tokio::test(start_paused = true)]
async fn counts_are_right_at_every_moment() {
    let log = LifecycleLog::default();
    let mut root = SupervisorSpec::new("root");
    let a = root.child(TestChild::new("a", &log).with_policy(delayed_policy())).unwrap();
    root.supervisor(SupervisorSpec::new("pool")).unwrap();
    let stage = TestTree::start(root, &log).await;
    let handle = stage.runtime.root();
    let counts = |specs, active, supervisors, workers| ChildCounts { specs, active, supervisors, workers };
    assert_eq!(handle.counts(), counts(2, 2, 1, 1));
    a.cast(ChildMessage::Panic).await.unwrap();
    settle().await;
    assert_eq!(handle.counts(), counts(2, 1, 1, 1));
    advance(s(5)).await;
    assert_eq!(handle.counts(), counts(2, 2, 1, 1));
    let tree = stage.runtime.tree();
    let timeline = stage.runtime.journal().timeline();
    let (shown, vitals) = (&tree.find("root/a").unwrap().info, a.info(stage.runtime.now()).dated(&timeline));
    assert_eq!((shown, vitals.generation), (&vitals, 2), "an address shows what the tree does");
    let held = TestChild::new("b", &log);
    let gate = held.controls.hold_starts();
    let adding = async { handle.add(held.with_policy(immediate_policy())).await.unwrap() };
    let looking = async {
        settle().await;
        assert_eq!(handle.counts(), counts(3, 3, 1, 2), "one that starts has an incarnation");
        gate.add_permits(1);
    };
    tokio::join!(adding, looking);
    handle.stop("b").await.unwrap();
    assert_eq!(handle.counts(), counts(3, 2, 1, 2));
    handle.delete("b").await.unwrap();
    handle.remove("pool").await.unwrap();
    assert_eq!(handle.counts(), counts(1, 1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn restarted_supervisor_has_static_and_persistent_children() {
    let log = LifecycleLog::default();
    let mut root = SupervisorSpec::new("root");
    let mut pool = strict_pool();
    let fixed = pool.child(TestChild::new("fixed", &log).with_policy(immediate_policy())).unwrap();
    let pool = root.supervisor(pool).unwrap();
    let _stage = TestTree::start(root, &log).await;
    let passing = pool.add(TestChild::new("passing", &log).with_policy(immediate_policy())).await.unwrap();
    let lasting =
        pool.add(Child::new("lasting", TestChild::new("lasting", &log)).persistent()).await.unwrap();
    fixed.cast(ChildMessage::Panic).await.unwrap();
    settle().await;
    assert_eq!(fixed.call(ChildMessage::Ask).await, Ok(2));
    assert_eq!(lasting.call(ChildMessage::Ask).await, Ok(2));
    assert_eq!(passing.call(ChildMessage::Ask).await, Err(CallError::Stopped));
    assert_eq!(pool.names(), ["fixed", "lasting"]);
    pool.remove("lasting").await.unwrap();
    fixed.cast(ChildMessage::Panic).await.unwrap();
    settle().await;
    assert_eq!(fixed.call(ChildMessage::Ask).await, Ok(3));
    assert_eq!(pool.names(), ["fixed"]);
}

#[tokio::test(start_paused = true)]
async fn two_runtimes_in_one_process_do_not_see_each_other() {
    let log = LifecycleLog::default();
    let mut trees = Vec::new();
    for _ in 0..2 {
        let mut root = SupervisorSpec::new("root");
        let a = root.child(TestChild::new("a", &log).with_policy(immediate_policy())).unwrap();
        trees.push((Runtime::builder().start(root).await.unwrap(), a));
    }
    let [(one, a_one), (two, a_two)] = &trees[..] else { panic!("there are two") };
    a_one.cast(ChildMessage::Panic).await.unwrap();
    assert_eq!(a_one.call(ChildMessage::Ask).await, Ok(2));
    one.shutdown().await;
    assert_eq!(a_one.call(ChildMessage::Ask).await, Err(CallError::Stopped));
    assert_eq!(a_two.call(ChildMessage::Ask).await, Ok(1));
    assert_ne!(one.journal().boot(), two.journal().boot());
}

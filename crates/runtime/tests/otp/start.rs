//! Tests lines 1 to 5: starting.

use crate::*;

#[tokio::test(start_paused = true)]
async fn children_start_in_order_before_supervisor_is_ready() {
    let log = LifecycleLog::default();
    let mut root = SupervisorSpec::new("root");
    let slow = TestChild::new("b", &log);
    let gate = slow.controls.hold_starts();
    root.child(TestChild::new("a", &log).with_policy(immediate_policy())).unwrap();
    root.child(slow.with_policy(immediate_policy())).unwrap();
    root.child(TestChild::new("c", &log).with_policy(immediate_policy())).unwrap();
    let mut starting = Box::pin(Runtime::builder().start(root));
    tokio::select! {
        _ = &mut starting => panic!("it is up before its second child is"),
        () = settle() => {}
    }
    assert_eq!(log.take(), ["start a", "ready a", "start b"]);
    gate.add_permits(1);
    let runtime = starting.await.unwrap();
    assert_eq!(log.take(), ["ready b", "start c", "ready c"]);
    assert!(runtime.tree().children.iter().all(|child| child.info.status == ActorStatus::Running));
}

#[tokio::test(start_paused = true)]
async fn declined_child_keeps_its_spec_without_incarnation() {
    let log = LifecycleLog::default();
    let mut root = SupervisorSpec::new("root");
    let shy = TestChild::new("shy", &log).declining();
    let controls = shy.controls.clone();
    let address = root.child(shy.with_policy(immediate_policy())).unwrap();
    root.child(TestChild::new("next", &log).with_policy(immediate_policy())).unwrap();
    let tree = TestTree::start(root, &log).await;
    assert_eq!(tree.statuses(["root/shy", "root/next"]), [ActorStatus::Stopped, ActorStatus::Running]);
    assert_eq!(tree.runtime.root().counts().active, 1);
    assert_eq!(address.call(ChildMessage::Ask).await, Err(CallError::Stopped));
    controls.declines.store(false, SeqCst);
    tree.runtime.root().start("shy").await.unwrap();
    assert_eq!(address.call(ChildMessage::Ask).await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn declined_temporary_or_dynamic_child_keeps_no_spec() {
    let log = LifecycleLog::default();
    let mut root = SupervisorSpec::new("root");
    let temporary = ChildPolicy { restart: RestartType::Temporary, ..immediate_policy() };
    root.child(TestChild::new("guest", &log).declining().with_policy(temporary)).unwrap();
    let pool = root.supervisor(SupervisorSpec::dynamic("pool")).unwrap();
    let tree = TestTree::start(root, &log).await;
    assert_eq!(tree.runtime.root().names(), ["pool"]);
    pool.add(TestChild::new("shy", &log).declining().with_policy(immediate_policy())).await.unwrap();
    assert!(pool.names().is_empty());
}

#[tokio::test(start_paused = true)]
async fn initial_start_failure_stops_earlier_children_in_reverse() {
    let log = LifecycleLog::default();
    let mut root = SupervisorSpec::new("root");
    root.child(TestChild::new("a", &log).with_policy(immediate_policy())).unwrap();
    root.child(TestChild::new("b", &log).with_policy(immediate_policy())).unwrap();
    root.child(TestChild::new("c", &log).failing(1).with_policy(immediate_policy())).unwrap();
    root.child(TestChild::new("d", &log).with_policy(immediate_policy())).unwrap();
    let Err(RuntimeStartError::ChildFailed { path, message }) = Runtime::builder().start(root).await else {
        panic!("it came up");
    };
    assert_eq!((path.as_str(), message.as_str()), ("root/c", "not now"));
    assert_eq!(log.take(), ["start a", "ready a", "start b", "ready b", "start c", "stop b", "stop a"]);
}

#[tokio::test(start_paused = true)]
async fn adding_a_child_whose_start_fails_keeps_no_spec() {
    let log = LifecycleLog::default();
    let tree = TestTree::start(SupervisorSpec::new("root"), &log).await;
    let root = tree.runtime.root();
    let refused =
        root.add(TestChild::new("a", &log).failing(1).with_policy(immediate_policy())).await.unwrap_err();
    assert_eq!(refused, AdminError::StartFailed { name: "a".to_owned(), message: "not now".to_owned() });
    assert!(root.names().is_empty());
    root.add(TestChild::new("a", &log).with_policy(immediate_policy())).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn starting_a_stopped_child_whose_start_fails_keeps_its_spec() {
    let (tree, _, [controls]) = TestTree::one_for_one(immediate_policy(), ["a"]).await;
    let root = tree.runtime.root();
    root.stop("a").await.unwrap();
    controls.hold_starts().close();
    let refused = root.start("a").await.unwrap_err();
    assert!(matches!(refused, AdminError::StartFailed { .. }), "{refused}");
    assert_eq!(root.names(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn invalid_specs_are_refused_and_say_what_is_wrong() {
    let log = LifecycleLog::default();
    let child = |name| TestChild::new(name, &log);
    let mut root = SupervisorSpec::new("root");
    let invalid_name = root.child(Child::new("a/b", child("a"))).unwrap_err();
    assert!(matches!(invalid_name, SpecError::InvalidName(_)), "{invalid_name}");
    let no_room = root.child(child("a").with_policy(immediate_policy()).mailbox_capacity(0)).unwrap_err();
    assert_eq!(no_room, SpecError::ZeroMailboxCapacity { name: "a".to_owned() });
    let never = ChildPolicy { checkpoint_crashes_max: 0, ..immediate_policy() };
    let fault = PolicyError::ZeroCheckpointCrashes;
    let refused = root.child(child("a").with_policy(never)).unwrap_err();
    assert_eq!(refused, SpecError::Policy { name: "a".to_owned(), fault });
    let mut pool = SupervisorSpec::dynamic("pool");
    pool.child(child("a").with_policy(immediate_policy())).unwrap();
    let refused = root.supervisor(pool).err();
    assert_eq!(refused, Some(SpecError::InitialChildOfDynamic { name: "a".to_owned() }));
}

#[tokio::test(start_paused = true)]
async fn duplicate_is_refused_and_names_the_path() {
    let log = LifecycleLog::default();
    let mut root = SupervisorSpec::new("root");
    root.child(TestChild::new("a", &log).with_policy(immediate_policy())).unwrap();
    let refused = root.child(TestChild::new("a", &log).with_policy(immediate_policy())).unwrap_err();
    assert_eq!(refused, SpecError::Duplicate { path: "root/a".to_owned() });
    let tree = TestTree::start(root, &log).await;
    let refused =
        tree.runtime.root().add(TestChild::new("a", &log).with_policy(immediate_policy())).await.unwrap_err();
    assert!(
        matches!(&refused, AdminError::AlreadyRunning { path } if path.as_str() == "root/a"),
        "{refused}"
    );
}

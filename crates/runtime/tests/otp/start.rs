//! Lines 1 to 5: starting.

use mainstay_runtime::policy::{ChildPolicy, PolicyFault, RestartType, SupervisorPolicy};
use mainstay_runtime::{
    AdminError, CallError, Child, Runtime, SpecError, StartError, Status, SupervisorSpec,
};

use crate::stage::{Cue, Player, Script, Stage, at_once, settle};

#[tokio::test(start_paused = true)]
async fn children_start_in_order_and_the_supervisor_is_up_when_all_are() {
    let script = Script::default();
    let mut root = SupervisorSpec::new("root");
    let slow = Player::new("b", &script);
    let gate = slow.direction.hold_starts();
    root.child(Player::new("a", &script).under(at_once())).unwrap();
    root.child(slow.under(at_once())).unwrap();
    root.child(Player::new("c", &script).under(at_once())).unwrap();
    let mut starting = Box::pin(Runtime::builder().start(root));
    tokio::select! {
        _ = &mut starting => panic!("it is up before its second child is"),
        () = settle() => {}
    }
    assert_eq!(script.read(), ["start a", "ready a", "start b"]);
    gate.add_permits(1);
    let runtime = starting.await.unwrap();
    assert_eq!(script.read(), ["ready b", "start c", "ready c"]);
    assert!(runtime.tree().children.iter().all(|child| child.vitals.status == Status::Running));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_declines_to_start_keeps_its_spec_and_has_no_incarnation() {
    let script = Script::default();
    let mut root = SupervisorSpec::new("root");
    let shy = Player::new("shy", &script).declining();
    let direction = shy.direction.clone();
    let address = root.child(shy.under(at_once())).unwrap();
    root.child(Player::new("next", &script).under(at_once())).unwrap();
    let stage = Stage::start(root, &script).await;
    assert_eq!(stage.statuses(["root/shy", "root/next"]), [Status::Stopped, Status::Running]);
    assert_eq!(stage.runtime.root().counts().active, 1);
    assert_eq!(address.call(Cue::Ask).await, Err(CallError::Stopped));
    direction.declines.store(false, std::sync::atomic::Ordering::SeqCst);
    stage.runtime.root().start("shy").await.unwrap();
    assert_eq!(address.call(Cue::Ask).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_temporary_or_dynamic_child_that_declines_to_start_leaves_no_spec() {
    let script = Script::default();
    let mut root = SupervisorSpec::new("root");
    let temporary = ChildPolicy { restart: RestartType::Temporary, ..at_once() };
    root.child(Player::new("guest", &script).declining().under(temporary)).unwrap();
    let pool = root.supervisor(SupervisorSpec::dynamic("pool")).unwrap();
    let stage = Stage::start(root, &script).await;
    assert_eq!(stage.runtime.root().names(), ["pool"]);
    pool.add(Player::new("shy", &script).declining().under(at_once())).await.unwrap();
    assert!(pool.names().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_initial_child_that_fails_to_start_stops_those_before_it_in_reverse_and_is_named() {
    let script = Script::default();
    let mut root = SupervisorSpec::new("root");
    root.child(Player::new("a", &script).under(at_once())).unwrap();
    root.child(Player::new("b", &script).under(at_once())).unwrap();
    root.child(Player::new("c", &script).failing(1).under(at_once())).unwrap();
    root.child(Player::new("d", &script).under(at_once())).unwrap();
    let Err(StartError::ChildFailed { path, message }) = Runtime::builder().start(root).await else {
        panic!("it came up");
    };
    assert_eq!((path.as_str(), message.as_str()), ("root/c", "not now"));
    assert_eq!(script.read(), ["start a", "ready a", "start b", "ready b", "start c", "stop b", "stop a"]);
}

#[tokio::test(start_paused = true)]
async fn adding_a_child_whose_start_fails_keeps_no_spec() {
    let script = Script::default();
    let stage = Stage::start(SupervisorSpec::new("root"), &script).await;
    let root = stage.runtime.root();
    let refused = root.add(Player::new("a", &script).failing(1).under(at_once())).await.unwrap_err();
    assert_eq!(refused, AdminError::StartFailed { name: "a".to_owned(), message: "not now".to_owned() });
    assert!(root.names().is_empty());
    root.add(Player::new("a", &script).under(at_once())).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn starting_a_stopped_child_whose_start_fails_keeps_its_spec() {
    let (stage, _, [direction]) = Stage::of(SupervisorPolicy::default(), at_once(), ["a"]).await;
    let root = stage.runtime.root();
    root.stop("a").await.unwrap();
    direction.hold_starts().close();
    let refused = root.start("a").await.unwrap_err();
    assert!(matches!(refused, AdminError::StartFailed { .. }), "{refused}");
    assert_eq!(root.names(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn invalid_specs_are_refused_and_say_what_is_wrong() {
    let script = Script::default();
    let player = |name| Player::new(name, &script);
    let mut root = SupervisorSpec::new("root");
    let invalid_name = root.child(Child::new("a/b", player("a"))).unwrap_err();
    assert!(matches!(invalid_name, SpecError::InvalidName(_)), "{invalid_name}");
    let no_room = root.child(player("a").under(at_once()).mailbox_capacity(0)).unwrap_err();
    assert_eq!(no_room, SpecError::NoRoom { name: "a".to_owned() });
    let never = ChildPolicy { checkpoint_crashes_max: 0, ..at_once() };
    let fault = PolicyFault::CheckpointCrashes;
    let refused = root.child(player("a").under(never)).unwrap_err();
    assert_eq!(refused, SpecError::Policy { name: "a".to_owned(), fault });
    let mut pool = SupervisorSpec::dynamic("pool");
    pool.child(player("a").under(at_once())).unwrap();
    let refused = root.supervisor(pool).err();
    assert_eq!(refused, Some(SpecError::InitialChildOfDynamic { name: "a".to_owned() }));
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_is_refused_and_names_the_path() {
    let script = Script::default();
    let mut root = SupervisorSpec::new("root");
    root.child(Player::new("a", &script).under(at_once())).unwrap();
    let refused = root.child(Player::new("a", &script).under(at_once())).unwrap_err();
    assert_eq!(refused, SpecError::Duplicate { path: "root/a".to_owned() });
    let stage = Stage::start(root, &script).await;
    let refused = stage.runtime.root().add(Player::new("a", &script).under(at_once())).await.unwrap_err();
    assert!(
        matches!(&refused, AdminError::AlreadyRunning { path } if path.as_str() == "root/a"),
        "{refused}"
    );
}

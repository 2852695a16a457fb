//! Lines 16 to 19: restart types.

use mainstay_runtime::policy::{ChildPolicy, RestartType, Strategy, SupervisorPolicy};
use mainstay_runtime::{Status, SupervisorSpec};

use crate::stage::{Cue, Player, Script, Stage, at_once, s, settle};

fn with(restart: RestartType) -> ChildPolicy {
    ChildPolicy { restart, stuck_after: Some(s(60)), ..at_once() }
}

/// The generation of a child of this type after an exit of each kind, one after the other: normal, panic, error,
/// killed.
async fn generations(restart: RestartType) -> Vec<Option<u64>> {
    let mut generations = Vec::new();
    for cue in [Cue::End, Cue::Panic, Cue::Fail, Cue::Hang] {
        let (stage, [a], _) = Stage::of(SupervisorPolicy::default(), with(restart), ["a"]).await;
        a.cast(cue).await.unwrap();
        crate::stage::pass(s(100)).await;
        let tree = stage.runtime.tree();
        generations.push(tree.find("root/a").map(|node| node.vitals.generation));
    }
    generations
}

#[tokio::test(start_paused = true)]
async fn a_permanent_child_restarts_on_every_exit() {
    assert_eq!(generations(RestartType::Permanent).await, [Some(2); 4]);
}

#[tokio::test(start_paused = true)]
async fn a_transient_child_restarts_on_kill_error_and_panic_but_not_on_a_normal_exit_and_its_spec_stays() {
    assert_eq!(generations(RestartType::Transient).await, [Some(1), Some(2), Some(2), Some(2)]);
}

#[tokio::test(start_paused = true)]
async fn a_temporary_child_never_restarts_and_its_spec_is_dropped() {
    assert_eq!(generations(RestartType::Temporary).await, [None; 4]);
}

#[tokio::test(start_paused = true)]
async fn a_temporary_bystander_of_a_group_restart_is_stopped_and_not_restarted() {
    let script = Script::default();
    let policy = SupervisorPolicy { strategy: Strategy::OneForAll, ..SupervisorPolicy::default() };
    let mut root = SupervisorSpec::new("root").policy(policy);
    let a = root.child(Player::new("a", &script).under(at_once())).unwrap();
    root.child(Player::new("guest", &script).under(with(RestartType::Temporary))).unwrap();
    root.child(Player::new("c", &script).under(at_once())).unwrap();
    let stage = Stage::start(root, &script).await;
    script.read();
    a.cast(Cue::Panic).await.unwrap();
    settle().await;
    assert_eq!(script.read(), ["stop c", "stop guest", "start a", "ready a", "start c", "ready c"]);
    assert_eq!(stage.runtime.root().names(), ["a", "c"]);
    assert_eq!(stage.statuses(["root/a", "root/c"]), [Status::Running; 2]);
}

//! Lines 41, 42 and 44: introspection, and what a supervisor's restart keeps.

use mainstay_runtime::policy::SupervisorPolicy;
use mainstay_runtime::{CallError, Child, Counts, Runtime, SupervisorSpec};

use crate::stage::{Cue, Player, Script, Stage, at_once, delayed, intensity, pass, s, settle};

#[tokio::test(start_paused = true)]
async fn counts_of_specs_active_supervisors_and_workers_are_right_at_every_moment() {
    let script = Script::default();
    let mut root = SupervisorSpec::new("root");
    let a = root.child(Player::new("a", &script).under(delayed())).unwrap();
    root.supervisor(SupervisorSpec::new("pool")).unwrap();
    let stage = Stage::start(root, &script).await;
    let handle = stage.runtime.root();
    let counts = |specs, active, supervisors, workers| Counts { specs, active, supervisors, workers };
    assert_eq!(handle.counts(), counts(2, 2, 1, 1));
    a.cast(Cue::Panic).await.unwrap();
    settle().await;
    assert_eq!(handle.counts(), counts(2, 1, 1, 1));
    pass(s(5)).await;
    assert_eq!(handle.counts(), counts(2, 2, 1, 1));
    let tree = stage.runtime.tree();
    let (shown, vitals) = (&tree.find("root/a").unwrap().vitals, a.vitals(stage.runtime.now()));
    assert_eq!((shown, vitals.generation), (&vitals, 2), "an address shows what the tree does");
    let held = Player::new("b", &script);
    let gate = held.direction.hold_starts();
    let adding = async { handle.add(held.under(at_once())).await.unwrap() };
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
async fn a_supervisor_that_restarts_has_its_static_children_back_and_of_the_others_those_that_last() {
    let script = Script::default();
    let mut root = SupervisorSpec::new("root");
    let strict = SupervisorPolicy { intensity: intensity(0), ..SupervisorPolicy::default() };
    let mut pool = SupervisorSpec::new("pool").policy(strict).as_child(at_once());
    let fixed = pool.child(Player::new("fixed", &script).under(at_once())).unwrap();
    let pool = root.supervisor(pool).unwrap();
    let _stage = Stage::start(root, &script).await;
    let passing = pool.add(Player::new("passing", &script).under(at_once())).await.unwrap();
    let lasting = pool.add(Child::new("lasting", Player::new("lasting", &script)).lasting()).await.unwrap();
    fixed.cast(Cue::Panic).await.unwrap();
    settle().await;
    assert_eq!(fixed.call(Cue::Ask).await, Ok(()));
    assert_eq!(lasting.call(Cue::Ask).await, Ok(()));
    assert_eq!(passing.call(Cue::Ask).await, Err(CallError::Stopped));
    assert_eq!(pool.names(), ["fixed", "lasting"]);
    pool.remove("lasting").await.unwrap();
    fixed.cast(Cue::Panic).await.unwrap();
    settle().await;
    assert_eq!(fixed.call(Cue::Ask).await, Ok(()));
    assert_eq!(pool.names(), ["fixed"]);
}

#[tokio::test(start_paused = true)]
async fn two_runtimes_in_one_process_do_not_see_each_other() {
    let script = Script::default();
    let mut trees = Vec::new();
    for _ in 0..2 {
        let mut root = SupervisorSpec::new("root");
        let a = root.child(Player::new("a", &script).under(at_once())).unwrap();
        trees.push((Runtime::builder().start(root).await.unwrap(), a));
    }
    let [(one, a_one), (two, a_two)] = &trees[..] else { panic!("there are two") };
    a_one.cast(Cue::Panic).await.unwrap();
    assert_eq!(a_one.call(Cue::Ask).await, Ok(()));
    one.shutdown().await;
    assert_eq!(a_one.call(Cue::Ask).await, Err(CallError::Stopped));
    assert_eq!(a_two.call(Cue::Ask).await, Ok(()));
    assert_eq!(two.tree().find("root/a").unwrap().vitals.generation, 1);
    assert_ne!(one.journal().boot(), two.journal().boot());
}

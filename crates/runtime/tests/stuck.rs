//! Handlers that make no progress within their limit.

use std::time::Duration;

use mainstay_runtime::policy::ChildPolicy;
use mainstay_runtime::{CallError, Child, Runtime, SupervisorSpec};

use crate::probe::{Act, Probe, Story, pass, quick, sum, tree_of};

const LIMIT: Duration = Duration::from_secs(8);

fn watched() -> ChildPolicy {
    ChildPolicy { stuck_after: Some(LIMIT), ..quick() }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_hangs_is_killed_as_stuck_and_the_next_incarnation_goes_on_with_the_rest() {
    let (probe, gate) = Probe::gated();
    let (runtime, address) = tree_of(probe, watched()).await;
    address.cast(Act::Add(3)).await.unwrap();
    let mut story = Story::of(&runtime);
    let began = runtime.now();
    let hung = address.call(Act::BlockOver);
    let after = async {
        gate.entered().await;
        sum(&address).await
    };
    assert_eq!(tokio::join!(hung, after), (Err(CallError::Crashed), Ok(3)));
    let took = runtime.now() - began;
    assert!((LIMIT..=LIMIT + LIMIT / 4).contains(&took), "it took {took:?}");
    let exited = story.until("actor_exited").await.pop().unwrap();
    assert_eq!(exited.fields["cause"], "stuck");
    assert_eq!(exited.fields["message"], "it made no progress within its limit");
    let dead_letter = story.until("dead_letter").await.pop().unwrap();
    assert_eq!(
        (&dead_letter.fields["label"], &dead_letter.fields["reason"]),
        (&"Block".into(), &"crashed".into())
    );
    assert_eq!(story.until("decision").await.pop().unwrap().fields["decision"], "restart");
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_is_busy_with_one_message_after_the_other_is_not_stuck() {
    let (probe, gate) = Probe::gated();
    let (runtime, address) = tree_of(probe, watched()).await;
    for _ in 0..20 {
        address.cast(Act::Block).await.unwrap();
    }
    for _ in 0..20 {
        gate.entered().await;
        pass(LIMIT - Duration::from_secs(1)).await;
        gate.open();
    }
    assert_eq!(sum(&address).await, Ok(0));
    assert_eq!(runtime.tree().find("root/probe").unwrap().vitals.generation, 1);
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_has_nothing_to_do_is_not_stuck() {
    let (runtime, address) = tree_of(Probe::default(), watched()).await;
    address.cast(Act::Add(1)).await.unwrap();
    pass(LIMIT * 100).await;
    assert_eq!(runtime.tree().find("root/probe").unwrap().vitals.generation, 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_a_handler_may_take_for_ever() {
    let (probe, gate) = Probe::gated();
    let (runtime, address) = tree_of(probe, quick()).await;
    address.cast(Act::Block).await.unwrap();
    gate.entered().await;
    pass(Duration::from_secs(1_000_000)).await;
    assert_eq!(runtime.tree().find("root/probe").unwrap().vitals.generation, 1);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_hangs_is_stuck_as_well() {
    let (probe, fuse) = Probe::that_hangs_once_in_its_start();
    let mut root = SupervisorSpec::new("root");
    let address = root.child(Child::new("probe", probe).policy(watched())).unwrap();
    let runtime = Runtime::builder().start(root).await.unwrap();
    fuse.arm();
    let mut story = Story::of(&runtime);
    address.cast(Act::Panic).await.unwrap();
    assert_eq!(sum(&address).await, Ok(0));
    story.until("actor_exited").await;
    assert_eq!(story.until("actor_exited").await.pop().unwrap().fields["cause"], "stuck");
    assert_eq!(runtime.tree().find("root/probe").unwrap().vitals.generation, 3);
}

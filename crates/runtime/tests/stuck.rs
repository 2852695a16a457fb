//! Tests handlers that make no progress within their limit.

use crate::*;

const LIMIT: Duration = Duration::from_secs(8);

fn stuck_limit_policy() -> ChildPolicy {
    ChildPolicy { stuck_after: Some(LIMIT), ..immediate_policy() }
}

#[tokio::test(start_paused = true)]
async fn stuck_handler_is_killed_and_successor_continues() {
    let (probe, gate) = TestProbe::gated();
    let (runtime, address) = start_tree(probe, stuck_limit_policy()).await;
    address.cast(ProbeMessage::Add(3)).await.unwrap();
    let mut events = JournalFollower::from_now(&runtime);
    let began = runtime.now();
    let hung = address.call(ProbeMessage::BlockCall);
    let after = async {
        gate.entered().await;
        sum(&address).await
    };
    assert_eq!(tokio::join!(hung, after), (Err(CallError::Crashed), Ok(3)));
    let took = runtime.now() - began;
    assert!((LIMIT..=LIMIT + LIMIT / 4).contains(&took), "it took {took:?}");
    let exited = events.next("actor_exited").await;
    assert_eq!(exited.fields["cause"], "stuck");
    assert_eq!(exited.fields["message"], "it made no progress within its limit");
    let dead_letter = events.next("dead_letter").await;
    assert_eq!(dead_letter.fields["label"], "BlockCall");
    assert_eq!(dead_letter.fields["reason"], "crashed");
    assert_eq!(events.next("decision").await.fields["decision"], "restart");
}

#[tokio::test(start_paused = true)]
async fn busy_actor_with_short_messages_is_not_stuck() {
    let (probe, gate) = TestProbe::gated();
    let (runtime, address) = start_tree(probe, stuck_limit_policy()).await;
    for _ in 0..20 {
        address.cast(ProbeMessage::Block).await.unwrap();
    }
    for _ in 0..20 {
        gate.entered().await;
        advance(LIMIT - Duration::from_secs(1)).await;
        gate.open();
    }
    assert_eq!(sum(&address).await, Ok(0));
    assert_eq!(runtime.tree().find("root/probe").unwrap().info.generation, 1);
}

#[tokio::test(start_paused = true)]
async fn actor_that_has_nothing_to_do_is_not_stuck() {
    let (runtime, address) = start_tree(TestProbe::default(), stuck_limit_policy()).await;
    address.cast(ProbeMessage::Add(1)).await.unwrap();
    advance(LIMIT * 100).await;
    assert_eq!(runtime.tree().find("root/probe").unwrap().info.generation, 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_a_handler_may_take_for_ever() {
    let (runtime, ..) = start_blocked(8, immediate_policy()).await;
    advance(Duration::from_secs(1_000_000)).await;
    assert_eq!(runtime.tree().find("root/probe").unwrap().info.generation, 1);
}

#[tokio::test(start_paused = true)]
async fn start_that_hangs_is_killed_as_stuck() {
    let (probe, switch) = TestProbe::hanging_start();
    let (runtime, address) = start_tree(probe, stuck_limit_policy()).await;
    switch.arm();
    let mut events = JournalFollower::from_now(&runtime);
    address.cast(ProbeMessage::Panic).await.unwrap();
    assert_eq!(sum(&address).await, Ok(0));
    events.read_until("actor_exited").await;
    assert_eq!(events.next("actor_exited").await.fields["cause"], "stuck");
    assert_eq!(runtime.tree().find("root/probe").unwrap().info.generation, 3);
}

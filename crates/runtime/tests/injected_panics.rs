//! Tests panics that are injected into an actor.

use crate::*;

#[tokio::test(start_paused = true)]
async fn injected_panic_takes_its_turn_and_crashes_the_actor() {
    let (runtime, probe) = start_tree(TestProbe::default(), immediate_policy()).await;
    let mut events = JournalFollower::from_now(&runtime);
    probe.cast(ProbeMessage::Add(3)).await.unwrap();
    let panicked = probe.inject_panic().unwrap();
    probe.cast(ProbeMessage::Add(4)).await.unwrap();
    assert_eq!(panicked.await, Err(CallError::Crashed));
    assert_eq!(sum(&probe).await, Ok(7), "a message before or behind it was lost");
    let records = events.read_until("dead_letter").await;
    let exited = records.iter().find(|record| record.kind == "actor_exited").unwrap();
    assert_eq!(exited.fields["cause"], "panic");
    assert_eq!(exited.fields["message"], "injected panic");
    let lost = records.last().unwrap();
    assert_eq!((&lost.fields["label"], &lost.fields["reason"]), (&"InjectedPanic".into(), &"crashed".into()));
    assert_eq!(probe.info(runtime.now()).generation, 2);
}

#[tokio::test(start_paused = true)]
async fn injected_panics_are_counted_one_by_one() {
    let (runtime, probe) = start_tree(TestProbe::default(), immediate_policy()).await;
    let panics = [(); 3].map(|()| probe.inject_panic().unwrap());
    for panicked in panics {
        assert_eq!(panicked.await, Err(CallError::Crashed));
    }
    advance(s(1)).await;
    assert_eq!(probe.info(runtime.now()).status, ActorStatus::Failed, "two restarts are granted");
    assert!(matches!(probe.inject_panic(), Err(CallError::Stopped)));
}

#[tokio::test(start_paused = true)]
async fn injected_panic_that_finds_no_room_or_no_actor_is_refused() {
    let (runtime, probe, gate) = start_blocked(1, immediate_policy()).await;
    let waiting = probe.inject_panic().unwrap();
    assert!(matches!(probe.inject_panic(), Err(CallError::Full)));
    let mut events = JournalFollower::from_now(&runtime);
    let (ending, ()) = tokio::join!(runtime.shutdown(), async { gate.open() });
    assert_eq!(ending.cause, ExitCause::Normal);
    assert_eq!(waiting.await, Err(CallError::Stopped));
    let lost = events.next("dead_letter").await;
    assert_eq!(lost.fields["reason"], "stopped");
    assert!(matches!(probe.inject_panic(), Err(CallError::Stopped)));
}

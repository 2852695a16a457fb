//! Tests supervision through the public API, on a paused clock.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]
#![allow(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]

mod failures;
mod finalize;
#[cfg(debug_assertions)]
mod injected_panics;
mod never_started;
#[allow(dead_code, reason = "shared with other tests, which use other parts of it")]
mod probe;
mod readiness;
mod redelivery;
mod stuck;
mod timers;

use std::sync::Arc;
use std::time::Duration;

use mainstay_runtime::policy::{Budget, ChildPolicy, Delay, ExitCause, RestartType, Shutdown};
use mainstay_runtime::standstill::StandstillClock;
use mainstay_runtime::{
    ActorInfo, ActorStatus, Address, AdminError, CallError, Child, Context, Failure, Message, Reply, Runtime,
    SendErrorKind, SupervisorHandle, SupervisorSpec, UnrecoverableFailure, Worker, replay,
};
use probe::{
    JournalFollower, ProbeMessage, TestProbe, advance, delayed_policy, immediate_policy, s, start_blocked,
    start_child, start_tree, sum, wait_for_backlog,
};

#[tokio::test(start_paused = true)]
async fn crash_answers_its_call_and_held_replies() {
    let (_runtime, probe) = start_tree(TestProbe::default(), immediate_policy()).await;
    let held = probe.call(ProbeMessage::Hold);
    let crashed = probe.call(ProbeMessage::PanicCall);
    assert_eq!(tokio::join!(held, crashed), (Err(CallError::Crashed), Err(CallError::Crashed)));
    assert_eq!(sum(&probe).await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn default_child_restarts_at_once_and_then_ever_later() {
    let (runtime, probe) = start_child(Child::new("probe", TestProbe::default())).await;
    let mut events = JournalFollower::from_now(&runtime);
    let mut delays_ms = Vec::new();
    for _ in 0..5 {
        probe.cast(ProbeMessage::Panic).await.unwrap();
        delays_ms.push(events.next("decision").await.fields["delay_ms"].as_u64().unwrap());
        events.next("actor_restarted").await;
    }
    assert_eq!(delays_ms, [0, 1000, 2000, 4000, 8000]);
    probe.cast(ProbeMessage::Panic).await.unwrap();
    events.next("gave_up").await;
}

#[tokio::test(start_paused = true)]
async fn journal_records_a_crash_in_order_with_details() {
    let (runtime, probe) = start_tree(TestProbe::default(), delayed_policy()).await;
    let mut events = JournalFollower::from_now(&runtime);
    probe.cast(ProbeMessage::Add(1)).await.unwrap();
    probe.cast(ProbeMessage::Panic).await.unwrap();
    probe.cast(ProbeMessage::Add(1)).await.unwrap();
    let records = events.read_until("actor_restarted").await;
    let kinds: Vec<&str> = records.iter().map(|record| record.kind.as_str()).collect();
    assert_eq!(
        kinds,
        ["actor_exited", "dead_letter", "decision", "actor_started", "actor_ready", "actor_restarted"]
    );
    let [exited, dead_letter, decision, _, _, restarted] = &records[..] else { unreachable!() };
    assert_eq!(exited.fields["cause"], "panic");
    assert_eq!(exited.fields["message"], "on purpose");
    assert!(exited.fields["location"].as_str().unwrap().contains("probe.rs:"));
    assert_eq!(dead_letter.fields["label"], "Panic");
    assert_eq!(decision.fields["decision"], "restart");
    assert_eq!(decision.fields["delay_ms"], 5000);
    assert_eq!(decision.fields["attempt"], 1);
    assert_eq!(decision.fields["budget"], serde_json::json!({"used": 1, "max": 2, "window_ms": 600_000}));
    assert_eq!(decision.fields["scope"], serde_json::json!(["root/probe"]));
    assert_eq!(restarted.fields["downtime_ms"], 5000);
    assert_eq!(restarted.fields["state"], "checkpoint");
    assert_eq!(restarted.fields["backlog"], 1);
}

#[tokio::test(start_paused = true)]
async fn budget_spent_fails_child_until_reset() {
    let (runtime, probe) = start_tree(TestProbe::default(), delayed_policy()).await;
    let mut events = JournalFollower::from_now(&runtime);
    for _ in 0..3 {
        probe.cast(ProbeMessage::Panic).await.unwrap();
        events.read_until("decision").await;
        advance(s(6)).await;
    }
    let gave_up = events.next("gave_up").await;
    assert_eq!(
        gave_up.fields["next_step"],
        "correct the cause, then reset root/probe, which starts it again"
    );
    // The crashes leave the window of the budget, which stays spent.
    advance(s(601)).await;
    assert_eq!(runtime.tree().find("root/probe").unwrap().info.budget_left, Some(0));
    assert_eq!(sum(&probe).await, Err(CallError::Stopped));
    let refused = probe.try_cast(ProbeMessage::Add(1)).unwrap_err();
    assert!(matches!((refused.kind, refused.message), (SendErrorKind::Stopped, ProbeMessage::Add(1))));
    runtime.root().reset("probe").await.unwrap();
    assert_eq!(sum(&probe).await, Ok(0));
    assert_eq!(runtime.tree().find("root/probe").unwrap().info.budget_left, Some(2));
}

#[tokio::test(start_paused = true)]
async fn stable_child_has_its_budget_restored() {
    let (runtime, probe) = start_tree(TestProbe::default(), delayed_policy()).await;
    let mut events = JournalFollower::from_now(&runtime);
    probe.cast(ProbeMessage::Panic).await.unwrap();
    let left = || runtime.tree().find("root/probe").unwrap().info.budget_left;
    for kind in ["decision", "actor_restarted"] {
        events.read_until(kind).await;
        assert_eq!(left(), Some(1), "{kind}");
    }
    advance(s(60)).await;
    assert_eq!(left(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn standstill_makes_no_child_stable() {
    let clock = Arc::<StandstillClock>::default();
    let mut root = SupervisorSpec::new("root");
    let probe = root.child(Child::new("probe", TestProbe::default()).policy(delayed_policy())).unwrap();
    let runtime = Runtime::builder().standstill_clock(Arc::clone(&clock)).start(root).await.unwrap();
    let (mut events, mut records) = (JournalFollower::from_start(&runtime), Vec::new());
    let left = || runtime.tree().find("root/probe").unwrap().info.budget_left;
    for attempt in 1..=2 {
        probe.cast(ProbeMessage::Panic).await.unwrap();
        records.extend(events.read_until("actor_restarted").await);
        let decision = records.iter().rfind(|record| record.kind == "decision").unwrap();
        assert_eq!(decision.fields["attempt"], attempt);
        clock.look(runtime.now());
        tokio::time::advance(s(100)).await;
        assert_eq!(left(), Some(2 - attempt));
    }
    for _ in 0..31 {
        clock.look(runtime.now());
        advance(s(2)).await;
    }
    assert_eq!(left(), Some(2));
    assert_eq!(replay::check(records).differences, []);
}

#[tokio::test(start_paused = true)]
async fn stop_is_orderly_and_answers_waiting_callers() {
    let (probe, gate) = TestProbe::gated();
    let ended = probe.stop_flag();
    let (runtime, address) = start_tree(probe, immediate_policy()).await;
    address.cast(ProbeMessage::Block).await.unwrap();
    gate.entered().await;
    let mut events = JournalFollower::from_now(&runtime);
    let stopping = async {
        wait_for_backlog(&address).await;
        runtime.root().stop("probe").await
    };
    let opening = async {
        while runtime.tree().find("root/probe").unwrap().info.status != ActorStatus::Stopping {
            tokio::task::yield_now().await;
        }
        gate.open();
    };
    let answers = tokio::join!(sum(&address), stopping, opening);
    assert_eq!(answers, (Err(CallError::Stopped), Ok(()), ()));
    assert!(ended.is_set());
    let dead_letter = events.next("dead_letter").await;
    assert_eq!(dead_letter.fields["reason"], "stopped");
    assert_eq!(dead_letter.fields["label"], "Get");
    runtime.root().stop("probe").await.unwrap();
    runtime.root().start("probe").await.unwrap();
    assert_eq!(sum(&address).await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn call_within_times_out_and_is_never_handled() {
    let (runtime, address, gate) = start_blocked(8, immediate_policy()).await;
    let answer = address.call_within(s(1), |reply| ProbeMessage::AddCall(5, reply)).await;
    assert_eq!(answer, Err(CallError::TimedOut));
    let mut events = JournalFollower::from_now(&runtime);
    gate.open();
    let dead_letter = events.next("dead_letter").await;
    assert_eq!(dead_letter.fields["reason"], "expired");
    assert_eq!(sum(&address).await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn full_mailbox_makes_senders_wait_in_order() {
    let (_runtime, address, gate) = start_blocked(1, immediate_policy()).await;
    address.try_cast(ProbeMessage::Add(1)).unwrap();
    assert_eq!(address.try_cast(ProbeMessage::Add(9)).unwrap_err().kind, SendErrorKind::Full);
    let sender = async {
        address.cast(ProbeMessage::Double).await.unwrap();
        address.cast(ProbeMessage::Add(1)).await.unwrap();
        sum(&address).await
    };
    assert_eq!(tokio::join!(sender, async { gate.open() }).0, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn task_result_is_handled_and_task_panic_crashes() {
    let (runtime, probe) = start_tree(TestProbe::default(), immediate_policy()).await;
    probe.cast(ProbeMessage::AddLater(s(1), 8)).await.unwrap();
    advance(s(2)).await;
    assert_eq!(sum(&probe).await, Ok(8));
    let mut events = JournalFollower::from_now(&runtime);
    probe.cast(ProbeMessage::PanicInTask).await.unwrap();
    let exited = events.next("actor_exited").await;
    assert_eq!(exited.fields["cause"], "panic");
    assert_eq!(exited.fields["message"], "on purpose, later");
    assert_eq!(sum(&probe).await, Ok(8));
}

#[tokio::test(start_paused = true)]
async fn send_at_is_handled_at_its_time() {
    let (runtime, probe) = start_tree(TestProbe::default(), immediate_policy()).await;
    advance(s(1)).await;
    // The clock shows whole milliseconds: after 1010.2 of them it shows 1011.
    for (micros, n) in [(1_010_000, 1), (1_010_200, 10), (0, 100), (u64::MAX, 1000)] {
        probe.cast(ProbeMessage::AddAt(Duration::from_micros(micros), n)).await.unwrap();
    }
    for (shown_ms, sum_then) in [(1_009, 100), (1_010, 101), (1_011, 111)] {
        advance(Duration::from_millis(shown_ms) - runtime.now()).await;
        assert_eq!((runtime.now().as_millis(), sum(&probe).await), (shown_ms.into(), Ok(sum_then)));
    }
}

#[tokio::test(start_paused = true)]
async fn task_of_ended_incarnation_reaches_no_successor() {
    let (_runtime, probe) = start_tree(TestProbe::default(), immediate_policy()).await;
    probe.cast(ProbeMessage::AddLater(s(1), 8)).await.unwrap();
    probe.cast(ProbeMessage::Panic).await.unwrap();
    advance(s(5)).await;
    assert_eq!(sum(&probe).await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn checkpoint_that_always_crashes_is_discarded() {
    let policy = ChildPolicy { budget: None, ..immediate_policy() };
    let (runtime, probe) = start_tree(TestProbe::failing_start_from(13), policy).await;
    probe.cast(ProbeMessage::Add(13)).await.unwrap();
    let mut events = JournalFollower::from_now(&runtime);
    probe.cast(ProbeMessage::Panic).await.unwrap();
    events.read_until("checkpoint_discarded").await;
    let restarted = events.next("actor_restarted").await;
    assert_eq!(restarted.fields["state"], "fresh");
    assert_eq!(sum(&probe).await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn nested_supervisor_starts_and_stops_in_order() {
    let mut root = SupervisorSpec::new("root");
    root.child(Child::new("first", TestProbe::default()).policy(immediate_policy())).unwrap();
    let mut pool = SupervisorSpec::new("pool");
    let inner = pool.child(Child::new("inner", TestProbe::default()).policy(immediate_policy())).unwrap();
    let pool = root.supervisor(pool).unwrap();
    let runtime = Runtime::builder().start(root).await.unwrap();
    let added = pool.add(Child::new("added", TestProbe::default()).policy(immediate_policy())).await.unwrap();
    assert_eq!((sum(&inner).await, sum(&added).await), (Ok(0), Ok(0)));
    let mut events = JournalFollower::from_now(&runtime);
    runtime.shutdown().await;
    let exits: Vec<String> = events
        .read_until("runtime_stopped")
        .await
        .into_iter()
        .filter(|record| record.kind == "actor_exited")
        .map(|record| record.actor)
        .collect();
    assert_eq!(exits, ["root/pool/added", "root/pool/inner", "root/pool", "root/first", "root"]);
    assert_eq!(sum(&inner).await, Err(CallError::Stopped));
}

#[tokio::test(start_paused = true)]
async fn shutdown_kills_at_its_deadline_and_records_the_exit() {
    let (runtime, ..) = start_blocked(8, immediate_policy()).await;
    let mut events = JournalFollower::from_now(&runtime);
    runtime.shutdown().await;
    let records = events.read_until("runtime_stopped").await;
    assert_eq!(records.first().map(|record| record.kind.as_str()), Some("runtime_stopping"));
    assert!(records.iter().any(|record| record.fields.get("cause") == Some(&"killed".into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn thousand_crashes_on_many_threads_lose_no_message() {
    let (_runtime, probe) =
        start_tree(TestProbe::default(), ChildPolicy { budget: None, ..immediate_policy() }).await;
    for _ in 0..1000 {
        probe.cast(ProbeMessage::Add(1)).await.unwrap();
        probe.cast(ProbeMessage::Panic).await.unwrap();
        probe.cast(ProbeMessage::Add(1)).await.unwrap();
    }
    assert_eq!(sum(&probe).await, Ok(2000));
}

#[tokio::test(start_paused = true)]
async fn task_result_during_start_is_handled() {
    let (_runtime, probe) = start_tree(TestProbe::task_in_start(), immediate_policy()).await;
    advance(s(1)).await;
    assert_eq!(sum(&probe).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn supervisor_stops_in_order_despite_leftover_tasks() {
    let mut root = SupervisorSpec::new("root");
    let mut pool = SupervisorSpec::new("pool");
    let inner = pool.child(Child::new("inner", TestProbe::default()).policy(immediate_policy())).unwrap();
    root.supervisor(pool).unwrap();
    let runtime = Runtime::builder().start(root).await.unwrap();
    inner.cast(ProbeMessage::AddLater(s(3600), 1)).await.unwrap();
    assert_eq!(sum(&inner).await, Ok(0));
    let began = runtime.now();
    let ending = runtime.shutdown().await;
    assert_eq!((ending.cause, runtime.now()), (ExitCause::Normal, began));
}

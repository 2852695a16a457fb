//! Supervision as an embedder sees it: through the public API, on a paused clock.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets the unexpected should say so at once"
)]
#![allow(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]

mod abandoned;
mod mishaps;
mod probe;
mod redelivery;
mod rest;
mod stuck;

use std::time::Duration;

use mainstay_runtime::policy::{Budget, ChildPolicy, Delay, ExitCause, RestartType, Shutdown};
use mainstay_runtime::{
    AdminError, CallError, Child, Context, Failure, Message, Refusal, Reply, Runtime, StartError, Status,
    SupervisorSpec, Worker,
};
use probe::{Act, Probe, Story, pass, patient, quick, sum, tree_of};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn after_a_panic_the_state_and_the_messages_that_waited_are_still_there() {
    let (runtime, probe) = tree_of(Probe::default(), patient()).await;
    probe.cast(Act::Add(3)).await.unwrap();
    probe.cast(Act::Panic).await.unwrap();
    probe.cast(Act::Add(4)).await.unwrap();
    assert_eq!(sum(&probe).await, Ok(7));
    assert_eq!(runtime.tree().find("root/probe").unwrap().vitals.generation, 2);
}

#[tokio::test(start_paused = true)]
async fn the_call_that_the_actor_crashed_on_and_the_replies_that_it_held_answer_crashed() {
    let (_runtime, probe) = tree_of(Probe::default(), quick()).await;
    let held = probe.call(Act::Hold);
    let crashed = probe.call(Act::PanicOver);
    assert_eq!(tokio::join!(held, crashed), (Err(CallError::Crashed), Err(CallError::Crashed)));
    assert_eq!(sum(&probe).await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn a_call_can_be_sent_at_once_and_its_answer_awaited_later() {
    let (_runtime, probe) = tree_of(Probe::default(), quick()).await;
    let (reply, answer) = Reply::channel();
    probe.try_cast(Act::Get(reply)).unwrap();
    assert_eq!(answer.await, Ok(0));
    let (reply, answer) = Reply::channel();
    probe.try_cast(Act::PanicOver(reply)).unwrap();
    assert_eq!(answer.await, Err(CallError::Crashed));
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_the_handler_drops_says_that_there_is_no_answer() {
    let (_runtime, probe) = tree_of(Probe::default(), quick()).await;
    assert_eq!(probe.call(Act::Ignore).await, Err(CallError::Unanswered));
}

#[tokio::test(start_paused = true)]
async fn the_journal_tells_a_crash_in_order_with_cause_place_budget_and_downtime() {
    let (runtime, probe) = tree_of(Probe::default(), patient()).await;
    let mut story = Story::of(&runtime);
    probe.cast(Act::Add(1)).await.unwrap();
    probe.cast(Act::Panic).await.unwrap();
    probe.cast(Act::Add(1)).await.unwrap();
    let told = story.until("actor_restarted").await;
    let kinds: Vec<&str> = told.iter().map(|record| record.kind.as_str()).collect();
    assert_eq!(
        kinds,
        ["actor_exited", "dead_letter", "decision", "actor_started", "actor_ready", "actor_restarted"]
    );
    let [exited, dead_letter, decision, _, _, restarted] = &told[..] else { unreachable!() };
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
    assert_eq!(restarted.fields["state"], "restored");
    assert_eq!(restarted.fields["backlog"], 1);
}

#[tokio::test(start_paused = true)]
async fn while_a_restart_is_due_the_tree_says_so_and_the_siblings_keep_their_incarnation() {
    let mut root = SupervisorSpec::new("root");
    let probe = root.child(Child::new("probe", Probe::default()).policy(patient())).unwrap();
    let sibling = root.child(Child::new("sibling", Probe::default()).policy(patient())).unwrap();
    let runtime = Runtime::builder().start(root).await.unwrap();
    let mut story = Story::of(&runtime);
    probe.cast(Act::Panic).await.unwrap();
    story.until("decision").await;
    assert_eq!(sum(&sibling).await, Ok(0));
    let tree = runtime.tree();
    let vitals = &tree.find("root/probe").unwrap().vitals;
    assert_eq!((vitals.status, vitals.budget_left), (Status::Restarting, Some(1)));
    assert_eq!(vitals.restart_due, Some(vitals.since + s(5)));
    assert_eq!(sum(&probe).await, Ok(0));
    let tree = runtime.tree();
    assert_eq!(tree.find("root/probe").unwrap().vitals.generation, 2);
    assert_eq!(tree.find("root/sibling").unwrap().vitals.generation, 1);
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_leaves_the_child_failed_until_a_reset_and_says_what_to_do() {
    let (runtime, probe) = tree_of(Probe::default(), patient()).await;
    let mut story = Story::of(&runtime);
    for _ in 0..3 {
        probe.cast(Act::Panic).await.unwrap();
        story.until("decision").await;
        pass(s(6)).await;
    }
    let gave_up = story.until("gave_up").await.pop().unwrap();
    assert_eq!(gave_up.fields["next_step"], "it stays failed until root/probe is reset");
    assert_eq!(sum(&probe).await, Err(CallError::Stopped));
    let refused = probe.try_cast(Act::Add(1)).unwrap_err();
    assert!(matches!((refused.reason, refused.message), (Refusal::Stopped, Act::Add(1))));
    runtime.root().reset("probe").await.unwrap();
    assert_eq!(sum(&probe).await, Ok(0));
    assert_eq!(runtime.tree().find("root/probe").unwrap().vitals.budget_left, Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_stays_ready_long_enough_has_its_budget_back() {
    let (runtime, probe) = tree_of(Probe::default(), patient()).await;
    let mut story = Story::of(&runtime);
    probe.cast(Act::Panic).await.unwrap();
    story.until("actor_restarted").await;
    let left = || runtime.tree().find("root/probe").unwrap().vitals.budget_left;
    assert_eq!(left(), Some(1));
    pass(s(60)).await;
    assert_eq!(left(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_the_worker_end_in_order_and_answers_those_who_wait() {
    let (probe, gate) = Probe::gated();
    let ended = probe.ended();
    let (runtime, address) = tree_of(probe, quick()).await;
    address.cast(Act::Block).await.unwrap();
    gate.entered().await;
    let waiting = tokio::spawn({
        let address = address.clone();
        async move { sum(&address).await }
    });
    while address.backlog() == 0 {
        tokio::task::yield_now().await;
    }
    let mut story = Story::of(&runtime);
    let root = runtime.root().clone();
    let stopping = tokio::spawn(async move { root.stop("probe").await });
    while runtime.tree().find("root/probe").unwrap().vitals.status != Status::Stopping {
        tokio::task::yield_now().await;
    }
    gate.open();
    assert_eq!(stopping.await.unwrap(), Ok(()));
    assert_eq!(waiting.await.unwrap(), Err(CallError::Stopped));
    assert!(ended.has_ended_in_order());
    let dead_letter = story.until("dead_letter").await.pop().unwrap();
    assert_eq!(dead_letter.fields["reason"], "stopped");
    assert_eq!(dead_letter.fields["label"], "Get");
    runtime.root().stop("probe").await.unwrap();
    runtime.root().start("probe").await.unwrap();
    assert_eq!(sum(&address).await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_does_not_stop_within_its_timeout_is_killed_and_the_cause_says_so() {
    let (probe, gate) = Probe::gated();
    let (runtime, address) = tree_of(probe, quick()).await;
    let blocked = address.call(Act::BlockOver);
    let stopped = async {
        gate.entered().await;
        let mut story = Story::of(&runtime);
        let began = runtime.now();
        runtime.root().stop("probe").await.unwrap();
        assert_eq!(runtime.now() - began, s(3));
        story.until("actor_exited").await.pop().unwrap()
    };
    let (answer, exited) = tokio::join!(blocked, stopped);
    assert_eq!(answer, Err(CallError::Stopped));
    assert_eq!(exited.fields["cause"], "killed");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_longer_than_its_patience_times_out_and_is_never_handled() {
    let (probe, gate) = Probe::gated();
    let (runtime, address) = tree_of(probe, quick()).await;
    address.cast(Act::Block).await.unwrap();
    gate.entered().await;
    let answer = address.call_within(s(1), |reply| Act::AddOver(5, reply)).await;
    assert_eq!(answer, Err(CallError::TimedOut));
    let mut story = Story::of(&runtime);
    gate.open();
    let dead_letter = story.until("dead_letter").await.pop().unwrap();
    assert_eq!(dead_letter.fields["reason"], "expired");
    assert_eq!(sum(&address).await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn a_sender_to_a_full_mailbox_waits_for_room_and_order_is_kept() {
    let (probe, gate) = Probe::gated();
    let mut root = SupervisorSpec::new("root");
    let child = Child::new("probe", probe).mailbox_capacity(1).policy(quick());
    let address = root.child(child).unwrap();
    let _runtime = Runtime::builder().start(root).await.unwrap();
    address.cast(Act::Block).await.unwrap();
    gate.entered().await;
    address.try_cast(Act::Add(1)).unwrap();
    assert_eq!(address.try_cast(Act::Add(9)).unwrap_err().reason, Refusal::Full);
    let sender = tokio::spawn({
        let address = address.clone();
        async move {
            address.cast(Act::Double).await.unwrap();
            address.cast(Act::Add(1)).await.unwrap();
            sum(&address).await
        }
    });
    gate.open();
    assert_eq!(sender.await.unwrap(), Ok(3));
}

#[tokio::test(start_paused = true)]
async fn what_an_owned_task_brings_is_handled_and_its_panic_is_a_crash() {
    let (runtime, probe) = tree_of(Probe::default(), quick()).await;
    probe.cast(Act::AddLater(s(1), 8)).await.unwrap();
    pass(s(2)).await;
    assert_eq!(sum(&probe).await, Ok(8));
    let mut story = Story::of(&runtime);
    probe.cast(Act::PanicLater).await.unwrap();
    let exited = story.until("actor_exited").await.pop().unwrap();
    assert_eq!(exited.fields["message"], "on purpose, later");
    assert_eq!(sum(&probe).await, Ok(8));
}

#[tokio::test(start_paused = true)]
async fn what_is_due_at_a_time_is_handled_as_soon_as_the_clock_shows_that_time() {
    let (runtime, probe) = tree_of(Probe::default(), quick()).await;
    pass(s(1)).await;
    // The clock shows whole milliseconds: it shows that 1010.2 of them have passed when it shows 1011.
    for (micros, n) in [(1_010_000, 1), (1_010_200, 10), (0, 100), (u64::MAX, 1000)] {
        probe.cast(Act::AddAt(Duration::from_micros(micros), n)).await.unwrap();
    }
    for (shown_ms, sum_then) in [(1_009, 100), (1_010, 101), (1_011, 111)] {
        pass(Duration::from_millis(shown_ms) - runtime.now()).await;
        assert_eq!((runtime.now().as_millis(), sum(&probe).await), (shown_ms.into(), Ok(sum_then)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_of_an_incarnation_that_has_ended_reaches_no_later_one() {
    let (_runtime, probe) = tree_of(Probe::default(), quick()).await;
    probe.cast(Act::AddLater(s(1), 8)).await.unwrap();
    probe.cast(Act::Panic).await.unwrap();
    pass(s(5)).await;
    assert_eq!(sum(&probe).await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_crashes_every_successor_is_set_aside_and_the_next_start_is_fresh() {
    let policy = ChildPolicy { budget: None, ..quick() };
    let (runtime, probe) = tree_of(Probe::that_fails_to_start_from(13), policy).await;
    probe.cast(Act::Add(13)).await.unwrap();
    let mut story = Story::of(&runtime);
    probe.cast(Act::Panic).await.unwrap();
    story.until("checkpoint_discarded").await;
    let restarted = story.until("actor_restarted").await.pop().unwrap();
    assert_eq!(restarted.fields["state"], "fresh");
    assert_eq!(sum(&probe).await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn a_tree_whose_child_does_not_start_says_which_and_why_and_stops_the_others() {
    let mut root = SupervisorSpec::new("root");
    let first = Probe::default();
    let ended = first.ended();
    root.child(Child::new("first", first).policy(quick())).unwrap();
    root.child(Child::new("second", Probe::that_fails_to_start()).policy(quick())).unwrap();
    let Err(StartError::ChildFailed { path, message }) = Runtime::builder().start(root).await else {
        panic!("the tree came up");
    };
    assert_eq!((path.as_str(), message.as_str()), ("root/second", "no luck today"));
    assert!(ended.has_ended_in_order());
}

#[tokio::test(start_paused = true)]
async fn children_are_added_stopped_and_removed_while_the_tree_runs() {
    let runtime = Runtime::builder().start(SupervisorSpec::new("root")).await.unwrap();
    let root = runtime.root();
    let probe = root.add(Child::new("probe", Probe::default()).policy(quick())).await.unwrap();
    assert_eq!(sum(&probe).await, Ok(0));
    let again = root.add(Child::new("probe", Probe::default())).await.unwrap_err();
    assert!(matches!(again, AdminError::AlreadyRunning { path } if path.as_str() == "root/probe"));
    let refused = root.add(Child::new("other", Probe::that_fails_to_start())).await.unwrap_err();
    assert!(matches!(refused, AdminError::StartFailed { message, .. } if message == "no luck today"));
    assert_eq!(root.names(), ["probe"]);
    root.remove("probe").await.unwrap();
    assert_eq!(root.stop("probe").await, Err(AdminError::NotFound { name: "probe".to_owned() }));
    assert_eq!(sum(&probe).await, Err(CallError::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_nested_supervisor_comes_up_with_its_children_and_goes_down_before_what_came_first() {
    let mut root = SupervisorSpec::new("root");
    root.child(Child::new("first", Probe::default()).policy(quick())).unwrap();
    let mut pool = SupervisorSpec::new("pool");
    let inner = pool.child(Child::new("inner", Probe::default()).policy(quick())).unwrap();
    let pool = root.supervisor(pool).unwrap();
    let runtime = Runtime::builder().start(root).await.unwrap();
    let added = pool.add(Child::new("added", Probe::default()).policy(quick())).await.unwrap();
    assert_eq!((sum(&inner).await, sum(&added).await), (Ok(0), Ok(0)));
    let mut story = Story::of(&runtime);
    runtime.shutdown().await;
    let exits: Vec<String> = story
        .until("runtime_stopped")
        .await
        .into_iter()
        .filter(|record| record.kind == "actor_exited")
        .map(|record| record.actor)
        .collect();
    assert_eq!(exits, ["root/pool/added", "root/pool/inner", "root/pool", "root/first", "root"]);
    assert_eq!(sum(&inner).await, Err(CallError::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_ends_of_itself_is_restarted_only_if_it_is_permanent() {
    for (restart, expected) in
        [(RestartType::Permanent, Ok(1)), (RestartType::Transient, Err(CallError::Stopped))]
    {
        let (runtime, probe) = tree_of(Probe::default(), ChildPolicy { restart, ..quick() }).await;
        let mut story = Story::of(&runtime);
        probe.cast(Act::Add(1)).await.unwrap();
        probe.cast(Act::End).await.unwrap();
        let decision = story.until("decision").await.pop().unwrap();
        assert_eq!(decision.fields["inputs"]["exit"]["cause"], "normal");
        assert_eq!(sum(&probe).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_what_hangs_by_its_deadline_and_the_ending_is_recorded() {
    let (probe, gate) = Probe::gated();
    let (runtime, address) = tree_of(probe, quick()).await;
    address.cast(Act::Block).await.unwrap();
    gate.entered().await;
    let mut story = Story::of(&runtime);
    runtime.shutdown().await;
    let told = story.until("runtime_stopped").await;
    assert_eq!(told.first().map(|record| record.kind.as_str()), Some("runtime_stopping"));
    assert!(told.iter().any(|record| record.fields.get("cause") == Some(&"killed".into())));
}

#[tokio::test(start_paused = true)]
async fn two_runtimes_in_one_process_do_not_see_each_other() {
    let (one, probe_one) = tree_of(Probe::default(), quick()).await;
    let (_two, probe_two) = tree_of(Probe::default(), quick()).await;
    probe_one.cast(Act::Add(1)).await.unwrap();
    assert_eq!((sum(&probe_one).await, sum(&probe_two).await), (Ok(1), Ok(0)));
    one.shutdown().await;
    assert_eq!(sum(&probe_two).await, Ok(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_that_waits_is_lost_over_a_thousand_crashes_on_many_threads() {
    let policy = ChildPolicy {
        budget: None,
        delay: Delay::NONE,
        shutdown: Shutdown::Graceful(s(3)),
        ..ChildPolicy::default()
    };
    let (_runtime, probe) = tree_of(Probe::default(), policy).await;
    for _ in 0..1000 {
        probe.cast(Act::Add(1)).await.unwrap();
        probe.cast(Act::Panic).await.unwrap();
        probe.cast(Act::Add(1)).await.unwrap();
    }
    assert_eq!(sum(&probe).await, Ok(2000));
}

/// Sends a task out while it starts, and tells whoever asks once that task is back.
struct Errand;

enum Step {
    Return,
    Ask(Reply<()>),
}

impl Message for Step {}

impl Worker for Errand {
    type Message = Step;
    type State = (bool, Option<Reply<()>>);
    type Snapshot = ();

    async fn start(&self, ctx: &mut Context<Step>, _: Option<()>) -> Result<Self::State, Failure> {
        ctx.spawn(async { Step::Return });
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        Ok((false, None))
    }

    async fn handle(
        &self,
        _: &mut Context<Step>,
        step: Step,
        state: &mut Self::State,
    ) -> Result<(), Failure> {
        match step {
            Step::Return => state.0 = true,
            Step::Ask(reply) => state.1 = Some(reply),
        }
        if let Some(reply) = state.1.take_if(|_| state.0) {
            reply.send(());
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_task_brings_while_its_actor_still_starts_is_handled() {
    let mut root = SupervisorSpec::new("root");
    let errand = root.child(Child::new("errand", Errand)).unwrap();
    let _runtime = Runtime::builder().start(root).await.unwrap();
    assert_eq!(errand.call_within(s(60), Step::Ask).await, Ok(()));
}

#[test]
fn a_budget_is_plain_data() {
    let budget = Budget { restarts_max: 1, window: s(1) };
    assert_eq!(serde_json::to_value(budget).unwrap()["restarts_max"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_whose_last_child_leaves_tasks_behind_still_ends_in_order() {
    let mut root = SupervisorSpec::new("root");
    let mut pool = SupervisorSpec::new("pool");
    let inner = pool.child(Child::new("inner", Probe::default()).policy(quick())).unwrap();
    root.supervisor(pool).unwrap();
    let runtime = Runtime::builder().start(root).await.unwrap();
    inner.cast(Act::AddLater(s(3600), 1)).await.unwrap();
    assert_eq!(sum(&inner).await, Ok(0));
    let began = runtime.now();
    let ending = runtime.shutdown().await;
    assert_eq!((ending.cause, runtime.now()), (ExitCause::Normal, began));
}

#[tokio::test(start_paused = true)]
async fn those_below_a_supervisor_that_was_killed_are_laid_to_rest_and_their_callers_told() {
    let (probe, gate) = Probe::gated();
    let mut root = SupervisorSpec::new("root");
    let mut pool = SupervisorSpec::new("pool").as_child(quick());
    let stubborn = ChildPolicy { shutdown: Shutdown::Graceful(s(60)), ..quick() };
    let inner = pool.child(Child::new("inner", probe).policy(stubborn)).unwrap();
    root.supervisor(pool).unwrap();
    let runtime = Runtime::builder().start(root).await.unwrap();
    inner.cast(Act::Block).await.unwrap();
    gate.entered().await;
    let waiting = sum(&inner);
    let stopping = async {
        while inner.backlog() == 0 {
            tokio::task::yield_now().await;
        }
        runtime.root().stop("pool").await
    };
    assert_eq!(tokio::join!(waiting, stopping), (Err(CallError::Stopped), Ok(())));
    assert_eq!(inner.try_cast(Act::Add(1)).unwrap_err().reason, Refusal::Stopped);
    assert_eq!(runtime.tree().find("root/pool/inner").unwrap().vitals.status, Status::Stopped);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_when_the_runtime_is_dropped_gets_an_answer() {
    let (probe, gate) = Probe::gated();
    let (runtime, address) = tree_of(probe, quick()).await;
    address.cast(Act::Block).await.unwrap();
    gate.entered().await;
    let dropping = async {
        while address.backlog() == 0 {
            tokio::task::yield_now().await;
        }
        drop(runtime);
    };
    assert_eq!(tokio::join!(sum(&address), dropping).0, Err(CallError::Stopped));
    assert_eq!(address.try_cast(Act::Add(1)).unwrap_err().reason, Refusal::Stopped);
}

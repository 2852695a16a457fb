//! Lines 6 to 12: stopping.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay_runtime::journal::{Delivery, Subscription};
use mainstay_runtime::policy::{Abandoned, ChildPolicy, RestartType, Shutdown, SupervisorPolicy};
use mainstay_runtime::{
    CallError, Child, Context, Failure, Message, Reply, Runtime, Status, SupervisorSpec, Worker,
};
use tokio::sync::Semaphore;

use crate::stage::{Cue, Player, Script, Stage, at_once, s, settle};

#[tokio::test(start_paused = true)]
async fn children_stop_in_the_exact_reverse_of_their_order() {
    let (stage, _, _) = Stage::of(SupervisorPolicy::default(), at_once(), ["a", "b", "c", "d"]).await;
    stage.runtime.shutdown().await;
    assert_eq!(stage.script.read(), ["stop d", "stop c", "stop b", "stop a"]);
}

#[tokio::test(start_paused = true)]
async fn a_graceful_stop_waits_its_timeout_then_kills_and_the_cause_is_killed() {
    let script = Script::default();
    let mut root = SupervisorSpec::new("root");
    root.child(Player::new("a", &script).clinging().under(at_once())).unwrap();
    let mut stage = Stage::start(root, &script).await;
    let began = stage.runtime.now();
    stage.runtime.root().stop("a").await.unwrap();
    assert_eq!(stage.runtime.now() - began, s(3));
    assert_eq!(stage.next("actor_exited", "root/a").await.fields["cause"], "killed");
}

#[tokio::test(start_paused = true)]
async fn kill_ends_a_child_at_once_without_asking_it() {
    let at_once = ChildPolicy { shutdown: Shutdown::Kill, ..at_once() };
    let (mut stage, [a], _) = Stage::of(SupervisorPolicy::default(), at_once, ["a"]).await;
    a.cast(Cue::Hang).await.unwrap();
    settle().await;
    let began = stage.runtime.now();
    stage.runtime.root().stop("a").await.unwrap();
    assert_eq!(stage.runtime.now(), began);
    assert!(stage.script.read().is_empty(), "it was not asked to stop");
    assert_eq!(stage.next("actor_exited", "root/a").await.fields["cause"], "killed");
}

#[tokio::test(start_paused = true)]
async fn dynamic_children_stop_concurrently_under_one_timer() {
    let script = Script::default();
    let mut root = SupervisorSpec::new("root");
    let pool = root.supervisor(SupervisorSpec::dynamic("pool")).unwrap();
    let stage = Stage::start(root, &script).await;
    for name in ["a", "b", "c"] {
        pool.add(Player::new(name, &script).clinging().under(at_once())).await.unwrap();
    }
    let began = stage.runtime.now();
    stage.runtime.shutdown().await;
    assert_eq!(stage.runtime.now() - began, s(3));
    assert_eq!(script.read().iter().filter(|line| line.starts_with("stop")).count(), 3);
}

#[tokio::test(start_paused = true)]
async fn children_that_exit_by_themselves_during_shutdown_disturb_nothing() {
    let script = Script::default();
    let mut root = SupervisorSpec::new("root");
    let a = root.child(Player::new("a", &script).under(at_once())).unwrap();
    let b = root.child(Player::new("b", &script).under(at_once())).unwrap();
    root.child(Player::new("c", &script).under(at_once())).unwrap();
    root.child(Player::new("d", &script).clinging().under(at_once())).unwrap();
    let mut stage = Stage::start(root, &script).await;
    script.read();
    let exits = async {
        settle().await;
        a.cast(Cue::Panic).await.unwrap();
        b.cast(Cue::End).await.unwrap();
    };
    let (ending, ()) = tokio::join!(stage.runtime.shutdown(), exits);
    assert_eq!(ending.cause, mainstay_runtime::policy::ExitCause::Normal);
    assert_eq!(script.read(), ["stop d", "stop b", "stop c"], "b ended by itself, a had crashed");
    assert_eq!(stage.count("decision").await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_permanent_child_that_exits_normally_during_shutdown_is_recorded_as_such_and_others_are_not() {
    let script = Script::default();
    let mut root = SupervisorSpec::new("root");
    let transient = ChildPolicy { restart: RestartType::Transient, ..at_once() };
    let permanent = root.child(Player::new("permanent", &script).under(at_once())).unwrap();
    let other = root.child(Player::new("transient", &script).under(transient)).unwrap();
    root.child(Player::new("last", &script).clinging().under(at_once())).unwrap();
    let mut stage = Stage::start(root, &script).await;
    let exits = async {
        settle().await;
        permanent.cast(Cue::End).await.unwrap();
        other.cast(Cue::End).await.unwrap();
    };
    tokio::join!(stage.runtime.shutdown(), exits);
    let told = stage.until("runtime_stopped", "root").await;
    let unexpected: Vec<&str> = told
        .iter()
        .filter(|record| record.kind == "actor_exited" && record.fields.get("unexpected").is_some())
        .map(|record| record.actor.as_str())
        .collect();
    assert_eq!(unexpected, ["root/permanent"]);
}

/// A child whose handler never comes to an await point until the test lets it.
struct Mule {
    entered: SyncSender<()>,
    release: Arc<Mutex<Receiver<()>>>,
    /// Its next start never comes to an await point either.
    is_slow_to_rise: Arc<AtomicBool>,
    rested: Arc<Semaphore>,
}

enum Load {
    Carry(#[allow(dead_code, reason = "held, never answered")] Reply<()>),
    /// Carries, and ends the incarnation.
    CarryHome,
    /// Waits, at an await point, until the test lets it.
    Rest,
    Panic,
    Ask(Reply<u64>),
    /// Leaves a task behind that never yields.
    Delegate,
}

impl Message for Load {
    fn label(&self) -> &'static str {
        match self {
            Self::Carry(_) | Self::CarryHome => "Carry",
            Self::Delegate => "Delegate",
            Self::Rest => "Rest",
            Self::Panic => "Panic",
            Self::Ask(_) => "Ask",
        }
    }
}

impl Worker for Mule {
    type Message = Load;
    type State = ();
    type Snapshot = ();

    async fn start(&self, _: &mut Context<Load>, _: Option<()>) -> Result<(), Failure> {
        if self.is_slow_to_rise.swap(false, Ordering::SeqCst) {
            self.carry()?;
        }
        Ok(())
    }

    async fn handle(&self, ctx: &mut Context<Load>, load: Load, (): &mut ()) -> Result<(), Failure> {
        match load {
            Load::Carry(_reply) => self.carry()?,
            Load::CarryHome => {
                self.carry()?;
                ctx.stop();
            }
            Load::Delegate => {
                let (entered, release) = (self.entered.clone(), Arc::clone(&self.release));
                drop(ctx.spawn_maybe(async move {
                    carry(&entered, &release).ok();
                    None
                }));
            }
            Load::Rest => {
                self.entered.send(())?;
                self.rested.acquire().await?.forget();
            }
            Load::Panic => panic!("on purpose"),
            Load::Ask(reply) => reply.send(ctx.generation()),
        }
        Ok(())
    }
}

impl Mule {
    fn carry(&self) -> Result<(), Failure> {
        carry(&self.entered, &self.release)
    }
}

/// Never comes to an await point until the test says so.
fn carry(entered: &SyncSender<()>, release: &Mutex<Receiver<()>>) -> Result<(), Failure> {
    entered.send(())?;
    Ok(release.lock().unwrap().recv()?)
}

struct Stable {
    runtime: Arc<Runtime>,
    mule: mainstay_runtime::Address<Load>,
    entered: Receiver<()>,
    release: SyncSender<()>,
    is_slow_to_rise: Arc<AtomicBool>,
    rested: Arc<Semaphore>,
}

/// Real time: what blocks a thread cannot be shown on a paused clock. The times are those of the policy alone.
async fn stable(policy: ChildPolicy) -> Stable {
    let (entered_sender, entered) = sync_channel(1);
    let (release, release_receiver) = sync_channel(1);
    let (is_slow_to_rise, rested) = (Arc::<AtomicBool>::default(), Arc::new(Semaphore::new(0)));
    let mule = Mule {
        entered: entered_sender,
        release: Arc::new(Mutex::new(release_receiver)),
        is_slow_to_rise: Arc::clone(&is_slow_to_rise),
        rested: Arc::clone(&rested),
    };
    let mut root = SupervisorSpec::new("root");
    let mule = root.child(Child::new("mule", mule).policy(policy)).unwrap();
    let runtime = Arc::new(Runtime::builder().start(root).await.unwrap());
    Stable { runtime, mule, entered, release, is_slow_to_rise, rested }
}

fn stubborn() -> ChildPolicy {
    let moment = Duration::from_millis(20);
    ChildPolicy { shutdown: Shutdown::Graceful(moment), kill_timeout: moment, ..at_once() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_child_that_never_yields_cannot_hang_the_supervisor_for_ever() {
    let Stable { runtime, mule, entered, release, .. } = stable(stubborn()).await;
    let journal = runtime.journal();
    let mut story = journal.subscribe_after(journal.seq());
    let carried = tokio::task::spawn_blocking(move || entered.recv().map(|()| entered));
    let carrying = mule.call_within(s(60), Load::Carry);
    let stopping = async {
        let _entered = carried.await.unwrap().unwrap();
        runtime.root().stop("mule").await.unwrap();
        let abandoned = runtime.tree().find("root/mule").unwrap().vitals.abandoned;
        assert_eq!(abandoned, 1, "it is still at work");
        release.send(()).unwrap();
    };
    let (answer, ()) = tokio::join!(carrying, stopping);
    assert!(answer.is_err(), "{answer:?}");
    let mut told = Vec::new();
    while told.last().is_none_or(|(kind, _)| kind != "abandoned_ended") {
        let Delivery::Event(record) = story.next().await else { panic!("events are missing") };
        told.push((record.kind.clone(), record.fields));
    }
    let exited = told.iter().find(|(kind, _)| kind == "actor_exited").unwrap();
    assert_eq!((&exited.1["cause"], &exited.1["abandoned"]), (&"killed".into(), &true.into()));
    let dead_letter = told.iter().find(|(kind, _)| kind == "dead_letter").unwrap();
    assert_eq!(dead_letter.1["label"], "Carry");
    let vitals = runtime.tree().find("root/mule").unwrap().vitals.clone();
    assert_eq!((vitals.status, vitals.abandoned), (Status::Stopped, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_stuck_child_that_never_yields_stays_failed_or_is_replaced_as_its_embedder_chose() {
    for (abandoned, answer) in [(Abandoned::Fail, Err(CallError::Stopped)), (Abandoned::Replace, Ok(2))] {
        let policy = ChildPolicy { stuck_after: Some(Duration::from_millis(500)), abandoned, ..stubborn() };
        let Stable { runtime, mule, entered, release, .. } = stable(policy).await;
        let journal = runtime.journal();
        let mut story = journal.subscribe_after(journal.seq());
        let (reply, _never) = Reply::channel();
        mule.try_cast(Load::Carry(reply)).unwrap();
        let _entered = tokio::task::spawn_blocking(move || entered.recv().map(|()| entered)).await.unwrap();
        let cause = loop {
            let Delivery::Event(record) = story.next().await else { panic!("events are missing") };
            if record.kind == "actor_exited" {
                break record.fields["cause"].clone();
            }
        };
        assert_eq!(cause, "stuck");
        assert_eq!(mule.call(Load::Ask).await, answer);
        release.send(()).unwrap();
    }
}

/// One whose handler or start does not yield is replaced.
fn replaced() -> ChildPolicy {
    let stuck_after = Some(Duration::from_millis(200));
    ChildPolicy { stuck_after, abandoned: Abandoned::Replace, ..stubborn() }
}

async fn until(story: &mut Subscription, kind: &str, generation: u64) {
    loop {
        let Delivery::Event(record) = story.next().await else { panic!("events are missing") };
        if (record.kind.as_str(), record.generation) == (kind, generation) {
            return;
        }
    }
}

async fn entered(entered: Receiver<()>) -> Receiver<()> {
    tokio::task::spawn_blocking(move || entered.recv().map(|()| entered)).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_incarnation_that_was_abandoned_and_goes_on_takes_no_message_from_its_successor() {
    let policy = ChildPolicy { stuck_after: None, ..replaced() };
    let stable = stable(policy).await;
    let mut story = stable.runtime.journal().subscribe_after(0);
    stable.mule.try_cast(Load::Carry(Reply::channel().0)).unwrap();
    let heard = entered(stable.entered).await;
    stable.runtime.root().restart("mule").await.unwrap();
    stable.mule.try_cast(Load::Rest).unwrap();
    let _heard = entered(heard).await;
    let (reply, generation) = Reply::channel();
    stable.mule.try_cast(Load::Ask(reply)).unwrap();
    stable.release.send(()).unwrap();
    until(&mut story, "abandoned_ended", 1).await;
    stable.rested.add_permits(1);
    assert_eq!(generation.await, Ok(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_incarnation_that_was_abandoned_and_ends_itself_does_not_end_its_successors_reading() {
    let stable = stable(ChildPolicy { stuck_after: None, ..replaced() }).await;
    let mut story = stable.runtime.journal().subscribe_after(0);
    stable.mule.try_cast(Load::CarryHome).unwrap();
    let _heard = entered(stable.entered).await;
    stable.runtime.root().restart("mule").await.unwrap();
    stable.release.send(()).unwrap();
    until(&mut story, "abandoned_ended", 1).await;
    assert_eq!(stable.mule.call_within(s(60), Load::Ask).await, Ok(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_incarnation_that_was_abandoned_in_its_start_does_not_take_the_mailbox_when_it_is_ready_at_last() {
    let stable = stable(replaced()).await;
    let mut story = stable.runtime.journal().subscribe_after(0);
    stable.is_slow_to_rise.store(true, Ordering::SeqCst);
    stable.mule.try_cast(Load::Panic).unwrap();
    let _heard = entered(stable.entered).await;
    until(&mut story, "actor_ready", 3).await;
    assert_eq!(stable.mule.call(Load::Ask).await, Ok(3));
    stable.release.send(()).unwrap();
    until(&mut story, "abandoned_ended", 2).await;
    assert_eq!(stable.mule.call_within(s(60), Load::Ask).await, Ok(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_owned_task_that_never_yields_cannot_hang_the_supervisor_either() {
    let Stable { runtime, mule, entered: receiver, release, .. } = stable(stubborn()).await;
    let journal = runtime.journal();
    let mut story = journal.subscribe_after(journal.seq());
    mule.try_cast(Load::Delegate).unwrap();
    let _receiver = entered(receiver).await;
    runtime.root().stop("mule").await.unwrap();
    assert_eq!(runtime.tree().find("root/mule").unwrap().vitals.status, Status::Stopped);
    let exited = loop {
        let Delivery::Event(record) = story.next().await else { panic!("events are missing") };
        if record.kind == "actor_exited" {
            break record;
        }
    };
    assert_eq!((&exited.fields["cause"], &exited.fields["abandoned"]), (&"normal".into(), &true.into()));
    runtime.shutdown().await;
    release.send(()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_child_that_never_yields_stays_failed_when_its_supervisor_is_restarted_if_that_was_chosen() {
    let (entered_sender, receiver) = sync_channel(1);
    let (release, release_receiver) = sync_channel(1);
    let mule = Mule {
        entered: entered_sender,
        release: Arc::new(Mutex::new(release_receiver)),
        is_slow_to_rise: Arc::default(),
        rested: Arc::new(Semaphore::new(0)),
    };
    let script = Script::default();
    let strict = SupervisorPolicy { intensity: crate::stage::intensity(0), ..SupervisorPolicy::default() };
    let mut root = SupervisorSpec::new("root");
    let mut pool = SupervisorSpec::new("pool").policy(strict).as_child(at_once());
    let mule = pool.child(Child::new("mule", mule).policy(stubborn())).unwrap();
    let other = pool.child(Player::new("other", &script).under(at_once())).unwrap();
    root.supervisor(pool).unwrap();
    let runtime = Runtime::builder().start(root).await.unwrap();
    let (reply, _never) = Reply::channel();
    mule.try_cast(Load::Carry(reply)).unwrap();
    let _receiver = entered(receiver).await;
    let mut story = runtime.journal().subscribe_after(runtime.journal().seq());
    other.cast(Cue::Panic).await.unwrap();
    loop {
        let Delivery::Event(record) = story.next().await else { panic!("events are missing") };
        if record.kind == "actor_ready" && record.actor == "root/pool" {
            break;
        }
    }
    let tree = runtime.tree();
    let vitals = &tree.find("root/pool/mule").unwrap().vitals;
    assert_eq!((vitals.status, vitals.generation), (Status::Failed, 1));
    assert_eq!(mule.call(Load::Ask).await, Err(CallError::Stopped));
    release.send(()).unwrap();
}

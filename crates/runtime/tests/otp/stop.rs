//! Lines 6 to 12: stopping.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay_runtime::journal::Delivery;
use mainstay_runtime::policy::{Abandoned, ChildPolicy, RestartType, Shutdown, SupervisorPolicy};
use mainstay_runtime::{
    CallError, Child, Context, Failure, Message, Reply, Runtime, Status, SupervisorSpec, Worker,
};

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
    release: Mutex<Receiver<()>>,
}

enum Load {
    Carry(#[allow(dead_code, reason = "held, never answered")] Reply<()>),
    Ask(Reply<u64>),
}

impl Message for Load {
    fn label(&self) -> &'static str {
        match self {
            Self::Carry(_) => "Carry",
            Self::Ask(_) => "Ask",
        }
    }
}

impl Worker for Mule {
    type Message = Load;
    type State = ();
    type Snapshot = ();

    async fn start(&self, _: &mut Context<Load>, _: Option<()>) -> Result<(), Failure> {
        Ok(())
    }

    async fn handle(&self, ctx: &mut Context<Load>, load: Load, (): &mut ()) -> Result<(), Failure> {
        match load {
            Load::Carry(_reply) => {
                self.entered.send(())?;
                self.release.lock().unwrap().recv()?;
            }
            Load::Ask(reply) => reply.send(ctx.generation()),
        }
        Ok(())
    }
}

struct Stable {
    runtime: Arc<Runtime>,
    mule: mainstay_runtime::Address<Load>,
    entered: Receiver<()>,
    release: SyncSender<()>,
}

/// Real time: what blocks a thread cannot be shown on a paused clock. The times are those of the policy alone.
async fn stable(policy: ChildPolicy) -> Stable {
    let (entered_sender, entered) = sync_channel(1);
    let (release, release_receiver) = sync_channel(1);
    let mule = Mule { entered: entered_sender, release: Mutex::new(release_receiver) };
    let mut root = SupervisorSpec::new("root");
    let mule = root.child(Child::new("mule", mule).policy(policy)).unwrap();
    let runtime = Arc::new(Runtime::builder().start(root).await.unwrap());
    Stable { runtime, mule, entered, release }
}

fn stubborn() -> ChildPolicy {
    let moment = Duration::from_millis(20);
    ChildPolicy { shutdown: Shutdown::Graceful(moment), kill_timeout: moment, ..at_once() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_child_that_never_yields_cannot_hang_the_supervisor_for_ever() {
    let Stable { runtime, mule, entered, release } = stable(stubborn()).await;
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
        let policy = ChildPolicy { stuck_after: Some(Duration::from_millis(20)), abandoned, ..stubborn() };
        let Stable { runtime, mule, entered, release } = stable(policy).await;
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

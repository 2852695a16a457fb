//! Tests the outcomes of a message whose handler did not return.

use std::collections::VecDeque;
use std::sync::Arc;

use mainstay_runtime::journal::Record;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::*;

/// The behaviours of a handler.
#[derive(Clone, Copy)]
enum InjectedFault {
    None,
    Panic,
    Error,
    /// Never returns.
    Hang,
    /// Answers, and then panics.
    AnswerThenPanic,
}

use InjectedFault::{AnswerThenPanic, Error, Hang, Panic};

#[derive(Debug)]
enum WorkRequest {
    /// Is redelivered after a crash.
    Redeliverable(u64, Reply<u64>),
    /// Is redelivered, and is poison only after three crashes.
    ThreeAttempts(u64, Reply<u64>),
    /// Is never redelivered.
    Once(u64, Reply<u64>),
    Ignore(#[allow(dead_code, reason = "held, never answered")] Reply<u64>),
    /// Answers from an owned task, after a while.
    AnswerFromTask(Reply<u64>),
    AbortTask,
    Done(Reply<Vec<u64>>),
}

impl Message for WorkRequest {
    fn redelivery_clone(&mut self) -> Option<Self> {
        match self {
            Self::Redeliverable(id, reply) => Some(Self::Redeliverable(*id, reply.share())),
            Self::ThreeAttempts(id, reply) => Some(Self::ThreeAttempts(*id, reply.share())),
            _ => None,
        }
    }

    fn delivery_crashes_max(&self) -> u32 {
        if matches!(self, Self::ThreeAttempts(..)) { 3 } else { 2 }
    }
}

/// Handles tasks, and follows its list of behaviours, one a task.
#[derive(Clone)]
struct FlakyWorker {
    faults: Arc<Mutex<VecDeque<InjectedFault>>>,
    entered: Arc<Semaphore>,
}

impl FlakyWorker {
    fn new(faults: impl IntoIterator<Item = InjectedFault>) -> Self {
        let faults = Arc::new(Mutex::new(faults.into_iter().collect()));
        Self { faults, entered: Arc::new(Semaphore::new(0)) }
    }

    /// Waits until a handler hangs.
    async fn wait_hanging(&self) {
        self.entered.acquire().await.unwrap().forget();
    }
}

#[derive(Default)]
struct FlakyWorkerState {
    done: Vec<u64>,
    task: Option<mainstay_runtime::TaskHandle>,
}

impl Worker for FlakyWorker {
    type Message = WorkRequest;
    type State = FlakyWorkerState;
    type Snapshot = Vec<u64>;

    async fn start(
        &self,
        _: &mut Context<WorkRequest>,
        kept: Option<Vec<u64>>,
    ) -> Result<FlakyWorkerState, Failure> {
        Ok(FlakyWorkerState { done: kept.unwrap_or_default(), task: None })
    }

    async fn handle(
        &self,
        ctx: &mut Context<WorkRequest>,
        task: WorkRequest,
        state: &mut FlakyWorkerState,
    ) -> Result<(), Failure> {
        match task {
            WorkRequest::Redeliverable(id, reply)
            | WorkRequest::ThreeAttempts(id, reply)
            | WorkRequest::Once(id, reply) => {
                let fault = self.faults.lock().pop_front().unwrap_or(InjectedFault::None);
                match fault {
                    InjectedFault::None => reply.send(id),
                    Panic => panic!("on purpose"),
                    Error => return Err("on purpose".into()),
                    Hang => {
                        self.entered.add_permits(1);
                        std::future::pending().await
                    }
                    AnswerThenPanic => {
                        reply.send(id + 100);
                        panic!("too late")
                    }
                }
                state.done.push(id);
            }
            WorkRequest::Ignore(reply) => drop(reply),
            WorkRequest::AnswerFromTask(reply) => {
                state.task = Some(ctx.spawn_maybe(async move {
                    tokio::time::sleep(s(3600)).await;
                    reply.send(0);
                    None
                }));
            }
            WorkRequest::AbortTask => state.task.take().unwrap().abort(),
            WorkRequest::Done(reply) => reply.send(state.done.clone()),
        }
        Ok(())
    }

    fn snapshot(&self, state: &FlakyWorkerState) -> Option<Vec<u64>> {
        Some(state.done.clone())
    }
}

async fn start_worker(worker: &FlakyWorker, policy: ChildPolicy) -> (Runtime, Address<WorkRequest>) {
    start_child(Child::new("worker", worker.clone()).policy(policy)).await
}

/// Sends a message that is redelivered.
async fn work(worker: &Address<WorkRequest>, id: u64) -> Result<u64, CallError> {
    worker.call(|reply| WorkRequest::Redeliverable(id, reply)).await
}

async fn done(worker: &Address<WorkRequest>) -> Vec<u64> {
    worker.call(WorkRequest::Done).await.unwrap()
}

/// Returns reason and label, and the crashes where they are recorded.
fn dead_letters(records: &[Record]) -> Vec<(String, String, Option<u64>)> {
    let dead_letters = records.iter().filter(|record| record.kind == "dead_letter");
    let text = |record: &Record, field: &str| record.fields[field].as_str().unwrap().to_owned();
    dead_letters
        .map(|record| {
            let crashes = record.fields.get("crashes").and_then(serde_json::Value::as_u64);
            (text(record, "reason"), text(record, "label"), crashes)
        })
        .collect()
}

fn dead_letter(reason: &str, label: &str) -> (String, String, Option<u64>) {
    (reason.to_owned(), label.to_owned(), None)
}

/// A command that comes while a handler hangs.
#[derive(Clone, Copy)]
enum Command {
    Restart,
    Stop,
    Remove,
}

/// One message, the faults of its handlers, and its only outcome.
struct Scene {
    name: &'static str,
    faults: Vec<InjectedFault>,
    policy: ChildPolicy,
    deadline: Duration,
    request: fn(u64, Reply<u64>) -> WorkRequest,
    /// One for each handler that hangs.
    commands: Vec<Command>,
    answer: Result<u64, CallError>,
    lost: Option<(String, String, Option<u64>)>,
    /// The crashes that each redelivery records.
    redelivered: Vec<u64>,
    /// False if no worker is left in the end.
    ends_running: bool,
}

fn scene(
    name: &'static str,
    faults: impl Into<Vec<InjectedFault>>,
    request: fn(u64, Reply<u64>) -> WorkRequest,
    answer: Result<u64, CallError>,
) -> Scene {
    Scene {
        name,
        faults: faults.into(),
        policy: ChildPolicy { budget: None, ..immediate_policy() },
        deadline: s(60),
        request,
        commands: Vec::new(),
        answer,
        lost: None,
        redelivered: Vec::new(),
        ends_running: true,
    }
}

impl Scene {
    async fn check(self) {
        let name = self.name;
        let worker = FlakyWorker::new(self.faults);
        let (runtime, address) = start_worker(&worker, self.policy).await;
        let root = runtime.root();
        let commands = async {
            for command in self.commands {
                worker.wait_hanging().await;
                match command {
                    Command::Restart => root.restart("worker").await.unwrap(),
                    Command::Stop => root.stop("worker").await.unwrap(),
                    Command::Remove => root.remove("worker").await.unwrap(),
                }
            }
        };
        let call = address.call_within(self.deadline, |reply| (self.request)(1, reply));
        assert_eq!(tokio::join!(call, commands).0, self.answer, "{name}");
        if self.ends_running {
            assert_eq!(done(&address).await, if self.answer.is_ok() { vec![1] } else { vec![] }, "{name}");
        }
        let records = all_records(&runtime).await;
        assert_eq!(dead_letters(&records), Vec::from_iter(self.lost), "{name}");
        assert_eq!(redelivered_crashes(&records), self.redelivered, "{name}");
    }
}

/// Returns the number of crashes that each redelivery records.
fn redelivered_crashes(records: &[Record]) -> Vec<u64> {
    let redelivered = records.iter().filter(|record| record.kind == "redelivered");
    redelivered.map(|record| record.fields["crashes"].as_u64().unwrap()).collect()
}

/// Returns everything that the journal holds at the end of the runtime.
async fn all_records(runtime: &Runtime) -> Vec<Record> {
    let mut events = JournalFollower::from_start(runtime);
    runtime.shutdown().await;
    events.read_until("runtime_stopped").await
}

#[tokio::test(start_paused = true)]
async fn message_has_one_outcome_whatever_its_handler_does() {
    use WorkRequest::{Once, Redeliverable, ThreeAttempts};
    let (crashed, stopped) = (Err(CallError::Crashed), Err(CallError::Stopped));
    let temporary = ChildPolicy { restart: RestartType::Temporary, ..immediate_policy() };
    let stops = |name, faults, command| Scene {
        commands: Vec::from_iter(command),
        lost: Some(dead_letter("stopped", "Redeliverable")),
        ends_running: false,
        ..scene(name, [faults], Redeliverable, stopped)
    };
    let once = |name, fault| Scene {
        lost: Some(dead_letter("crashed", "Once")),
        ..scene(name, [fault], Once, crashed)
    };
    let poison = |label: &str, crashes| Some(("poison".to_owned(), label.to_owned(), Some(crashes)));
    for scene in [
        Scene { redelivered: vec![1], ..scene("a panic", [Panic], Redeliverable, Ok(1)) },
        Scene { redelivered: vec![1], ..scene("an error", [Error], Redeliverable, Ok(1)) },
        Scene { redelivered: vec![1], ..scene("answer, panic", [AnswerThenPanic], Redeliverable, Ok(101)) },
        Scene { redelivered: vec![1, 2], ..scene("two of three attempts", [Panic; 2], ThreeAttempts, Ok(1)) },
        Scene {
            redelivered: vec![1, 2],
            lost: poison("ThreeAttempts", 3),
            ..scene("three attempts", [Panic; 3], ThreeAttempts, crashed)
        },
        Scene {
            redelivered: vec![1],
            lost: poison("Redeliverable", 2),
            ..scene("two attempts", [Panic, Error], Redeliverable, crashed)
        },
        once("panic, once", Panic),
        once("error, once", Error),
        Scene {
            commands: vec![Command::Restart; 3],
            redelivered: vec![0; 3],
            ..scene("a restart is no crash", [Hang; 3], Redeliverable, Ok(1))
        },
        Scene {
            commands: vec![Command::Restart],
            lost: Some(dead_letter("stopped", "Once")),
            ..scene("restart, once", [Hang], Once, stopped)
        },
        stops("stop", Hang, Some(Command::Stop)),
        stops("removal", Hang, Some(Command::Remove)),
        Scene { policy: temporary, ..stops("temporary worker", Panic, None) },
        Scene {
            policy: delayed_policy(),
            deadline: s(2),
            lost: Some(dead_letter("expired", "Redeliverable")),
            ..scene("past the deadline", [Panic], Redeliverable, Err(CallError::TimedOut))
        },
    ] {
        scene.check().await;
    }
}

#[tokio::test(start_paused = true)]
async fn redelivery_is_recorded_with_label_and_crashes() {
    let worker = FlakyWorker::new([Panic]);
    let (runtime, address) = start_worker(&worker, delayed_policy()).await;
    let mut events = JournalFollower::from_now(&runtime);
    assert_eq!(address.call(|reply| WorkRequest::ThreeAttempts(7, reply)).await, Ok(7));
    let records = events.read_until("redelivered").await;
    let kinds: Vec<&str> = records.iter().map(|record| record.kind.as_str()).collect();
    assert_eq!(
        kinds,
        ["actor_exited", "decision", "actor_started", "actor_ready", "actor_restarted", "redelivered"]
    );
    let redelivered = records.last().unwrap();
    assert_eq!(redelivered.generation, 2);
    assert_eq!(
        serde_json::to_value(&redelivered.fields).unwrap(),
        serde_json::json!({"label": "ThreeAttempts", "crashes": 1, "crashes_max": 3})
    );
    assert_eq!(records[4].fields["backlog"], 1);
}

#[tokio::test(start_paused = true)]
async fn redelivery_comes_first_and_keeps_order() {
    let worker = FlakyWorker::new([Panic]);
    let (_runtime, address) = start_worker(&worker, delayed_policy()).await;
    let sent_in_the_delay = async {
        advance(s(1)).await;
        work(&address, 3).await
    };
    let second = address.call(|reply| WorkRequest::Once(2, reply));
    assert_eq!(tokio::join!(work(&address, 1), second, sent_in_the_delay), (Ok(1), Ok(2), Ok(3)));
    assert_eq!(done(&address).await, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn redelivery_fits_into_a_full_mailbox() {
    let worker = FlakyWorker::new([Hang]);
    let child = Child::new("worker", worker.clone()).mailbox_capacity(1).policy(immediate_policy());
    let (runtime, address) = start_child(child).await;
    let filling = async {
        worker.wait_hanging().await;
        let (reply, second) = Reply::channel();
        address.try_cast(WorkRequest::Redeliverable(2, reply)).unwrap();
        let refused = address.try_cast(WorkRequest::Ignore(Reply::channel().0)).unwrap_err();
        assert_eq!(refused.kind, SendErrorKind::Full);
        runtime.root().restart("worker").await.unwrap();
        second.await
    };
    assert_eq!(tokio::join!(work(&address, 1), filling), (Ok(1), Ok(2)));
    assert_eq!(done(&address).await, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn checkpoint_is_kept_when_one_message_crashes() {
    let worker = FlakyWorker::new([InjectedFault::None, Panic, Panic, Panic]);
    let policy = ChildPolicy { budget: None, checkpoint_crashes_max: 2, ..immediate_policy() };
    let (runtime, address) = start_worker(&worker, policy).await;
    assert_eq!(work(&address, 1).await, Ok(1));
    assert_eq!(address.call(|reply| WorkRequest::ThreeAttempts(2, reply)).await, Err(CallError::Crashed));
    assert_eq!(done(&address).await, [1]);
    assert!(all_records(&runtime).await.iter().all(|record| record.kind != "checkpoint_discarded"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redelivery_answers_every_caller_on_many_threads() {
    let worker =
        FlakyWorker::new((0..1000).map(|task| if task % 2 == 0 { Panic } else { InjectedFault::None }));
    let (runtime, address) = start_worker(&worker, ChildPolicy { budget: None, ..immediate_policy() }).await;
    let calls = (0..500).map(|id| {
        let address = address.clone();
        async move { work(&address, id).await }
    });
    let callers: tokio::task::JoinSet<_> = calls.collect();
    let mut answers = callers.join_all().await;
    answers.sort_by_key(|answer| *answer.as_ref().unwrap());
    assert_eq!(answers, (0..500).map(Ok).collect::<Vec<_>>());
    assert_eq!(done(&address).await.len(), 500);
    assert_eq!(dead_letters(&all_records(&runtime).await), []);
}

// === those that end with their supervisor ===

/// A pool that is killed when it is to stop, and its worker.
async fn pool_of(worker: &FlakyWorker) -> (Runtime, Address<WorkRequest>) {
    let mut root = SupervisorSpec::new("root");
    let at_once = ChildPolicy { shutdown: Shutdown::Kill, ..immediate_policy() };
    let mut pool = SupervisorSpec::new("pool").as_child(at_once);
    let stubborn =
        ChildPolicy { shutdown: Shutdown::Graceful(s(60)), delay: Delay::NONE, ..immediate_policy() };
    let address = pool.child(Child::new("worker", worker.clone()).policy(stubborn)).unwrap();
    root.supervisor(pool).unwrap();
    (Runtime::builder().start(root).await.unwrap(), address)
}

fn exits(records: &[Record]) -> Vec<&str> {
    records
        .iter()
        .filter(|record| record.kind == "actor_exited")
        .map(|record| record.actor.as_str())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn supervisor_kill_records_messages_in_flight() {
    for (opted_in, label) in [(false, "Once"), (true, "Redeliverable")] {
        let worker = FlakyWorker::new([Hang]);
        let (runtime, address) = pool_of(&worker).await;
        let stopping = async {
            worker.wait_hanging().await;
            runtime.root().stop("pool").await.unwrap();
        };
        let call = address.call(|reply| {
            if opted_in { WorkRequest::Redeliverable(1, reply) } else { WorkRequest::Once(1, reply) }
        });
        let waiting = address.call(WorkRequest::Done);
        let stopped = (Err(CallError::Stopped), Err(CallError::Stopped), ());
        assert_eq!(tokio::join!(call, waiting, stopping), stopped);
        assert_eq!(address.try_cast(WorkRequest::AbortTask).unwrap_err().kind, SendErrorKind::Stopped);
        assert_eq!(runtime.tree().find("root/pool/worker").unwrap().info.status, ActorStatus::Stopped);
        let records = all_records(&runtime).await;
        assert_eq!(dead_letters(&records), [dead_letter("stopped", label), dead_letter("stopped", "Done")]);
        assert_eq!(exits(&records), ["root/pool", "root/pool/worker", "root"]);
    }
}

#[tokio::test(start_paused = true)]
async fn supervisor_kill_redelivers_after_its_restart() {
    let worker = FlakyWorker::new([Hang]);
    let (runtime, address) = pool_of(&worker).await;
    let restarting = async {
        worker.wait_hanging().await;
        runtime.root().restart("pool").await.unwrap();
    };
    assert_eq!(tokio::join!(work(&address, 1), restarting).0, Ok(1));
    let records = all_records(&runtime).await;
    assert_eq!(dead_letters(&records), []);
    assert_eq!(exits(&records)[..2], ["root/pool", "root/pool/worker"]);
}

#[tokio::test(start_paused = true)]
async fn root_kill_records_in_flight_before_runtime_stopped() {
    let worker = FlakyWorker::new([Hang]);
    let mut root = SupervisorSpec::new("root").as_child(immediate_policy());
    let stubborn = ChildPolicy { shutdown: Shutdown::Graceful(s(60)), ..immediate_policy() };
    let address = root.child(Child::new("worker", worker.clone()).policy(stubborn)).unwrap();
    let runtime = Runtime::builder().start(root).await.unwrap();
    let shutting_down = async {
        worker.wait_hanging().await;
        all_records(&runtime).await
    };
    let (answer, records) = tokio::join!(address.call(|reply| WorkRequest::Once(1, reply)), shutting_down);
    assert_eq!(answer, Err(CallError::Stopped));
    assert_eq!(dead_letters(&records), [dead_letter("stopped", "Once")]);
}

#[tokio::test(start_paused = true)]
async fn runtime_drop_records_messages_in_flight() {
    let worker = FlakyWorker::new([Hang]);
    let (runtime, address) = start_worker(&worker, immediate_policy()).await;
    let mut events = JournalFollower::from_now(&runtime);
    let dropping = async {
        worker.wait_hanging().await;
        drop(runtime);
    };
    let calls = (work(&address, 1), address.call(|reply| WorkRequest::Once(2, reply)));
    let answers = tokio::join!(calls.0, calls.1, dropping);
    assert_eq!((answers.0, answers.1), (Err(CallError::Stopped), Err(CallError::Stopped)));
    let refused = address.try_cast(WorkRequest::AbortTask).unwrap_err();
    assert_eq!(refused.kind, SendErrorKind::Stopped);
    let mut records = events.read_until("dead_letter").await;
    records.extend(events.read_until("dead_letter").await);
    assert_eq!(
        dead_letters(&records),
        [dead_letter("stopped", "Once"), dead_letter("stopped", "Redeliverable")]
    );
}

// === dropped replies ===

#[tokio::test(start_paused = true)]
async fn reply_in_task_tells_stop_from_abort() {
    let worker = FlakyWorker::new([]);
    let (runtime, address) = start_worker(&worker, immediate_policy()).await;
    let ending = async { address.cast(WorkRequest::AbortTask).await.unwrap() };
    assert_eq!(tokio::join!(address.call(WorkRequest::AnswerFromTask), ending).0, Err(CallError::NoReply));
    let stopping = async {
        // A message that is handled once all earlier ones are.
        done(&address).await;
        runtime.root().stop("worker").await.unwrap();
    };
    assert_eq!(tokio::join!(address.call(WorkRequest::AnswerFromTask), stopping).0, Err(CallError::Stopped));
}

#[tokio::test(start_paused = true)]
async fn call_within_beyond_clock_range_waits_without_limit() {
    let (_runtime, address) = start_worker(&FlakyWorker::new([]), immediate_policy()).await;
    assert_eq!(address.call_within(Duration::MAX, |reply| WorkRequest::Redeliverable(1, reply)).await, Ok(1));
    assert_eq!(address.call(WorkRequest::Ignore).await, Err(CallError::NoReply));
}

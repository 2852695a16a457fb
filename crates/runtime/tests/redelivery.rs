//! Tests the outcomes of a message whose handler did not return.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use mainstay_runtime::journal::Record;
use mainstay_runtime::policy::{ChildPolicy, Delay, RestartType, Shutdown};
use mainstay_runtime::{
    Address, CallError, Child, Context, Failure, Message, Reply, Runtime, SendErrorKind, SupervisorSpec,
    Worker,
};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::probe::{JournalFollower, advance, delayed_policy, immediate_policy};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

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
    fn label(&self) -> &'static str {
        match self {
            Self::Redeliverable(..) => "Do",
            Self::ThreeAttempts(..) => "Insist",
            Self::Once(..) => "Once",
            _ => "Other",
        }
    }

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
    fn new(mishaps: impl IntoIterator<Item = InjectedFault>) -> Self {
        let mishaps = Arc::new(Mutex::new(mishaps.into_iter().collect()));
        Self { faults: mishaps, entered: Arc::new(Semaphore::new(0)) }
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
                let mishap = self.faults.lock().pop_front().unwrap_or(InjectedFault::None);
                match mishap {
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

async fn start_tree(worker: &FlakyWorker, policy: ChildPolicy) -> (Runtime, Address<WorkRequest>) {
    let mut root = SupervisorSpec::new("root");
    let address = root.child(Child::new("worker", worker.clone()).policy(policy)).unwrap();
    (Runtime::builder().seed(1).start(root).await.unwrap(), address)
}

async fn done(worker: &Address<WorkRequest>) -> Vec<u64> {
    worker.call(WorkRequest::Done).await.unwrap()
}

/// Returns reason and label, and the crashes where they are recorded.
fn dead_letters(records: &[Record]) -> Vec<(String, String, Option<u64>)> {
    let dead_letters = records.iter().filter(|record| record.kind == "dead_letter");
    let text = |record: &Record, field: &str| record.fields[field].as_str().unwrap().to_owned();
    dead_letters
        .map(|letter| {
            let crashes = letter.fields.get("crashes").and_then(serde_json::Value::as_u64);
            (text(letter, "reason"), text(letter, "label"), crashes)
        })
        .collect()
}

fn dead_letter(reason: &str, label: &str) -> (String, String, Option<u64>) {
    (reason.to_owned(), label.to_owned(), None)
}

/// Returns everything that the journal holds at the end of the runtime.
async fn all_records(runtime: &Runtime) -> Vec<Record> {
    let mut events = JournalFollower::from_start(runtime);
    runtime.shutdown().await;
    events.read_until("runtime_stopped").await
}

#[tokio::test(start_paused = true)]
async fn redelivery_after_crash_is_invisible_to_the_caller() {
    for mishap in [Panic, Error] {
        let worker = FlakyWorker::new([mishap]);
        let (runtime, address) = start_tree(&worker, immediate_policy()).await;
        assert_eq!(address.call(|reply| WorkRequest::Redeliverable(7, reply)).await, Ok(7));
        assert_eq!(done(&address).await, [7]);
        assert_eq!(dead_letters(&all_records(&runtime).await), []);
    }
}

#[tokio::test(start_paused = true)]
async fn redelivery_is_recorded_with_label_and_crashes() {
    let worker = FlakyWorker::new([Panic]);
    let (runtime, address) = start_tree(&worker, delayed_policy()).await;
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
        serde_json::json!({"label": "Insist", "crashes": 1, "crashes_max": 3})
    );
    assert_eq!(records[4].fields["backlog"], 1);
}

#[tokio::test(start_paused = true)]
async fn redelivery_comes_first_and_keeps_order() {
    let worker = FlakyWorker::new([Panic]);
    let (_runtime, address) = start_tree(&worker, immediate_policy()).await;
    let answers = tokio::join!(
        address.call(|reply| WorkRequest::Redeliverable(1, reply)),
        address.call(|reply| WorkRequest::Once(2, reply)),
        address.call(|reply| WorkRequest::Redeliverable(3, reply)),
    );
    assert_eq!(answers, (Ok(1), Ok(2), Ok(3)));
    assert_eq!(done(&address).await, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn redelivery_fits_into_a_full_mailbox() {
    let worker = FlakyWorker::new([Hang]);
    let mut root = SupervisorSpec::new("root");
    let child = Child::new("worker", worker.clone()).mailbox_capacity(1).policy(immediate_policy());
    let address = root.child(child).unwrap();
    let runtime = Runtime::builder().start(root).await.unwrap();
    let filling = async {
        worker.wait_hanging().await;
        let (reply, second) = Reply::channel();
        address.try_cast(WorkRequest::Redeliverable(2, reply)).unwrap();
        let refused = address.try_cast(WorkRequest::Ignore(Reply::channel().0)).unwrap_err();
        assert_eq!(refused.kind, SendErrorKind::Full);
        runtime.root().restart("worker").await.unwrap();
        second.await
    };
    assert_eq!(
        tokio::join!(address.call(|reply| WorkRequest::Redeliverable(1, reply)), filling),
        (Ok(1), Ok(2))
    );
    assert_eq!(done(&address).await, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn redelivery_past_limit_is_poison() {
    let worker = FlakyWorker::new([Panic, Error]);
    let (runtime, address) = start_tree(&worker, immediate_policy()).await;
    let answers = tokio::join!(
        address.call(|reply| WorkRequest::Redeliverable(1, reply)),
        address.call(|reply| WorkRequest::Redeliverable(2, reply))
    );
    assert_eq!(answers, (Err(CallError::Crashed), Ok(2)));
    assert_eq!(done(&address).await, [2]);
    let records = all_records(&runtime).await;
    assert_eq!(dead_letters(&records), [("poison".to_owned(), "Do".to_owned(), Some(2))]);
}

#[tokio::test(start_paused = true)]
async fn poison_limit_is_set_by_the_message_type() {
    for (mishaps, expected) in [(vec![Panic; 2], Ok(1)), (vec![Panic; 3], Err(CallError::Crashed))] {
        let worker = FlakyWorker::new(mishaps);
        let (_runtime, address) =
            start_tree(&worker, ChildPolicy { budget: None, ..immediate_policy() }).await;
        assert_eq!(address.call(|reply| WorkRequest::ThreeAttempts(1, reply)).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn message_without_redelivery_is_handled_once() {
    for mishap in [Panic, Error] {
        let worker = FlakyWorker::new([mishap]);
        let (runtime, address) = start_tree(&worker, immediate_policy()).await;
        assert_eq!(address.call(|reply| WorkRequest::Once(1, reply)).await, Err(CallError::Crashed));
        assert_eq!(done(&address).await, [0; 0]);
        assert_eq!(dead_letters(&all_records(&runtime).await), [dead_letter("crashed", "Once")]);
    }
}

#[tokio::test(start_paused = true)]
async fn reply_before_crash_counts_over_redelivery() {
    let worker = FlakyWorker::new([AnswerThenPanic]);
    let (_runtime, address) = start_tree(&worker, immediate_policy()).await;
    assert_eq!(address.call(|reply| WorkRequest::Redeliverable(1, reply)).await, Ok(101));
    assert_eq!(done(&address).await, [1]);
}

#[tokio::test(start_paused = true)]
async fn restart_kill_is_no_crash_of_the_message() {
    let worker = FlakyWorker::new([Hang, Hang, Hang]);
    let (runtime, address) = start_tree(&worker, immediate_policy()).await;
    let restarting = async {
        for _ in 0..3 {
            worker.wait_hanging().await;
            runtime.root().restart("worker").await.unwrap();
        }
    };
    assert_eq!(tokio::join!(address.call(|reply| WorkRequest::Redeliverable(1, reply)), restarting).0, Ok(1));
    let records = all_records(&runtime).await;
    let crashes: Vec<_> = records
        .iter()
        .filter(|record| record.kind == "redelivered")
        .map(|r| r.fields["crashes"].clone())
        .collect();
    assert_eq!((crashes, dead_letters(&records)), (vec![0.into(); 3], vec![]));
}

#[tokio::test(start_paused = true)]
async fn restart_kill_answers_stopped_without_redelivery() {
    let worker = FlakyWorker::new([Hang]);
    let (runtime, address) = start_tree(&worker, immediate_policy()).await;
    let restarting = async {
        worker.wait_hanging().await;
        runtime.root().restart("worker").await.unwrap();
    };
    let answer = tokio::join!(address.call(|reply| WorkRequest::Once(1, reply)), restarting).0;
    assert_eq!(answer, Err(CallError::Stopped));
    assert_eq!(dead_letters(&all_records(&runtime).await), [dead_letter("stopped", "Once")]);
}

#[tokio::test(start_paused = true)]
async fn stop_before_redelivery_makes_a_dead_letter() {
    for removes in [false, true] {
        let worker = FlakyWorker::new([Hang]);
        let (runtime, address) = start_tree(&worker, immediate_policy()).await;
        let stopping = async {
            worker.wait_hanging().await;
            if removes {
                runtime.root().remove("worker").await.unwrap();
            } else {
                runtime.root().stop("worker").await.unwrap();
            }
        };
        let answer = tokio::join!(address.call(|reply| WorkRequest::Redeliverable(1, reply)), stopping).0;
        assert_eq!(answer, Err(CallError::Stopped));
        assert_eq!(dead_letters(&all_records(&runtime).await), [dead_letter("stopped", "Do")]);
    }
}

#[tokio::test(start_paused = true)]
async fn failed_actor_makes_its_redelivery_a_dead_letter() {
    let worker = FlakyWorker::new([Panic]);
    let temporary = ChildPolicy { restart: RestartType::Temporary, ..immediate_policy() };
    let (runtime, address) = start_tree(&worker, temporary).await;
    assert_eq!(address.call(|reply| WorkRequest::Redeliverable(1, reply)).await, Err(CallError::Stopped));
    assert_eq!(dead_letters(&all_records(&runtime).await), [dead_letter("stopped", "Do")]);
}

#[tokio::test(start_paused = true)]
async fn redelivery_keeps_the_deadline() {
    let worker = FlakyWorker::new([Panic]);
    let (runtime, address) = start_tree(&worker, delayed_policy()).await;
    let answer = address.call_within(s(2), |reply| WorkRequest::Redeliverable(1, reply)).await;
    assert_eq!(answer, Err(CallError::TimedOut));
    assert_eq!(done(&address).await, [0; 0]);
    assert_eq!(dead_letters(&all_records(&runtime).await), [dead_letter("expired", "Do")]);
}

#[tokio::test(start_paused = true)]
async fn checkpoint_is_kept_when_one_message_crashes() {
    let worker = FlakyWorker::new([InjectedFault::None, Panic, Panic, Panic]);
    let policy = ChildPolicy { budget: None, checkpoint_crashes_max: 2, ..immediate_policy() };
    let (runtime, address) = start_tree(&worker, policy).await;
    assert_eq!(address.call(|reply| WorkRequest::Redeliverable(1, reply)).await, Ok(1));
    assert_eq!(address.call(|reply| WorkRequest::ThreeAttempts(2, reply)).await, Err(CallError::Crashed));
    assert_eq!(done(&address).await, [1]);
    assert!(all_records(&runtime).await.iter().all(|record| record.kind != "checkpoint_discarded"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redelivery_answers_every_caller_on_many_threads() {
    let worker =
        FlakyWorker::new((0..1000).map(|task| if task % 2 == 0 { Panic } else { InjectedFault::None }));
    let (runtime, address) = start_tree(&worker, ChildPolicy { budget: None, ..immediate_policy() }).await;
    let calls = (0..500).map(|id| {
        let address = address.clone();
        async move { address.call(|reply| WorkRequest::Redeliverable(id, reply)).await }
    });
    let callers: tokio::task::JoinSet<_> = calls.collect();
    let mut answers = callers.join_all().await;
    answers.sort_by_key(|answer| *answer.as_ref().unwrap());
    assert_eq!(answers, (0..500).map(Ok).collect::<Vec<_>>());
    assert_eq!(done(&address).await.len(), 500);
    assert_eq!(dead_letters(&all_records(&runtime).await), []);
}

// === those that end with their supervisor ===

/// A pool whose worker takes longer to stop than the pool may take.
async fn pool_of(worker: &FlakyWorker) -> (Runtime, Address<WorkRequest>) {
    let mut root = SupervisorSpec::new("root");
    let mut pool = SupervisorSpec::new("pool").as_child(immediate_policy());
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
    for (opted_in, label) in [(false, "Once"), (true, "Do")] {
        let worker = FlakyWorker::new([Hang]);
        let (runtime, address) = pool_of(&worker).await;
        let stopping = async {
            worker.wait_hanging().await;
            runtime.root().stop("pool").await.unwrap();
        };
        let call = address.call(|reply| {
            if opted_in { WorkRequest::Redeliverable(1, reply) } else { WorkRequest::Once(1, reply) }
        });
        assert_eq!(tokio::join!(call, stopping).0, Err(CallError::Stopped));
        let records = all_records(&runtime).await;
        assert_eq!(dead_letters(&records), [dead_letter("stopped", label)]);
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
    assert_eq!(tokio::join!(address.call(|reply| WorkRequest::Redeliverable(1, reply)), restarting).0, Ok(1));
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
    let (runtime, address) = start_tree(&worker, immediate_policy()).await;
    let mut events = JournalFollower::from_now(&runtime);
    let dropping = async {
        worker.wait_hanging().await;
        drop(runtime);
    };
    let calls = (
        address.call(|reply| WorkRequest::Redeliverable(1, reply)),
        address.call(|reply| WorkRequest::Once(2, reply)),
    );
    let answers = tokio::join!(calls.0, calls.1, dropping);
    assert_eq!((answers.0, answers.1), (Err(CallError::Stopped), Err(CallError::Stopped)));
    let mut records = events.read_until("dead_letter").await;
    records.extend(events.read_until("dead_letter").await);
    assert_eq!(dead_letters(&records), [dead_letter("stopped", "Once"), dead_letter("stopped", "Do")]);
}

#[tokio::test(start_paused = true)]
async fn tree_never_started_answers_callers_when_dropped() {
    let mut root = SupervisorSpec::new("root");
    let address = root.child(Child::new("worker", FlakyWorker::new([]))).unwrap();
    let mut call = Box::pin(address.call(|reply| WorkRequest::Redeliverable(1, reply)));
    assert!(futures_util::poll!(&mut call).is_pending());
    drop(root);
    assert_eq!(call.await, Err(CallError::Stopped));
}

// === dropped replies ===

#[tokio::test(start_paused = true)]
async fn reply_in_task_tells_stop_from_abort() {
    let worker = FlakyWorker::new([]);
    let (runtime, address) = start_tree(&worker, immediate_policy()).await;
    let ending = async { address.cast(WorkRequest::AbortTask).await.unwrap() };
    assert_eq!(tokio::join!(address.call(WorkRequest::AnswerFromTask), ending).0, Err(CallError::Unanswered));
    let stopping = async {
        // A message that is handled once all earlier ones are.
        done(&address).await;
        runtime.root().stop("worker").await.unwrap();
    };
    assert_eq!(tokio::join!(address.call(WorkRequest::AnswerFromTask), stopping).0, Err(CallError::Stopped));
}

#[tokio::test(start_paused = true)]
async fn call_within_beyond_clock_range_waits_without_limit() {
    let (_runtime, address) = start_tree(&FlakyWorker::new([]), immediate_policy()).await;
    assert_eq!(address.call_within(Duration::MAX, |reply| WorkRequest::Redeliverable(1, reply)).await, Ok(1));
    assert_eq!(address.call(WorkRequest::Ignore).await, Err(CallError::Unanswered));
}

#[tokio::test(start_paused = true)]
async fn redelivery_after_delay_comes_first() {
    let worker = FlakyWorker::new([Panic]);
    let (_runtime, address) = start_tree(&worker, delayed_policy()).await;
    let late = async {
        advance(s(1)).await;
        address.call(|reply| WorkRequest::Redeliverable(2, reply)).await
    };
    assert_eq!(
        tokio::join!(address.call(|reply| WorkRequest::Redeliverable(1, reply)), late),
        (Ok(1), Ok(2))
    );
    assert_eq!(done(&address).await, [1, 2]);
}

//! Living a trace: the tree comes up, letters and orders go their way, and it all ends.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use futures_util::poll;
use mainstay_runtime::clock::SystemClock;
use mainstay_runtime::journal::{Delivery as Told, Journal, JournalConfig, Record};
use mainstay_runtime::policy::ChildPolicy;
use mainstay_runtime::{Address, CallError, Child, Reply, Runtime, SupervisorHandle, SupervisorSpec};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::postman::{Acceptance, TestDelivery, DeliveryRecord, DeliveryLog, ScriptedWorker};
use crate::trace::{TraceCommand, WorkerPlan, SendMode, TraceStep, CommandTarget, RandomTrace};

/// Longer than anything in a trace takes.
const TRACE_TIMEOUT: Duration = Duration::from_secs(3600);

/// What came of a trace.
pub(crate) struct TraceResult {
    pub(crate) records: Vec<Record>,
    pub(crate) entries: Vec<DeliveryRecord>,
    /// Callers and orders that had no answer in the end.
    pub(crate) unanswered: usize,
}

impl TraceResult {
    /// Everything, for a person.
    pub(crate) fn report(&self) -> String {
        let letters = self.entries.iter().enumerate().map(|(id, entry)| format!("m{id:02} {entry:?}"));
        let events = self.records.iter().map(|record| {
            let fields = serde_json::to_string(&record.fields).unwrap();
            let Record { mono_ms, actor, generation, kind, .. } = record;
            format!(
                "{mono_ms:>5} {actor}#{generation} {kind} {}",
                fields.chars().take(160).collect::<String>()
            )
        });
        letters.chain(events).collect::<Vec<_>>().join("\n")
    }

    /// The names of what happened to each letter.
    pub(crate) fn outcomes(&self) -> Vec<String> {
        let handled = self.entries.iter().filter(|entry| entry.ended > 0).map(|_| "handled".to_owned());
        let told = self.records.iter().filter_map(|record| match record.kind.as_str() {
            "dead_letter" => record.fields["reason"].as_str().map(str::to_owned),
            "redelivered" | "checkpoint_discarded" | "gave_up" | "escalated" | "auto_shutdown" => {
                Some(record.kind.clone())
            }
            "decision" if record.fields["scope"].as_array().is_some_and(|scope| scope.len() > 1) => {
                Some("group".to_owned())
            }
            "actor_exited" if record.fields["cause"] == "stuck" => Some("stuck".to_owned()),
            _ => None,
        });
        handled.chain(told).collect()
    }
}

/// Runs `trace` on a paused clock, and returns what came of it. Its journal holds everything from the first event to
/// the last.
pub(crate) fn run_trace(trace: &RandomTrace) -> TraceResult {
    let executor =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    executor.block_on(TraceRunner::run(trace))
}

/// A worker: the supervisor that it is under, its name there, and its address.
type WorkerHandle = (SupervisorHandle, String, Address<TestDelivery>);

/// What the steps of a trace act on.
struct TraceRunner {
    log: DeliveryLog,
    workers: Arc<Mutex<Vec<WorkerHandle>>>,
    /// Whoever waits for an answer.
    pending: JoinSet<()>,
    added: usize,
}

impl TraceRunner {
    async fn run(trace: &RandomTrace) -> TraceResult {
        let journal = Journal::in_memory("fates", Arc::new(SystemClock), JournalConfig::default());
        let ledger = DeliveryLog::new(trace.messages.len());
        let (runtime, stations) = start_tree(trace, &ledger, journal.clone()).await;
        let stations = Arc::new(Mutex::new(stations));
        let mut scene = Self { log: ledger, workers: stations, pending: JoinSet::new(), added: 0 };
        for step in &trace.steps {
            scene.execute(trace, *step, runtime.root()).await;
        }
        if trace.drops_runtime {
            drop(runtime);
            // Nobody is left to say when all are gone.
            sleep(TRACE_TIMEOUT).await;
        } else if timeout(TRACE_TIMEOUT, runtime.shutdown()).await.is_err() {
            panic!("the tree of seed {} does not end", trace.seed);
        }
        let unanswered = scene.wait_for_answers().await;
        let entries = scene.log.entries().clone();
        TraceResult { records: records(&journal).await, entries, unanswered }
    }

    async fn execute(&mut self, trace: &RandomTrace, step: TraceStep, root: &SupervisorHandle) {
        match step {
            TraceStep::Send { message: letter, to } => self.send(trace, letter, to).await,
            TraceStep::Command { command: order, to } => self.run_command(order, to, root).await,
            TraceStep::Add => self.add(trace, root).await,
            TraceStep::Yield => tokio::task::yield_now().await,
            TraceStep::Sleep(span) => sleep(span).await,
        }
    }

    fn worker(&self, number: usize) -> WorkerHandle {
        let stations = self.workers.lock().unwrap();
        stations[number % stations.len()].clone()
    }

    async fn send(&mut self, trace: &RandomTrace, id: usize, to: usize) {
        let letter = trace.messages[id].clone();
        let (sent, ledger, address) = (letter.send_mode, self.log.clone(), self.worker(to).2);
        let make = move |reply| TestDelivery { id, message: letter, reply };
        match sent {
            SendMode::TryCast => {
                let is_accepted = address.try_cast(make(None)).is_ok();
                ledger.accepted(id, if is_accepted { Acceptance::Yes } else { Acceptance::No });
            }
            SendMode::Cast => self.poll_then_spawn(async move { cast(&ledger, &address, make(None)).await }).await,
            SendMode::Ask => {
                let asking = async move {
                    let (reply, answer) = Reply::channel();
                    cast(&ledger, &address, make(Some(reply))).await;
                    if ledger.entries()[id].accepted == Acceptance::Yes {
                        let answer = answer.await;
                        ledger.answered(id, answer);
                    }
                };
                self.poll_then_spawn(asking).await;
            }
            SendMode::Call => {
                let callee = address.clone();
                let call = async move { callee.call(|reply| make(Some(reply))).await };
                self.call(id, &address, call).await;
            }
            SendMode::CallWithin(patience) => {
                let callee = address.clone();
                let call = async move { callee.call_within(patience, |reply| make(Some(reply))).await };
                self.call(id, &address, call).await;
            }
        }
    }

    /// Makes a call, and sees by the backlog whether it is accepted at once: nobody else runs meanwhile.
    async fn call<F>(&mut self, id: usize, address: &Address<TestDelivery>, call: F)
    where
        F: Future<Output = Result<usize, CallError>> + Send + 'static,
    {
        let (mut call, backlog, ledger) = (Box::pin(call), address.backlog(), self.log.clone());
        match poll!(&mut call) {
            Poll::Ready(refused) => {
                ledger.accepted(id, Acceptance::No);
                ledger.answered(id, refused);
            }
            Poll::Pending => {
                let is_accepted = address.backlog() > backlog;
                ledger.accepted(id, if is_accepted { Acceptance::Yes } else { Acceptance::Unknown });
                self.pending.spawn(async move {
                    let answer = call.await;
                    ledger.answered(id, answer);
                });
            }
        }
    }

    /// Begins `work` at once, and lets it go on by itself.
    async fn poll_then_spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        let mut work = Box::pin(work);
        if poll!(&mut work).is_pending() {
            self.pending.spawn(work);
        }
    }

    async fn run_command(&mut self, order: TraceCommand, to: CommandTarget, root: &SupervisorHandle) {
        let (supervisor, name) = match to {
            CommandTarget::Pool => (root.clone(), "pool".to_owned()),
            CommandTarget::Worker(number) => {
                let (supervisor, name, _) = self.worker(number);
                (supervisor, name)
            }
        };
        // Whether it can be carried out depends on what else happens; that it is answered does not.
        self.poll_then_spawn(async move {
            let _ = match order {
                TraceCommand::Stop => supervisor.stop(&name).await,
                TraceCommand::Start => supervisor.start(&name).await,
                TraceCommand::Restart => supervisor.restart(&name).await,
                TraceCommand::Remove => supervisor.remove(&name).await,
                TraceCommand::Reset => supervisor.reset(&name).await,
            };
        })
        .await;
    }

    async fn add(&mut self, trace: &RandomTrace, root: &SupervisorHandle) {
        self.added += 1;
        let name = format!("added-{}", self.added);
        let child = child(&name, &trace.added_worker(), &self.log);
        let (root, stations) = (root.clone(), Arc::clone(&self.workers));
        self.poll_then_spawn(async move {
            if let Ok(address) = root.add(child).await {
                stations.lock().unwrap().push((root, name, address));
            }
        })
        .await;
    }

    /// Waits until everybody has an answer, and says how many never get one.
    async fn wait_for_answers(&mut self) -> usize {
        let all = async { while self.pending.join_next().await.is_some() {} };
        let _ = timeout(TRACE_TIMEOUT, all).await;
        self.pending.len()
    }
}

async fn cast(ledger: &DeliveryLog, address: &Address<TestDelivery>, delivery: TestDelivery) {
    let id = delivery.id;
    let is_accepted = address.cast(delivery).await.is_ok();
    ledger.accepted(id, if is_accepted { Acceptance::Yes } else { Acceptance::No });
}

fn child(name: &str, post: &WorkerPlan, ledger: &DeliveryLog) -> Child<ScriptedWorker> {
    let postman = ScriptedWorker::new(ledger.clone(), post.starts.clone());
    Child::new(name, postman).policy(post.policy).mailbox_capacity(post.mailbox_capacity)
}

/// Starts the tree of `trace`.
async fn start_tree(trace: &RandomTrace, ledger: &DeliveryLog, journal: Journal) -> (Runtime, Vec<WorkerHandle>) {
    let as_child = ChildPolicy { shutdown: trace.root_shutdown, ..ChildPolicy::default() };
    let mut root = SupervisorSpec::new("root").policy(trace.root).as_child(as_child);
    let mut below_root = Vec::new();
    for (number, post) in trace.workers.iter().enumerate() {
        let name = format!("worker-{number}");
        let address = root.child(child(&name, post, ledger)).unwrap();
        below_root.push((name, address));
    }
    let mut stations = Vec::new();
    if let Some(pool) = &trace.pool {
        let mut spec = SupervisorSpec::new("pool").policy(pool.policy).as_child(pool.as_child);
        let mut below_pool = Vec::new();
        for (number, post) in pool.workers.iter().enumerate() {
            let name = format!("pooled-{number}");
            let address = spec.child(child(&name, post, ledger)).unwrap();
            below_pool.push((name, address));
        }
        let handle = root.supervisor(spec).unwrap();
        stations.extend(below_pool.into_iter().map(|(name, address)| (handle.clone(), name, address)));
    }
    let runtime = Runtime::builder().seed(trace.seed).journal(journal).start(root).await.unwrap();
    let root = runtime.root();
    stations.extend(below_root.into_iter().map(|(name, address)| (root.clone(), name, address)));
    (runtime, stations)
}

/// Everything that the journal has told.
async fn records(journal: &Journal) -> Vec<Record> {
    let mut story = journal.subscribe_after(0);
    let mut records = Vec::new();
    while (records.len() as u64) < journal.seq() {
        match story.next().await {
            Told::Event(record) => records.push(*record),
            other => panic!("events are missing: {other:?}"),
        }
    }
    records
}

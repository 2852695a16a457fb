//! Runs a trace: starts the tree, sends the messages and the commands, and stops everything.

use std::future::Future;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::poll;
use mainstay_runtime::clock::SystemClock;
use mainstay_runtime::journal::{Delivery, Journal, JournalOptions, Record};
use mainstay_runtime::policy::ChildPolicy;
use mainstay_runtime::{Address, CallError, Child, Reply, Runtime, SupervisorHandle, SupervisorSpec};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::trace::{CommandTarget, PoolPlan, RandomTrace, SendMode, TraceCommand, TraceStep, WorkerPlan};
use crate::worker::{
    Acceptance, DeliveryLog, DeliveryRecord, LabelledDelivery, ScriptedWorker, TestDelivery,
};

/// A time longer than anything in a trace takes.
const TRACE_TIMEOUT: Duration = Duration::from_secs(3600);
/// A time longer than any start that ends.
const START_MAX: Duration = Duration::from_secs(1);

/// The result of a trace.
pub(crate) struct TraceResult {
    pub(crate) records: Vec<Record>,
    pub(crate) entries: Vec<DeliveryRecord>,
    /// The number of callers and commands without an answer at the end.
    pub(crate) unanswered: usize,
}

impl TraceResult {
    /// Renders the whole result for a person.
    pub(crate) fn report(&self) -> String {
        let messages = self.entries.iter().enumerate().map(|(id, entry)| format!("m{id:02} {entry:?}"));
        let events = self.records.iter().map(|record| {
            let fields = serde_json::to_string(&record.fields).unwrap();
            let Record { mono_ms, actor, generation, kind, .. } = record;
            format!(
                "{mono_ms:>5} {actor}#{generation} {kind} {}",
                fields.chars().take(160).collect::<String>()
            )
        });
        messages.chain(events).collect::<Vec<_>>().join("\n")
    }

    /// Returns the names of the outcomes of each message.
    pub(crate) fn outcomes(&self) -> Vec<String> {
        let handled = self.entries.iter().filter(|entry| entry.ended > 0).map(|_| "handled".to_owned());
        let events = self.records.iter().flat_map(|record| {
            let text = |field: &str| record.fields[field].as_str().unwrap_or_default().to_owned();
            match record.kind.as_str() {
                "dead_letter" if record.generation == 0 => vec!["never_started".to_owned()],
                "dead_letter" => vec![text("reason")],
                "redelivered" | "checkpoint_discarded" | "gave_up" | "auto_shutdown" => {
                    vec![record.kind.clone()]
                }
                "decision" if record.fields["scope"].as_array().is_some_and(|scope| scope.len() > 1) => {
                    vec![text("decision"), "group".to_owned()]
                }
                "decision" => vec![text("decision")],
                "actor_exited" if record.fields["cause"] == "stuck" => vec!["stuck".to_owned()],
                _ => Vec::new(),
            }
        });
        handled.chain(events).collect()
    }
}

/// Runs `trace` on a paused clock and returns its result. The journal holds everything from the first event to the
/// last.
pub(crate) fn run_trace(trace: &RandomTrace) -> TraceResult {
    let executor =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    executor.block_on(TraceRunner::run(trace))
}

/// A worker: its supervisor, unless that is the root, its name there, and its address.
type WorkerHandle = (Option<SupervisorHandle>, String, Address<LabelledDelivery>);

/// Holds everything that the steps of a trace act on.
struct TraceRunner {
    log: DeliveryLog,
    workers: Arc<Mutex<Vec<WorkerHandle>>>,
    /// The running tree, once it has started.
    root: Option<SupervisorHandle>,
    /// The tasks that wait for an answer.
    pending: JoinSet<()>,
    /// The destination of each message.
    sent: Vec<(usize, Address<LabelledDelivery>)>,
    added: usize,
}

impl TraceRunner {
    async fn run(trace: &RandomTrace) -> TraceResult {
        let journal = Journal::in_memory("traces", Arc::new(SystemClock), JournalOptions::default());
        let log = DeliveryLog::new(trace.messages.len());
        let (root, handles) = tree(trace, &log);
        let handles = Arc::new(Mutex::new(handles));
        let (pending, sent) = (JoinSet::new(), Vec::new());
        let mut runner = Self { log, workers: handles, root: None, pending, sent, added: 0 };
        let mut starting = JoinSet::new();
        starting.spawn(Runtime::builder().seed(trace.seed).journal(journal.clone()).start(root));
        let (early, later) = trace.steps.split_at(trace.early);
        runner.take_all(trace, early).await;
        // The start was abandoned where it hangs.
        let started = timeout(START_MAX, starting.join_next()).await.ok().flatten();
        drop(starting);
        let runtime = started.and_then(|started| started.unwrap().ok());
        runner.root = runtime.as_ref().map(|runtime| runtime.root().clone());
        runner.take_all(trace, later).await;
        match runtime {
            Some(runtime) if !trace.drops_runtime => {
                if timeout(TRACE_TIMEOUT, runtime.shutdown()).await.is_err() {
                    panic!("the tree of seed {} does not end", trace.seed);
                }
            }
            runtime => {
                drop(runtime);
                // No supervisor is left to report the end of the others.
                sleep(TRACE_TIMEOUT).await;
            }
        }
        let unanswered = runner.wait_for_answers().await;
        for (id, address) in &runner.sent {
            runner.log.entries()[*id].is_outside = address.path().is_none();
        }
        let entries = runner.log.entries().clone();
        TraceResult { records: records(&journal).await, entries, unanswered }
    }

    async fn take_all(&mut self, trace: &RandomTrace, steps: &[TraceStep]) {
        for step in steps {
            self.execute(trace, *step).await;
        }
    }

    async fn execute(&mut self, trace: &RandomTrace, step: TraceStep) {
        match step {
            TraceStep::Send { message, to } => self.send(trace, message, to).await,
            TraceStep::Command { command, to } => self.command(command, to).await,
            TraceStep::Add => self.add(trace).await,
            TraceStep::AddPool { takes_name } => self.add_pool(trace, takes_name).await,
            TraceStep::Yield => tokio::task::yield_now().await,
            TraceStep::Sleep(span) => sleep(span).await,
        }
    }

    fn worker(&self, number: usize) -> WorkerHandle {
        let handles = self.workers.lock();
        handles[number % handles.len()].clone()
    }

    async fn send(&mut self, trace: &RandomTrace, id: usize, to: usize) {
        let message = trace.messages[id].clone();
        let (sent, log, address) = (message.send_mode, self.log.clone(), self.worker(to).2);
        self.sent.push((id, address.clone()));
        let make = move |reply| LabelledDelivery::new(TestDelivery { id, message, reply });
        match sent {
            SendMode::TryCast => {
                let is_accepted = address.try_cast(make(None)).is_ok();
                log.accepted(id, if is_accepted { Acceptance::Yes } else { Acceptance::No });
            }
            SendMode::Cast => {
                self.poll_then_spawn(async move { cast(&log, &address, make(None)).await }).await
            }
            SendMode::Ask => {
                let asking = async move {
                    let (reply, answer) = Reply::channel();
                    cast(&log, &address, make(Some(reply))).await;
                    if log.entries()[id].accepted == Acceptance::Yes {
                        let answer = answer.await;
                        log.answered(id, answer);
                    }
                };
                self.poll_then_spawn(asking).await;
            }
            SendMode::Call => {
                let callee = address.clone();
                let call = async move { callee.call(|reply| make(Some(reply))).await };
                self.call(id, &address, call).await;
            }
            SendMode::CallWithin(time_limit) => {
                let callee = address.clone();
                let call = async move { callee.call_within(time_limit, |reply| make(Some(reply))).await };
                self.call(id, &address, call).await;
            }
        }
    }

    /// Makes a call, and reads from the backlog whether it is accepted at once: nothing else runs meanwhile.
    async fn call<F>(&mut self, id: usize, address: &Address<LabelledDelivery>, call: F)
    where
        F: Future<Output = Result<usize, CallError>> + Send + 'static,
    {
        let (mut call, backlog, log) = (Box::pin(call), address.backlog(), self.log.clone());
        match poll!(&mut call) {
            Poll::Ready(refused) => {
                log.accepted(id, Acceptance::No);
                log.answered(id, refused);
            }
            Poll::Pending => {
                let is_accepted = address.backlog() > backlog;
                log.accepted(id, if is_accepted { Acceptance::Yes } else { Acceptance::Unknown });
                self.pending.spawn(async move {
                    let answer = call.await;
                    log.answered(id, answer);
                });
            }
        }
    }

    /// Starts `work` at once as a task of its own.
    async fn poll_then_spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        let mut work = Box::pin(work);
        if poll!(&mut work).is_pending() {
            self.pending.spawn(work);
        }
    }

    async fn command(&mut self, command: TraceCommand, to: CommandTarget) {
        let (supervisor, name) = match to {
            CommandTarget::Pool => (None, "pool".to_owned()),
            CommandTarget::Worker(number) => {
                let (supervisor, name, _) = self.worker(number);
                (supervisor, name)
            }
        };
        // The root takes commands once it has started.
        let Some(supervisor) = supervisor.or_else(|| self.root.clone()) else { return };
        // Its success depends on what else happens; its answer does not.
        self.poll_then_spawn(async move {
            let _ = match command {
                TraceCommand::Stop => supervisor.stop(&name).await,
                TraceCommand::Start => supervisor.start(&name).await,
                TraceCommand::Restart => supervisor.restart(&name).await,
                TraceCommand::Remove => supervisor.remove(&name).await,
                TraceCommand::Reset => supervisor.reset(&name).await,
            };
        })
        .await;
    }

    async fn add(&mut self, trace: &RandomTrace) {
        let Some(root) = self.root.clone() else { return };
        self.added += 1;
        let name = format!("added-{}", self.added);
        let child = child(&name, &trace.added_worker(), &self.log);
        let handles = Arc::clone(&self.workers);
        self.poll_then_spawn(async move {
            if let Ok(address) = root.add(child).await {
                handles.lock().push((None, name, address));
            }
        })
        .await;
    }

    /// Keeps the addresses of added children, whether they start or not.
    async fn add_pool(&mut self, trace: &RandomTrace, takes_name: bool) {
        let Some(root) = self.root.clone() else { return };
        self.added += 1;
        let name = if takes_name { "worker-0".to_owned() } else { format!("added-{}", self.added) };
        let mut handles = Vec::new();
        let (spec, workers) = pool(&name, &trace.added_pool(), &self.log, &mut handles);
        handles.extend(workers.into_iter().map(|(name, address)| (None, name, address)));
        self.workers.lock().extend(handles);
        self.poll_then_spawn(async move { drop(root.add_supervisor(spec).await) }).await;
    }

    /// Waits until every task has an answer, and returns the number of those that never get one.
    async fn wait_for_answers(&mut self) -> usize {
        let all = async { while self.pending.join_next().await.is_some() {} };
        let _ = timeout(TRACE_TIMEOUT, all).await;
        self.pending.len()
    }
}

async fn cast(log: &DeliveryLog, address: &Address<LabelledDelivery>, delivery: LabelledDelivery) {
    let id = delivery.id;
    let is_accepted = address.cast(delivery).await.is_ok();
    log.accepted(id, if is_accepted { Acceptance::Yes } else { Acceptance::No });
}

fn child(name: &str, plan: &WorkerPlan, log: &DeliveryLog) -> Child<ScriptedWorker> {
    let worker = ScriptedWorker::new(log.clone(), plan.starts.clone());
    Child::new(name, worker).policy(plan.policy).mailbox_capacity(plan.mailbox_capacity)
}

/// Builds the tree of `trace`. Returns its workers too, the last to start first.
fn tree(trace: &RandomTrace, log: &DeliveryLog) -> (SupervisorSpec, Vec<WorkerHandle>) {
    let as_child = ChildPolicy { shutdown: trace.root_shutdown, ..ChildPolicy::default() };
    let mut root = SupervisorSpec::new("root").policy(trace.root).as_child(as_child);
    let below_root = fill(&mut root, "worker", &trace.workers, log);
    let mut handles = Vec::new();
    if let Some(shape) = &trace.pool {
        let (spec, workers) = pool("pool", shape, log, &mut handles);
        let handle = root.supervisor(spec).unwrap();
        handles.extend(workers.into_iter().map(|(name, address)| (Some(handle.clone()), name, address)));
    }
    handles.extend(below_root.into_iter().map(|(name, address)| (None, name, address)));
    (root, handles)
}

/// Builds a supervisor and its workers; those below it go to `handles`.
fn pool(
    name: &str,
    shape: &PoolPlan,
    log: &DeliveryLog,
    handles: &mut Vec<WorkerHandle>,
) -> (SupervisorSpec, Vec<(String, Address<LabelledDelivery>)>) {
    let mut spec = SupervisorSpec::new(name).policy(shape.policy).as_child(shape.as_child);
    let workers = fill(&mut spec, "pooled", &shape.workers, log);
    if let Some(inner) = &shape.inner {
        let (inner, below) = pool("inner", inner, log, handles);
        let handle = spec.supervisor(inner).unwrap();
        handles.extend(below.into_iter().map(|(name, address)| (Some(handle.clone()), name, address)));
    }
    (spec, workers)
}

/// Builds the workers of one supervisor.
fn fill(
    spec: &mut SupervisorSpec,
    what: &str,
    workers: &[WorkerPlan],
    log: &DeliveryLog,
) -> Vec<(String, Address<LabelledDelivery>)> {
    let workers = workers.iter().enumerate().map(|(number, plan)| {
        let name = format!("{what}-{number}");
        let address = spec.child(child(&name, plan, log)).unwrap();
        (name, address)
    });
    workers.collect()
}

/// Returns all records of the journal.
async fn records(journal: &Journal) -> Vec<Record> {
    let mut events = journal.subscribe();
    let mut records = Vec::new();
    while events.cursor() < journal.cursor() {
        match events.next().await {
            Delivery::Event(record) => records.push(*record),
            other => panic!("events are missing: {other:?}"),
        }
    }
    records
}

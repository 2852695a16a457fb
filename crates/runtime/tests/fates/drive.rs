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

use crate::postman::{Accepted, Delivery, Entry, Ledger, Postman};
use crate::trace::{Order, Post, Sent, Step, Target, Trace};

/// Longer than anything in a trace takes.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// What came of a trace.
pub(crate) struct Lived {
    pub(crate) records: Vec<Record>,
    pub(crate) entries: Vec<Entry>,
    /// Callers and orders that had no answer in the end.
    pub(crate) unanswered: usize,
}

impl Lived {
    /// Everything, for a person.
    pub(crate) fn told(&self) -> String {
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
    pub(crate) fn fates(&self) -> Vec<String> {
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
pub(crate) fn live(trace: &Trace) -> Lived {
    let executor =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    executor.block_on(Scene::live(trace))
}

/// A worker: the supervisor that it is under, its name there, and its address.
type Station = (SupervisorHandle, String, Address<Delivery>);

/// What the steps of a trace act on.
struct Scene {
    ledger: Ledger,
    stations: Arc<Mutex<Vec<Station>>>,
    /// Whoever waits for an answer.
    waiting: JoinSet<()>,
    added: usize,
}

impl Scene {
    async fn live(trace: &Trace) -> Lived {
        let journal = Journal::in_memory("fates", Arc::new(SystemClock), JournalConfig::default());
        let ledger = Ledger::of(trace.letters.len());
        let (runtime, stations) = bring_up(trace, &ledger, journal.clone()).await;
        let stations = Arc::new(Mutex::new(stations));
        let mut scene = Self { ledger, stations, waiting: JoinSet::new(), added: 0 };
        for step in &trace.steps {
            scene.take(trace, *step, runtime.root()).await;
        }
        if trace.is_dropped {
            drop(runtime);
            // Nobody is left to say when all are gone.
            sleep(FOR_EVER).await;
        } else if timeout(FOR_EVER, runtime.shutdown()).await.is_err() {
            panic!("the tree of seed {} does not end", trace.seed);
        }
        let unanswered = scene.settle().await;
        let entries = scene.ledger.entries().clone();
        Lived { records: records(&journal).await, entries, unanswered }
    }

    async fn take(&mut self, trace: &Trace, step: Step, root: &SupervisorHandle) {
        match step {
            Step::Send { letter, to } => self.send(trace, letter, to).await,
            Step::Order { order, to } => self.order(order, to, root).await,
            Step::Add => self.add(trace, root).await,
            Step::Yield => tokio::task::yield_now().await,
            Step::Pass(span) => sleep(span).await,
        }
    }

    fn station(&self, number: usize) -> Station {
        let stations = self.stations.lock().unwrap();
        stations[number % stations.len()].clone()
    }

    async fn send(&mut self, trace: &Trace, id: usize, to: usize) {
        let letter = trace.letters[id].clone();
        let (sent, ledger, address) = (letter.sent, self.ledger.clone(), self.station(to).2);
        let make = move |reply| Delivery { id, letter, reply };
        match sent {
            Sent::TryCast => {
                let is_accepted = address.try_cast(make(None)).is_ok();
                ledger.accepted(id, if is_accepted { Accepted::Yes } else { Accepted::No });
            }
            Sent::Cast => self.begin(async move { cast(&ledger, &address, make(None)).await }).await,
            Sent::Ask => {
                let asking = async move {
                    let (reply, answer) = Reply::channel();
                    cast(&ledger, &address, make(Some(reply))).await;
                    if ledger.entries()[id].accepted == Accepted::Yes {
                        let answer = answer.await;
                        ledger.answered(id, answer);
                    }
                };
                self.begin(asking).await;
            }
            Sent::Call => {
                let callee = address.clone();
                let call = async move { callee.call(|reply| make(Some(reply))).await };
                self.call(id, &address, call).await;
            }
            Sent::CallWithin(patience) => {
                let callee = address.clone();
                let call = async move { callee.call_within(patience, |reply| make(Some(reply))).await };
                self.call(id, &address, call).await;
            }
        }
    }

    /// Makes a call, and sees by the backlog whether it is accepted at once: nobody else runs meanwhile.
    async fn call<F>(&mut self, id: usize, address: &Address<Delivery>, call: F)
    where
        F: Future<Output = Result<usize, CallError>> + Send + 'static,
    {
        let (mut call, backlog, ledger) = (Box::pin(call), address.backlog(), self.ledger.clone());
        match poll!(&mut call) {
            Poll::Ready(refused) => {
                ledger.accepted(id, Accepted::No);
                ledger.answered(id, refused);
            }
            Poll::Pending => {
                let is_accepted = address.backlog() > backlog;
                ledger.accepted(id, if is_accepted { Accepted::Yes } else { Accepted::Unknown });
                self.waiting.spawn(async move {
                    let answer = call.await;
                    ledger.answered(id, answer);
                });
            }
        }
    }

    /// Begins `work` at once, and lets it go on by itself.
    async fn begin(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        let mut work = Box::pin(work);
        if poll!(&mut work).is_pending() {
            self.waiting.spawn(work);
        }
    }

    async fn order(&mut self, order: Order, to: Target, root: &SupervisorHandle) {
        let (supervisor, name) = match to {
            Target::Pool => (root.clone(), "pool".to_owned()),
            Target::Worker(number) => {
                let (supervisor, name, _) = self.station(number);
                (supervisor, name)
            }
        };
        // Whether it can be carried out depends on what else happens; that it is answered does not.
        self.begin(async move {
            let _ = match order {
                Order::Stop => supervisor.stop(&name).await,
                Order::Start => supervisor.start(&name).await,
                Order::Restart => supervisor.restart(&name).await,
                Order::Remove => supervisor.remove(&name).await,
                Order::Reset => supervisor.reset(&name).await,
            };
        })
        .await;
    }

    async fn add(&mut self, trace: &Trace, root: &SupervisorHandle) {
        self.added += 1;
        let name = format!("added-{}", self.added);
        let child = child(&name, &trace.added(), &self.ledger);
        let (root, stations) = (root.clone(), Arc::clone(&self.stations));
        self.begin(async move {
            if let Ok(address) = root.add(child).await {
                stations.lock().unwrap().push((root, name, address));
            }
        })
        .await;
    }

    /// Waits until everybody has an answer, and says how many never get one.
    async fn settle(&mut self) -> usize {
        let all = async { while self.waiting.join_next().await.is_some() {} };
        let _ = timeout(FOR_EVER, all).await;
        self.waiting.len()
    }
}

async fn cast(ledger: &Ledger, address: &Address<Delivery>, delivery: Delivery) {
    let id = delivery.id;
    let is_accepted = address.cast(delivery).await.is_ok();
    ledger.accepted(id, if is_accepted { Accepted::Yes } else { Accepted::No });
}

fn child(name: &str, post: &Post, ledger: &Ledger) -> Child<Postman> {
    let postman = Postman::new(ledger.clone(), post.starts.clone());
    Child::new(name, postman).policy(post.policy).mailbox_capacity(post.mailbox_capacity)
}

/// Starts the tree of `trace`.
async fn bring_up(trace: &Trace, ledger: &Ledger, journal: Journal) -> (Runtime, Vec<Station>) {
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

//! Provides a counter whose snapshot has one of several versions.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use mainstay_runtime::journal::{Delivery, Record};
use mainstay_runtime::policy::{Budget, ChildPolicy, Delay};
use mainstay_runtime::state::{Durable, StateStore};
use mainstay_runtime::{
    Address, Child, Context, Failure, Message, Reply, Runtime, RuntimeStartError, SupervisorSpec, Worker,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug)]
pub(crate) enum DurableCounterMessage {
    Up,
    Get(Reply<u64>),
    Panic,
    /// Adds a hundred, and then blocks its thread until a message comes or the other end is gone.
    #[allow(dead_code, reason = "not every test holds a thread")]
    BlockThread(Mutex<Receiver<()>>),
}

impl Message for DurableCounterMessage {}

/// The snapshot of version `V`. Version 2 can read version 1; version 3 reads only its own.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct CounterSnapshot<const V: u32> {
    pub(crate) total: u64,
    /// True if a migration set it.
    #[serde(default)]
    pub(crate) migrated: bool,
}

impl<const V: u32> Durable for CounterSnapshot<V> {
    const VERSION: u32 = V;

    fn migrate(version: u32, old: Value) -> Result<Self, Failure> {
        match (V, version) {
            (2, 1) => Ok(Self { migrated: true, ..serde_json::from_value(old)? }),
            (4, _) => panic!("on purpose"),
            _ => Err(format!("there is no migration from {version} to {V}").into()),
        }
    }
}

/// A counter of version `V`.
#[derive(Default)]
pub(crate) struct DurableCounter<const V: u32> {
    /// The total that it refuses to start from.
    pub(crate) rejected_total: Option<u64>,
    /// The number that it adds when it stops.
    pub(crate) added_on_stop: u64,
}

impl DurableCounter<1> {
    pub(crate) fn rejecting(total: u64) -> Self {
        Self { rejected_total: Some(total), ..Self::default() }
    }
}

impl<const V: u32> Worker for DurableCounter<V> {
    type Message = DurableCounterMessage;
    type State = u64;
    type Snapshot = CounterSnapshot<V>;

    async fn start(
        &self,
        _: &mut Context<DurableCounterMessage>,
        kept: Option<CounterSnapshot<V>>,
    ) -> Result<u64, Failure> {
        match kept {
            Some(snapshot) if Some(snapshot.total) == self.rejected_total => Err("not from this".into()),
            Some(snapshot) => Ok(snapshot.total),
            None => Ok(0),
        }
    }

    async fn handle(
        &self,
        _: &mut Context<DurableCounterMessage>,
        message: DurableCounterMessage,
        total: &mut u64,
    ) -> Result<(), Failure> {
        match message {
            DurableCounterMessage::Up => *total += 1,
            DurableCounterMessage::Get(reply) => reply.send(*total),
            DurableCounterMessage::Panic => panic!("on purpose"),
            DurableCounterMessage::BlockThread(gate) => {
                *total += 100;
                let _ = gate.lock().recv();
            }
        }
        Ok(())
    }

    fn snapshot(&self, total: &u64) -> Option<CounterSnapshot<V>> {
        Some(CounterSnapshot { total: *total, migrated: false })
    }

    async fn stop(&self, _: &mut Context<DurableCounterMessage>, total: &mut u64) {
        *total += self.added_on_stop;
    }
}

/// Returns a child that keeps its count on disk.
pub(crate) fn durable_child() -> Child<DurableCounter<1>> {
    Child::new("counter", DurableCounter::default()).policy(restart_often()).durable()
}

/// Returns a policy of restarts at once and without a limit.
pub(crate) fn restart_often() -> ChildPolicy {
    let budget = Budget { restarts_max: 20, window: std::time::Duration::from_secs(600) };
    ChildPolicy { delay: Delay::NONE, budget: Some(budget), ..ChildPolicy::default() }
}

/// Starts a tree with this durable counter alone, at `root/counter`.
pub(crate) async fn start_with<const V: u32>(
    store: Arc<dyn StateStore>,
    counter: DurableCounter<V>,
) -> Result<(Runtime, Address<DurableCounterMessage>), RuntimeStartError> {
    let mut root = SupervisorSpec::new("root");
    let child = Child::new("counter", counter).policy(restart_often()).durable();
    let address = root.child(child).unwrap();
    Ok((Runtime::builder().seed(1).state_store(store).start(root).await?, address))
}

/// Starts the same with a counter that refuses nothing.
pub(crate) async fn start<const V: u32>(
    store: Arc<dyn StateStore>,
) -> (Runtime, Address<DurableCounterMessage>) {
    start_with(store, DurableCounter::<V>::default()).await.unwrap()
}

/// Returns the journal's events of `kind`, from the beginning.
pub(crate) async fn records_of(runtime: &Runtime, kind: &str) -> Vec<Record> {
    let newest = runtime.journal().cursor();
    let mut events = runtime.journal().subscribe();
    let mut records = Vec::new();
    while events.cursor() < newest {
        let Delivery::Event(record) = events.next().await else { panic!("events are missing") };
        if record.kind == kind {
            records.push(*record);
        }
    }
    records
}

/// Returns the total of the counter.
pub(crate) async fn total(counter: &Address<DurableCounterMessage>) -> u64 {
    counter.call(DurableCounterMessage::Get).await.unwrap()
}

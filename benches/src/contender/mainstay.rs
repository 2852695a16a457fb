//! Runs the counter as a Mainstay worker: the mailbox outlives a crash, a snapshot follows every message, the journal is on disk.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mainstay_runtime::clock::SystemClock;
use mainstay_runtime::journal::{Journal, JournalOptions};
use mainstay_runtime::policy::{ChildPolicy, Delay, Shutdown};
use mainstay_runtime::{
    Address, Child, Context, Failure, Message, Reply, Runtime, SupervisorHandle, SupervisorSpec, Worker,
};

use super::{BenchError, CastResult, ChildSpawner, Contender, CounterState, LiveGuard};

#[derive(Debug)]
enum CounterMessage {
    Add(u64),
    Mark(Arc<AtomicU64>),
    Sum(Reply<u64>),
    Crash,
}

impl Message for CounterMessage {}

struct Counter;

impl Worker for Counter {
    type Message = CounterMessage;
    type State = (CounterState, LiveGuard);
    type Snapshot = CounterState;

    async fn start(
        &self,
        _: &mut Context<CounterMessage>,
        saved: Option<CounterState>,
    ) -> Result<(CounterState, LiveGuard), Failure> {
        Ok((saved.unwrap_or_default(), LiveGuard::new()))
    }

    async fn handle(
        &self,
        _: &mut Context<CounterMessage>,
        message: CounterMessage,
        (state, _): &mut (CounterState, LiveGuard),
    ) -> Result<(), Failure> {
        match message {
            CounterMessage::Add(amount) => state.add(amount),
            CounterMessage::Mark(seen) => drop(seen.fetch_add(1, Ordering::Relaxed)),
            CounterMessage::Sum(reply) => reply.send(state.sum()),
            CounterMessage::Crash => panic!("on purpose"),
        }
        Ok(())
    }

    fn snapshot(&self, (state, _): &(CounterState, LiveGuard)) -> Option<CounterState> {
        Some(*state)
    }
}

/// Returns a policy of restarts at once and without a limit. A stop may take an hour.
fn policy() -> ChildPolicy {
    ChildPolicy {
        delay: Delay::NONE,
        budget: None,
        shutdown: Shutdown::Graceful(Duration::from_secs(3600)),
        ..ChildPolicy::default()
    }
}

pub(crate) fn journal(dir: &Path) -> Result<Journal, BenchError> {
    Ok(Journal::open(dir, "bench", Arc::new(SystemClock), JournalOptions::default())?)
}

pub(crate) struct Mainstay {
    runtime: Runtime,
    counter: Address<CounterMessage>,
}

impl Contender for Mainstay {
    async fn start(capacity: usize, dir: &Path) -> Result<Self, BenchError> {
        let mut root = SupervisorSpec::new("root");
        let counter =
            root.child(Child::new("counter", Counter).policy(policy()).mailbox_capacity(capacity))?;
        let runtime = Runtime::builder().journal(journal(dir)?).start(root).await?;
        Ok(Self { runtime, counter })
    }

    async fn cast(&self, amount: u64) -> CastResult {
        CastResult::from_result(self.counter.cast(CounterMessage::Add(amount)).await)
    }

    async fn mark(&self, seen: &Arc<AtomicU64>) -> CastResult {
        CastResult::from_result(self.counter.cast(CounterMessage::Mark(Arc::clone(seen))).await)
    }

    async fn crash(&self) -> CastResult {
        CastResult::from_result(self.counter.cast(CounterMessage::Crash).await)
    }

    async fn call(&self) -> Option<u64> {
        self.counter.call(CounterMessage::Sum).await.ok()
    }

    async fn prepare_retry(&mut self) {
        tokio::task::yield_now().await;
    }

    async fn stop(self) {
        self.runtime.shutdown().await;
    }
}

#[derive(Clone)]
pub(crate) struct MainstaySpawner {
    runtime: Arc<Runtime>,
    supervisor: SupervisorHandle,
    policy: Arc<ChildPolicy>,
}

impl ChildSpawner for MainstaySpawner {
    async fn start(dir: &Path) -> Result<Self, BenchError> {
        let mut root = SupervisorSpec::new("root").as_child(policy());
        let supervisor = root.supervisor(SupervisorSpec::dynamic("pool").as_child(policy()))?;
        let runtime = Runtime::builder().journal(journal(dir)?).start(root).await?;
        Ok(Self { runtime: Arc::new(runtime), supervisor, policy: Arc::new(policy()) })
    }

    async fn add(&self, number: u64, greeted: bool) -> Result<(), BenchError> {
        let child = Child::new(format!("counter-{number}"), Counter).policy(Arc::clone(&self.policy));
        let counter = self.supervisor.add(child).await?;
        if greeted {
            counter.call(CounterMessage::Sum).await?;
        }
        Ok(())
    }

    async fn stop(self) {
        self.runtime.shutdown().await;
    }
}

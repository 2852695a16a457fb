//! The counter as a Mainstay worker: kept mailbox, a snapshot after every message, the journal on disk.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mainstay_runtime::clock::SystemClock;
use mainstay_runtime::journal::{Journal, JournalConfig};
use mainstay_runtime::policy::{ChildPolicy, Delay, Shutdown};
use mainstay_runtime::{
    Address, Child, Context, Failure, Message, Reply, Runtime, SupervisorHandle, SupervisorSpec, Worker,
};

use super::{Contender, Fault, Live, Nursery, Sent, Tally};

enum Act {
    Add(u64),
    Mark(Arc<AtomicU64>),
    Sum(Reply<u64>),
    Crash,
}

impl Message for Act {}

struct Counter;

impl Worker for Counter {
    type Message = Act;
    type State = (Tally, Live);
    type Snapshot = Tally;

    async fn start(&self, _: &mut Context<Act>, kept: Option<Tally>) -> Result<(Tally, Live), Failure> {
        Ok((kept.unwrap_or_default(), Live::one()))
    }

    async fn handle(
        &self,
        _: &mut Context<Act>,
        act: Act,
        (tally, _): &mut (Tally, Live),
    ) -> Result<(), Failure> {
        match act {
            Act::Add(amount) => tally.add(amount),
            Act::Mark(seen) => drop(seen.fetch_add(1, Ordering::Relaxed)),
            Act::Sum(reply) => reply.send(tally.sum()),
            Act::Crash => panic!("on purpose"),
        }
        Ok(())
    }

    fn snapshot(&self, (tally, _): &(Tally, Live)) -> Option<Tally> {
        Some(*tally)
    }
}

/// Restarted at once, and without end. Stopping may take as long as it takes.
fn policy() -> ChildPolicy {
    ChildPolicy {
        delay: Delay::NONE,
        budget: None,
        shutdown: Shutdown::Graceful(Duration::from_secs(3600)),
        ..ChildPolicy::default()
    }
}

pub(crate) fn journal(dir: &Path) -> Result<Journal, Fault> {
    Ok(Journal::open(dir, "bench", Arc::new(SystemClock), JournalConfig::default())?)
}

pub(crate) struct Mainstay {
    runtime: Runtime,
    counter: Address<Act>,
}

impl Contender for Mainstay {
    async fn up(room: usize, dir: &Path) -> Result<Self, Fault> {
        let mut root = SupervisorSpec::new("root");
        let counter = root.child(Child::new("counter", Counter).policy(policy()).mailbox_capacity(room))?;
        let runtime = Runtime::builder().journal(journal(dir)?).start(root).await?;
        Ok(Self { runtime, counter })
    }

    async fn cast(&self, amount: u64) -> Sent {
        Sent::of(self.counter.cast(Act::Add(amount)).await)
    }

    async fn mark(&self, seen: &Arc<AtomicU64>) -> Sent {
        Sent::of(self.counter.cast(Act::Mark(Arc::clone(seen))).await)
    }

    async fn crash(&self) -> Sent {
        Sent::of(self.counter.cast(Act::Crash).await)
    }

    async fn call(&self) -> Option<u64> {
        self.counter.call(Act::Sum).await.ok()
    }

    async fn again(&mut self) {
        tokio::task::yield_now().await;
    }

    async fn down(self) {
        self.runtime.shutdown().await;
    }
}

#[derive(Clone)]
pub(crate) struct MainstayNursery {
    runtime: Arc<Runtime>,
    supervisor: SupervisorHandle,
    policy: Arc<ChildPolicy>,
}

impl Nursery for MainstayNursery {
    async fn up(dir: &Path) -> Result<Self, Fault> {
        let mut root = SupervisorSpec::new("root").as_child(policy());
        let supervisor = root.supervisor(SupervisorSpec::dynamic("pool").as_child(policy()))?;
        let runtime = Runtime::builder().journal(journal(dir)?).start(root).await?;
        Ok(Self { runtime: Arc::new(runtime), supervisor, policy: Arc::new(policy()) })
    }

    async fn add(&self, number: u64, greeted: bool) -> Result<(), Fault> {
        let child = Child::new(format!("counter-{number}"), Counter).policy(Arc::clone(&self.policy));
        let counter = self.supervisor.add(child).await?;
        if greeted {
            counter.call(Act::Sum).await?;
        }
        Ok(())
    }

    async fn down(self) {
        self.runtime.shutdown().await;
    }
}

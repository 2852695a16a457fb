//! Runs the counter as a kameo actor. Kameo's supervision restarts it and keeps the mailbox, but not the state.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kameo::actor::{Actor, ActorRef, Spawn};
use kameo::mailbox;
use kameo::message::{Context, Message};

use super::{BenchError, CastResult, ChildSpawner, Contender, CounterState, LiveGuard, MAILBOX_CAPACITY};

struct Counter {
    state: CounterState,
    _live: LiveGuard,
}

struct Add(u64);
struct Mark(Arc<AtomicU64>);
struct Sum;
struct Crash;

impl Actor for Counter {
    type Args = ();
    type Error = Infallible;

    async fn on_start((): (), _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(Self { state: CounterState::default(), _live: LiveGuard::new() })
    }
}

impl Message<Add> for Counter {
    type Reply = ();

    async fn handle(&mut self, Add(amount): Add, _: &mut Context<Self, ()>) {
        self.state.add(amount);
    }
}

impl Message<Mark> for Counter {
    type Reply = ();

    async fn handle(&mut self, Mark(seen): Mark, _: &mut Context<Self, ()>) {
        seen.fetch_add(1, Ordering::Relaxed);
    }
}

impl Message<Sum> for Counter {
    type Reply = u64;

    async fn handle(&mut self, _: Sum, _: &mut Context<Self, u64>) -> u64 {
        self.state.sum()
    }
}

impl Message<Crash> for Counter {
    type Reply = ();

    async fn handle(&mut self, _: Crash, _: &mut Context<Self, ()>) {
        panic!("on purpose");
    }
}

struct Supervisor;

impl Actor for Supervisor {
    type Args = ();
    type Error = Infallible;

    async fn on_start((): (), _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(Self)
    }
}

async fn spawn_counter(supervisor: &ActorRef<Supervisor>, capacity: usize) -> ActorRef<Counter> {
    let unlimited = Duration::from_secs(1);
    Counter::supervise(supervisor, ())
        .restart_limit(u32::MAX, unlimited)
        .spawn_with_mailbox(mailbox::bounded(capacity))
        .await
}

pub(crate) struct Kameo {
    supervisor: ActorRef<Supervisor>,
    counter: ActorRef<Counter>,
}

impl Contender for Kameo {
    async fn start(capacity: usize, _: &Path) -> Result<Self, BenchError> {
        let supervisor = Supervisor::spawn(());
        let counter = spawn_counter(&supervisor, capacity).await;
        counter.wait_for_startup().await;
        Ok(Self { supervisor, counter })
    }

    async fn cast(&self, amount: u64) -> CastResult {
        CastResult::from_result(self.counter.tell(Add(amount)).send().await)
    }

    async fn mark(&self, seen: &Arc<AtomicU64>) -> CastResult {
        CastResult::from_result(self.counter.tell(Mark(Arc::clone(seen))).send().await)
    }

    async fn crash(&self) -> CastResult {
        CastResult::from_result(self.counter.tell(Crash).send().await)
    }

    async fn call(&self) -> Option<u64> {
        self.counter.ask(Sum).send().await.ok()
    }

    async fn prepare_retry(&mut self) {
        tokio::task::yield_now().await;
    }

    async fn stop(self) {
        stop_supervisor(&self.supervisor).await;
    }
}

async fn stop_supervisor(supervisor: &ActorRef<Supervisor>) {
    // An error means that the supervisor has ended already.
    let _ = supervisor.stop_gracefully().await;
    supervisor.wait_for_shutdown().await;
}

#[derive(Clone)]
pub(crate) struct KameoSpawner {
    supervisor: ActorRef<Supervisor>,
}

impl ChildSpawner for KameoSpawner {
    async fn start(_: &Path) -> Result<Self, BenchError> {
        Ok(Self { supervisor: Supervisor::spawn(()) })
    }

    async fn add(&self, _: u64, greeted: bool) -> Result<(), BenchError> {
        let counter = spawn_counter(&self.supervisor, MAILBOX_CAPACITY).await;
        counter.wait_for_startup().await;
        if greeted {
            counter.ask(Sum).send().await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    async fn stop(self) {
        stop_supervisor(&self.supervisor).await;
    }
}

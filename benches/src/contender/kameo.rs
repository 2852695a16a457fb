//! The counter as a kameo actor, restarted by kameo's own supervision, which keeps the mailbox but not the state.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kameo::actor::{Actor, ActorRef, Spawn};
use kameo::mailbox;
use kameo::message::{Context, Message};

use super::{Contender, Fault, Live, Nursery, ROOM, Sent, Tally};

struct Counter {
    tally: Tally,
    _live: Live,
}

struct Add(u64);
struct Mark(Arc<AtomicU64>);
struct Sum;
struct Crash;

impl Actor for Counter {
    type Args = ();
    type Error = Infallible;

    async fn on_start((): (), _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(Self { tally: Tally::default(), _live: Live::one() })
    }
}

impl Message<Add> for Counter {
    type Reply = ();

    async fn handle(&mut self, Add(amount): Add, _: &mut Context<Self, ()>) {
        self.tally.add(amount);
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
        self.tally.sum()
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

async fn supervised(supervisor: &ActorRef<Supervisor>, room: usize) -> ActorRef<Counter> {
    let unlimited = Duration::from_secs(1);
    Counter::supervise(supervisor, ())
        .restart_limit(u32::MAX, unlimited)
        .spawn_with_mailbox(mailbox::bounded(room))
        .await
}

pub(crate) struct Kameo {
    supervisor: ActorRef<Supervisor>,
    counter: ActorRef<Counter>,
}

impl Contender for Kameo {
    async fn up(room: usize, _: &Path) -> Result<Self, Fault> {
        let supervisor = Supervisor::spawn(());
        let counter = supervised(&supervisor, room).await;
        counter.wait_for_startup().await;
        Ok(Self { supervisor, counter })
    }

    async fn cast(&self, amount: u64) -> Sent {
        Sent::of(self.counter.tell(Add(amount)).send().await)
    }

    async fn mark(&self, seen: &Arc<AtomicU64>) -> Sent {
        Sent::of(self.counter.tell(Mark(Arc::clone(seen))).send().await)
    }

    async fn crash(&self) -> Sent {
        Sent::of(self.counter.tell(Crash).send().await)
    }

    async fn call(&self) -> Option<u64> {
        self.counter.ask(Sum).send().await.ok()
    }

    async fn again(&mut self) {
        tokio::task::yield_now().await;
    }

    async fn down(self) {
        stop(&self.supervisor).await;
    }
}

async fn stop(supervisor: &ActorRef<Supervisor>) {
    // One that has ended already is what we want.
    let _ = supervisor.stop_gracefully().await;
    supervisor.wait_for_shutdown().await;
}

#[derive(Clone)]
pub(crate) struct KameoNursery {
    supervisor: ActorRef<Supervisor>,
}

impl Nursery for KameoNursery {
    async fn up(_: &Path) -> Result<Self, Fault> {
        Ok(Self { supervisor: Supervisor::spawn(()) })
    }

    async fn add(&self, _: u64, greeted: bool) -> Result<(), Fault> {
        let counter = supervised(&self.supervisor, ROOM).await;
        counter.wait_for_startup().await;
        if greeted {
            counter.ask(Sum).send().await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    async fn down(self) {
        stop(&self.supervisor).await;
    }
}

//! The counter as a plain ractor actor, under a supervisor written by hand.
//!
//! The supervisor does what an embedder would write to have a crash survived as fast as ractor can: when its child
//! fails it spawns the next one, linked, and publishes the new reference. The caller keeps the reference, and looks
//! for a newer one only when a call had no answer. No state and no message is kept.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ractor::rpc::CallResult;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::sync::watch;

use super::{Contender, Fault, Live, Nursery, Sent, Tally};

enum Act {
    Add(u64),
    Mark(Arc<AtomicU64>),
    Sum(RpcReplyPort<u64>),
    Crash,
}

struct Counter;

impl Actor for Counter {
    type Msg = Act;
    type State = (Tally, Live);
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Act>, (): ()) -> Result<(Tally, Live), ActorProcessingErr> {
        Ok((Tally::default(), Live::one()))
    }

    async fn handle(
        &self,
        _: ActorRef<Act>,
        act: Act,
        (tally, _): &mut (Tally, Live),
    ) -> Result<(), ActorProcessingErr> {
        match act {
            Act::Add(amount) => tally.add(amount),
            Act::Mark(seen) => drop(seen.fetch_add(1, Ordering::Relaxed)),
            // A caller that has gone away is no reason to stop.
            Act::Sum(reply) => drop(reply.send(tally.sum())),
            Act::Crash => panic!("on purpose"),
        }
        Ok(())
    }
}

type Newest = watch::Sender<Option<ActorRef<Act>>>;

struct Supervisor;

impl Actor for Supervisor {
    type Msg = ();
    type State = Newest;
    type Arguments = Newest;

    async fn pre_start(&self, myself: ActorRef<()>, newest: Newest) -> Result<Newest, ActorProcessingErr> {
        let (counter, _) = Actor::spawn_linked(None, Counter, (), myself.get_cell()).await?;
        newest.send_replace(Some(counter));
        Ok(newest)
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<()>,
        event: SupervisionEvent,
        newest: &mut Newest,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(..) = event {
            let (counter, _) = Actor::spawn_linked(None, Counter, (), myself.get_cell()).await?;
            newest.send_replace(Some(counter));
        }
        Ok(())
    }
}

pub(crate) struct Plain {
    supervisor: ActorRef<()>,
    newest: watch::Receiver<Option<ActorRef<Act>>>,
    counter: ActorRef<Act>,
}

impl Contender for Plain {
    async fn up(_: usize, _: &Path) -> Result<Self, Fault> {
        let (sender, mut newest) = watch::channel(None);
        let (supervisor, _) = Actor::spawn(None, Supervisor, sender).await?;
        let counter = newest.borrow_and_update().clone().ok_or("the supervisor has started no counter")?;
        Ok(Self { supervisor, newest, counter })
    }

    async fn cast(&self, amount: u64) -> Sent {
        Sent::of(self.counter.cast(Act::Add(amount)))
    }

    async fn mark(&self, seen: &Arc<AtomicU64>) -> Sent {
        Sent::of(self.counter.cast(Act::Mark(Arc::clone(seen))))
    }

    async fn crash(&self) -> Sent {
        Sent::of(self.counter.cast(Act::Crash))
    }

    async fn call(&self) -> Option<u64> {
        match self.counter.call(Act::Sum, None).await {
            Ok(CallResult::Success(sum)) => Some(sum),
            _ => None,
        }
    }

    async fn again(&mut self) {
        // An error says that the supervisor has ended: then the next call says so, too.
        let _ = self.newest.changed().await;
        if let Some(counter) = self.newest.borrow_and_update().clone() {
            self.counter = counter;
        }
    }

    async fn down(self) {
        let _ = self.supervisor.stop_and_wait(None, None).await;
    }
}

/// Does not restart: only the starting and stopping of children is measured with it.
struct Parent;

impl Actor for Parent {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        _: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

#[derive(Clone)]
pub(crate) struct PlainNursery {
    supervisor: ActorRef<()>,
}

impl Nursery for PlainNursery {
    async fn up(_: &Path) -> Result<Self, Fault> {
        let (supervisor, _) = Actor::spawn(None, Parent, ()).await?;
        Ok(Self { supervisor })
    }

    async fn add(&self, _: u64, greeted: bool) -> Result<(), Fault> {
        let (counter, _) = Actor::spawn_linked(None, Counter, (), self.supervisor.get_cell()).await?;
        if greeted && !matches!(counter.call(Act::Sum, None).await, Ok(CallResult::Success(_))) {
            return Err("a counter did not answer".into());
        }
        Ok(())
    }

    async fn down(self) {
        self.supervisor.stop_children_and_wait(None, None).await;
        let _ = self.supervisor.stop_and_wait(None, None).await;
    }
}

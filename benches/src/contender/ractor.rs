//! Runs the counter as a plain ractor actor, under a supervisor written by hand.
//!
//! The supervisor does what an embedder would write to recover as fast as ractor can. When its child fails, it spawns the
//! next one, linked, and publishes the new reference. The caller keeps the reference, and looks for a newer one only
//! after a call without an answer. No state and no message outlives a crash.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ractor::rpc::CallResult;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::sync::watch;

use super::{BenchError, CastResult, ChildSpawner, Contender, CounterState, LiveGuard};

enum RactorMessage {
    Add(u64),
    Mark(Arc<AtomicU64>),
    Sum(RpcReplyPort<u64>),
    Crash,
}

struct Counter;

impl Actor for Counter {
    type Msg = RactorMessage;
    type State = (CounterState, LiveGuard);
    type Arguments = ();

    async fn pre_start(
        &self,
        _: ActorRef<RactorMessage>,
        (): (),
    ) -> Result<(CounterState, LiveGuard), ActorProcessingErr> {
        Ok((CounterState::default(), LiveGuard::new()))
    }

    async fn handle(
        &self,
        _: ActorRef<RactorMessage>,
        message: RactorMessage,
        (state, _): &mut (CounterState, LiveGuard),
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RactorMessage::Add(amount) => state.add(amount),
            RactorMessage::Mark(seen) => drop(seen.fetch_add(1, Ordering::Relaxed)),
            // A dropped caller is no reason to stop.
            RactorMessage::Sum(reply) => drop(reply.send(state.sum())),
            RactorMessage::Crash => panic!("on purpose"),
        }
        Ok(())
    }
}

type CurrentCounter = watch::Sender<Option<ActorRef<RactorMessage>>>;

struct Supervisor;

impl Actor for Supervisor {
    type Msg = ();
    type State = CurrentCounter;
    type Arguments = CurrentCounter;

    async fn pre_start(
        &self,
        myself: ActorRef<()>,
        current: CurrentCounter,
    ) -> Result<CurrentCounter, ActorProcessingErr> {
        let (counter, _) = Actor::spawn_linked(None, Counter, (), myself.get_cell()).await?;
        current.send_replace(Some(counter));
        Ok(current)
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<()>,
        event: SupervisionEvent,
        current: &mut CurrentCounter,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(..) = event {
            let (counter, _) = Actor::spawn_linked(None, Counter, (), myself.get_cell()).await?;
            current.send_replace(Some(counter));
        }
        Ok(())
    }
}

pub(crate) struct Ractor {
    supervisor: ActorRef<()>,
    current: watch::Receiver<Option<ActorRef<RactorMessage>>>,
    counter: ActorRef<RactorMessage>,
}

impl Contender for Ractor {
    async fn start(_: usize, _: &Path) -> Result<Self, BenchError> {
        let (sender, mut current) = watch::channel(None);
        let (supervisor, _) = Actor::spawn(None, Supervisor, sender).await?;
        let counter = current.borrow_and_update().clone().ok_or("the supervisor has started no counter")?;
        Ok(Self { supervisor, current, counter })
    }

    async fn cast(&self, amount: u64) -> CastResult {
        CastResult::from_result(self.counter.cast(RactorMessage::Add(amount)))
    }

    async fn mark(&self, seen: &Arc<AtomicU64>) -> CastResult {
        CastResult::from_result(self.counter.cast(RactorMessage::Mark(Arc::clone(seen))))
    }

    async fn crash(&self) -> CastResult {
        CastResult::from_result(self.counter.cast(RactorMessage::Crash))
    }

    async fn call(&self) -> Option<u64> {
        match self.counter.call(RactorMessage::Sum, None).await {
            Ok(CallResult::Success(sum)) => Some(sum),
            _ => None,
        }
    }

    async fn prepare_retry(&mut self) {
        // An error means that the supervisor has ended; the next call fails as well.
        let _ = self.current.changed().await;
        if let Some(counter) = self.current.borrow_and_update().clone() {
            self.counter = counter;
        }
    }

    async fn stop(self) {
        let _ = self.supervisor.stop_and_wait(None, None).await;
    }
}

/// A supervisor that restarts nothing: it measures the start and stop of children.
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
pub(crate) struct RactorSpawner {
    supervisor: ActorRef<()>,
}

impl ChildSpawner for RactorSpawner {
    async fn start(_: &Path) -> Result<Self, BenchError> {
        let (supervisor, _) = Actor::spawn(None, Parent, ()).await?;
        Ok(Self { supervisor })
    }

    async fn add(&self, _: u64, greeted: bool) -> Result<(), BenchError> {
        let (counter, _) = Actor::spawn_linked(None, Counter, (), self.supervisor.get_cell()).await?;
        if greeted && !matches!(counter.call(RactorMessage::Sum, None).await, Ok(CallResult::Success(_))) {
            return Err("a counter did not answer".into());
        }
        Ok(())
    }

    async fn stop(self) {
        self.supervisor.stop_children_and_wait(None, None).await;
        let _ = self.supervisor.stop_and_wait(None, None).await;
    }
}

//! Putting incarnations into slots.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorRuntime, SpawnErr};
use tokio::task::JoinSet;

use crate::actor::behaviour::Behaviour;
use crate::actor::context::RestContext;
use crate::actor::incarnation::Incarnation;
use crate::actor::launch::Launch;
use crate::actor::panics;
use crate::env::Env;
use crate::events::DeadLetterReason;
use crate::messaging::call_error::CallError;
use crate::messaging::mailbox::Envelope;
use crate::policy::{Exit, ExitCause};
use crate::slot::Slot;
use crate::slot::any_slot::AnySlot;
use crate::slot::exit_record::{ExitRecord, InFlight};
use crate::slot::identity::Identity;
use crate::slot::tenancy::Executor;
use crate::supervisor::Progress;

impl<B: Behaviour> Slot<B> {
    /// Puts a new incarnation into the slot, linked to `supervisor` if there is one. It starts by itself; this
    /// does not wait for it to be ready.
    pub(crate) async fn spawn(
        self: Arc<Self>,
        launch: Launch,
        supervisor: Option<ActorCell>,
    ) -> Result<ActorCell, SpawnErr> {
        let generation = launch.generation;
        self.tenancy.begin(generation);
        let slot = Arc::clone(&self);
        let incarnation = Incarnation::<B>::new();
        let spawned = match supervisor {
            Some(supervisor) => Actor::spawn_linked(None, incarnation, (slot, launch), supervisor).await,
            None => ActorRuntime::spawn(None, incarnation, (slot, launch)).await,
        };
        if spawned.is_err() {
            self.tenancy.vacate(generation);
        }
        // The task belongs to the link: a supervisor that ends takes it along.
        spawned.map(|(actor, _task)| actor.get_cell())
    }
}

impl<B: Behaviour> AnySlot for Slot<B> {
    fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    fn launch(
        self: Arc<Self>,
        launch: Launch,
        supervisor: ActorCell,
    ) -> BoxFuture<'static, Result<ActorCell, SpawnErr>> {
        Box::pin(self.spawn(launch, Some(supervisor)))
    }

    fn take_exit(&self) -> Option<ExitRecord> {
        self.tenancy.take_account()
    }

    fn take_tasks(&self) -> Option<JoinSet<()>> {
        self.tenancy.take_tasks()
    }

    fn entrust(&self, executor: Executor) {
        if let Some((executor, record)) = self.tenancy.entrust(executor) {
            executor(self, record);
        }
    }

    fn blame_returned(&self) -> Option<u32> {
        let poison = self.mailbox.blame_returned()?;
        let crashes = poison.returned.map_or(0, |returned| returned.crashes);
        panics::drop_quietly(CallError::Crashed, poison);
        Some(crashes)
    }

    fn backlog(&self) -> usize {
        self.mailbox.len()
    }

    fn stop_reading(&self) {
        self.mailbox.stop_reading();
    }

    fn close(&self) -> Vec<&'static str> {
        let emptied = self.mailbox.close();
        let labels = emptied.iter().map(Envelope::label).collect();
        for envelope in emptied {
            panics::drop_quietly(CallError::Stopped, envelope);
        }
        labels
    }

    fn rest(&self, ctx: &RestContext<'_>) {
        panics::quietly(CallError::Stopped, || self.behaviour.rest(ctx));
    }

    fn open(&self) {
        self.mailbox.open();
    }

    fn discard_checkpoint(&self) {
        *self.checkpoint() = None;
        if let Some(keeper) = &self.keeper {
            keeper.set_aside("it crashed every incarnation that began from it");
        }
    }

    fn forget_checkpoint(&self) {
        let forgotten = self.checkpoint().take();
        panics::drop_quietly(CallError::Stopped, forgotten);
    }

    fn forget_state(&self, env: &Env) {
        if let (Some(keeper), Some(path)) = (&self.keeper, self.identity.path()) {
            keeper.forget(env, path);
        }
        for child in self.behaviour.children() {
            child.forget_state(env);
        }
    }

    fn condemn(&self, cause: ExitCause) {
        self.tenancy.condemn(cause);
    }

    fn progress(&self) -> Progress {
        self.mailbox.progress()
    }

    fn cut_off(&self) -> bool {
        let Some(generation) = self.tenancy.tenant() else { return false };
        let cause = self.tenancy.verdict(generation);
        let by_order = cause == ExitCause::Killed;
        let lost = if by_order { DeadLetterReason::Stopped } else { DeadLetterReason::Crashed };
        // What it has in hand is lost with it, and it takes nothing more.
        let detached = self.mailbox.detach(generation);
        let in_hand = detached.as_ref().and_then(|detached| detached.in_hand);
        let in_flight = in_hand.map(|label| InFlight { label, lost: Some(lost) });
        let ready_since = self.identity.standing().ready_since;
        let exit = Exit { ready_since, progressed: true, abandoned: true, ..Exit::of(cause) };
        let message = "it was killed and has not ended: its handler never comes to an await point";
        let account =
            ExitRecord { exit, message: Some(message.to_owned()), in_flight, ..ExitRecord::unexplained() };
        // Counted before it is cut off: from then on it counts itself out when it ends.
        self.identity.standing().abandoned += 1;
        let was_there = self.leave(generation, account);
        if !was_there {
            self.identity.standing().abandoned -= 1;
        }
        panics::drop_quietly(CallError::Crashed, detached);
        was_there
    }

    fn vacated(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.tenancy.vacated())
    }

    fn children(&self) -> Vec<Arc<dyn AnySlot>> {
        self.behaviour.children()
    }
}

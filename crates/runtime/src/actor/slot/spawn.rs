//! Launching incarnations in slots.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorRuntime, SpawnErr};
use tokio::task::JoinSet;

use crate::actor::behaviour::Behaviour;
use crate::actor::context::FinalizeContext;
use crate::actor::incarnation::Incarnation;
use crate::actor::launch::SpawnArgs;
use crate::actor::slot::Slot;
use crate::actor::slot::any_slot::{AnySlot, ExitHandler};
use crate::actor::slot::exit_record::{ExitRecord, InterruptedMessage};
use crate::env::Env;
use crate::events::DeadLetterReason;
use crate::identity::ActorIdentity;
use crate::messaging::call_error::CallError;
use crate::messaging::mailbox::Entry;
use crate::messaging::panics;
use crate::messaging::progress::ActorProgress;
use crate::policy::{Exit, ExitCause};

impl<B: Behaviour> Slot<B> {
    /// Launches a new incarnation in the slot, linked to `supervisor` if there is one. This does not wait until it is
    /// ready.
    pub(crate) async fn spawn(
        self: Arc<Self>,
        args: SpawnArgs,
        supervisor: Option<ActorCell>,
    ) -> Result<ActorCell, SpawnErr> {
        let generation = args.generation;
        self.current_incarnation.set_current(generation);
        let slot = Arc::clone(&self);
        let incarnation = Incarnation::<B>::new();
        let spawned = match supervisor {
            Some(supervisor) => Actor::spawn_linked(None, incarnation, (slot, args), supervisor).await,
            None => ActorRuntime::spawn(None, incarnation, (slot, args)).await,
        };
        if spawned.is_err() {
            self.current_incarnation.release(generation);
        }
        // The task belongs to the link: a supervisor that ends takes it along.
        spawned.map(|(actor, _task)| actor.get_cell())
    }
}

impl<B: Behaviour> AnySlot for Slot<B> {
    fn identity(&self) -> &Arc<ActorIdentity> {
        &self.identity
    }

    fn launch(
        self: Arc<Self>,
        args: SpawnArgs,
        supervisor: ActorCell,
    ) -> BoxFuture<'static, Result<ActorCell, SpawnErr>> {
        Box::pin(self.spawn(args, Some(supervisor)))
    }

    fn take_exit(&self) -> Option<ExitRecord> {
        self.current_incarnation.take_exit()
    }

    fn take_tasks(&self) -> Option<JoinSet<()>> {
        self.current_incarnation.take_tasks()
    }

    fn delegate_exit(&self, handler: ExitHandler) {
        if let Some((handler, record)) = self.current_incarnation.delegate(handler) {
            handler(self, record);
        }
    }

    fn count_redelivery_crash(&self) -> Option<u32> {
        let poison = self.mailbox.count_redelivery_crash()?;
        let crashes = poison.redelivery.map_or(0, |returned| returned.crashes);
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
        let drained = self.mailbox.close();
        let labels = drained.iter().map(Entry::label).collect();
        for entry in drained {
            panics::drop_quietly(CallError::Stopped, entry);
        }
        labels
    }

    fn finalize(&self, ctx: &FinalizeContext<'_>) {
        panics::run_quietly(CallError::Stopped, || self.behaviour.finalize(ctx));
    }

    fn open(&self) {
        self.mailbox.open();
    }

    fn discard_checkpoint(&self) {
        *self.checkpoint() = None;
        if let Some(snapshotter) = &self.snapshotter {
            snapshotter.quarantine("it crashed every incarnation that began from it");
        }
    }

    fn drop_checkpoint(&self) {
        let dropped = self.checkpoint().take();
        panics::drop_quietly(CallError::Stopped, dropped);
    }

    fn delete_stored_state(&self, env: &Env) {
        if let (Some(snapshotter), Some(path)) = (&self.snapshotter, self.identity.path()) {
            snapshotter.remove(env, path);
        }
        for child in self.behaviour.children() {
            child.delete_stored_state(env);
        }
    }

    fn mark_killed(&self, cause: ExitCause) {
        self.current_incarnation.mark_killed(cause);
    }

    fn progress(&self) -> ActorProgress {
        self.mailbox.progress()
    }

    fn abandon(&self) -> bool {
        let Some(generation) = self.current_incarnation.current() else { return false };
        let cause = self.current_incarnation.kill_cause(generation);
        let requested = cause == ExitCause::Killed;
        let reason = if requested { DeadLetterReason::Stopped } else { DeadLetterReason::Crashed };
        // The message in flight is lost with it, and it takes no other.
        let detached = self.mailbox.detach(generation);
        let label = detached.as_ref().and_then(|detached| detached.in_flight);
        let in_flight = label.map(|label| InterruptedMessage { label, dead_letter_reason: Some(reason) });
        let ready_since = self.identity.state().ready_since;
        let exit = Exit { ready_since, progressed: true, abandoned: true, ..Exit::of(cause) };
        let message = "it was killed and has not ended: its handler never comes to an await point";
        let record =
            ExitRecord { exit, message: Some(message.to_owned()), in_flight, ..ExitRecord::unreported() };
        // Counted before the exit is reported: from then on the incarnation subtracts itself when it ends.
        self.identity.state().abandoned += 1;
        let was_there = self.report_exit(generation, record);
        if !was_there {
            self.identity.state().abandoned -= 1;
        }
        panics::drop_quietly(CallError::Crashed, detached);
        was_there
    }

    fn ended(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.current_incarnation.ended())
    }

    fn children(&self) -> Vec<Arc<dyn AnySlot>> {
        self.behaviour.children()
    }
}

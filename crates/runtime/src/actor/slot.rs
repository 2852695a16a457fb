//! A slot: the identity of an actor, which outlives each of its incarnations.
//!
//! It holds what must survive a crash: the path, the mailbox, the last checkpoint. Its supervisor owns it and
//! launches one incarnation after another in it. Only one is current at a time. An incarnation that was abandoned
//! reads no more messages, and the slot ignores everything that it leaves behind.
//!
//! - `any_slot`: the interface of a slot to its supervisor
//! - `current_incarnation`: the incarnation that a slot belongs to, and the exit record of the last one
//! - `incarnation`: one incarnation, from its launch to the exit record that it leaves in the slot

pub(crate) mod any_slot;
mod current_incarnation;
pub(crate) mod exit_record;
mod incarnation;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::{Mutex, MutexGuard};
use ractor::{Actor, ActorCell, ActorRuntime, SpawnErr};
use tokio::task::JoinSet;

use crate::actor::behaviour::Behaviour;
use crate::actor::context::{Context, FinalizeContext, SpawnArgs};
use crate::env::Env;
use crate::events::DeadLetterReason;
use crate::identity::ActorIdentity;
use crate::messaging::address::Address;
use crate::messaging::call_error::CallError;
use crate::messaging::envelope::MailboxEntry;
use crate::messaging::label::Label;
use crate::messaging::mailbox::Mailbox;
use crate::messaging::panics;
use crate::messaging::progress::ActorProgress;
use crate::policy::{Exit, ExitCause};
use crate::state::{Codec, Snapshotter};
use any_slot::{AnySlot, ExitHandler};
use current_incarnation::{CurrentIncarnation, ReportOutcome};
use exit_record::{ExitRecord, InterruptedMessage};
use incarnation::Incarnation;

pub(crate) struct Slot<B: Behaviour> {
    pub(crate) identity: Arc<ActorIdentity>,
    pub(crate) mailbox: Arc<Mailbox<B::Message>>,
    pub(crate) behaviour: B,
    /// Boxed: most actors never have one.
    pub(crate) checkpoint: Mutex<Option<Box<B::Snapshot>>>,
    pub(crate) current_incarnation: CurrentIncarnation,
    /// The store for durable snapshots. Boxed: most actors have none.
    pub(crate) snapshotter: Option<Box<Snapshotter<B::Snapshot>>>,
}

impl<B: Behaviour> Slot<B> {
    pub(crate) fn new(
        identity: ActorIdentity,
        mailbox_capacity: usize,
        behaviour: B,
        codec: Option<Codec<B::Snapshot>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            identity: Arc::new(identity),
            mailbox: Arc::new(Mailbox::new(mailbox_capacity)),
            behaviour,
            checkpoint: Mutex::new(None),
            current_incarnation: CurrentIncarnation::default(),
            snapshotter: codec.map(|codec| Box::new(Snapshotter::new(codec))),
        })
    }

    pub(crate) fn address(&self) -> Address<B::Message> {
        Address::new(Arc::clone(&self.identity), Arc::clone(&self.mailbox))
    }

    pub(crate) fn checkpoint(&self) -> MutexGuard<'_, Option<Box<B::Snapshot>>> {
        self.checkpoint.lock()
    }

    /// Reports the exit of incarnation `generation`, which has been torn down; false if it was abandoned before.
    pub(crate) fn report_exit(&self, generation: u64, record: ExitRecord) -> bool {
        match self.current_incarnation.report_exit(generation, record) {
            ReportOutcome::Superseded => return false,
            ReportOutcome::Stored => {}
            ReportOutcome::Delegated(handler, record) => {
                handler(self, *record);
                self.current_incarnation.release(generation);
            }
        }
        true
    }

    /// Loads the state that an earlier process has stored, at the first launch in this one.
    pub(crate) async fn load_stored_state(&self, ctx: &Context<B::Message>) {
        let Some(snapshotter) = &self.snapshotter else { return };
        let crashes_max = self.identity.policy().checkpoint_crashes_max;
        let stored = snapshotter.load(&ctx.env, &ctx.path, ctx.generation, crashes_max).await;
        if stored.is_some() {
            *self.checkpoint() = stored.map(Box::new);
        }
    }
}

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

    fn close(&self) -> Vec<Label> {
        let drained = self.mailbox.close();
        let labels = drained.iter().map(MailboxEntry::label).collect();
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
        let ready_since = self.identity.state().ready_since.as_ref().map(|since| since.at);
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

impl<B: Behaviour> Drop for Slot<B> {
    /// Answers the callers that wait at a slot that never was in a tree, or that was dropped with it, and at its
    /// descendants. A handle may keep descendants alive, but they cannot start without this slot.
    fn drop(&mut self) {
        self.close();
        let mut below = self.behaviour.children();
        while let Some(child) = below.pop() {
            child.close();
            below.extend(child.children());
        }
    }
}

//! A slot: the identity of an actor, which outlives each of its incarnations.
//!
//! It holds what must survive a crash: the path, the mailbox, the last checkpoint. Its supervisor owns it and
//! launches one incarnation after another in it. Only one is current at a time. An incarnation that was abandoned
//! reads no more messages, and the slot ignores everything that it leaves behind.

pub(crate) mod any_slot;
pub(crate) mod current_incarnation;
pub(crate) mod exit_record;
mod spawn;

use std::sync::Arc;

use crate::actor::behaviour::Behaviour;
use crate::actor::context::Context;
use crate::identity::ActorIdentity;
use crate::messaging::address::Address;
use crate::messaging::mailbox::Mailbox;
use crate::state::{Codec, Snapshotter};
use any_slot::AnySlot;
use current_incarnation::{CurrentIncarnation, ReportOutcome};
use exit_record::ExitRecord;
use parking_lot::{Mutex, MutexGuard};

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

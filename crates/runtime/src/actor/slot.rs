//! A slot: the identity of an actor that outlives each of its incarnations.
//!
//! It holds what must survive a crash: the path, the mailbox, the last checkpoint. Its supervisor owns it and puts
//! one incarnation after another into it. Only one counts at a time: one that was killed, does not end and was cut off
//! reads no more messages, and nothing that it leaves behind is kept.

pub(crate) mod any_slot;
pub(crate) mod current_incarnation;
pub(crate) mod exit_record;
pub(crate) mod identity;
mod spawn;

use std::sync::Arc;

use crate::actor::behaviour::Behaviour;
use crate::actor::context::Context;
use crate::messaging::address::Address;
use crate::messaging::mailbox::Mailbox;
use crate::state::{Codec, Snapshotter};
use any_slot::AnySlot;
use current_incarnation::{CurrentIncarnation, ReportOutcome};
use exit_record::ExitRecord;
use identity::ActorIdentity;
use parking_lot::{Mutex, MutexGuard};

pub(crate) struct Slot<B: Behaviour> {
    pub(crate) identity: Arc<ActorIdentity>,
    pub(crate) mailbox: Arc<Mailbox<B::Message>>,
    pub(crate) behaviour: B,
    /// Boxed: most actors never have one.
    pub(crate) checkpoint: Mutex<Option<Box<B::Snapshot>>>,
    pub(crate) current_incarnation: CurrentIncarnation,
    /// Where snapshots go that outlive the process. Boxed: most actors have none.
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

    /// Leaves the account of incarnation `generation`, which has been torn down; false if it was cut off before.
    pub(crate) fn report_exit(&self, generation: u64, record: ExitRecord) -> bool {
        match self.current_incarnation.report_exit(generation, record) {
            ReportOutcome::Superseded => return false,
            ReportOutcome::Stored => {}
            ReportOutcome::Delegated(executor, record) => {
                executor(self, *record);
                self.current_incarnation.release(generation);
            }
        }
        true
    }

    /// Takes up the state that an earlier process has stored, at the first launch in this one.
    pub(crate) async fn load_stored_state(&self, ctx: &Context<B::Message>) {
        let Some(keeper) = &self.snapshotter else { return };
        let crashes_max = self.identity.policy().checkpoint_crashes_max;
        let recalled = keeper.load(&ctx.env, &ctx.path, ctx.generation, crashes_max).await;
        if recalled.is_some() {
            *self.checkpoint() = recalled.map(Box::new);
        }
    }
}

impl<B: Behaviour> Drop for Slot<B> {
    /// Answers callers that wait at a slot that never was in a tree, or that was dropped with it, and those below. A
    /// handle may keep the slots below alive, but none of them can start without this one.
    fn drop(&mut self) {
        self.close();
        let mut below = self.behaviour.children();
        while let Some(child) = below.pop() {
            child.close();
            below.extend(child.children());
        }
    }
}

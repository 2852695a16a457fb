//! A slot: the identity of an actor that outlives each of its incarnations.
//!
//! It holds what must survive a crash: the path, the mailbox, the last checkpoint. Its supervisor owns it and puts
//! one incarnation after another into it, never two at a time.

pub(crate) mod any_slot;
pub(crate) mod exit_record;
pub(crate) mod identity;
mod occupancy;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::actor::behaviour::Behaviour;
use crate::messaging::address::Address;
use crate::messaging::mailbox::Mailbox;
use crate::slot::exit_record::ExitRecord;
use crate::slot::identity::Identity;

pub(crate) struct Slot<B: Behaviour> {
    pub(crate) identity: Arc<Identity>,
    pub(crate) mailbox: Arc<Mailbox<B::Message>>,
    pub(crate) behaviour: B,
    pub(crate) checkpoint: Mutex<Option<B::Snapshot>>,
    exit: Mutex<Option<ExitRecord>>,
    pub(crate) occupied: watch::Sender<bool>,
}

impl<B: Behaviour> Slot<B> {
    pub(crate) fn new(identity: Identity, mailbox_capacity: usize, behaviour: B) -> Arc<Self> {
        Arc::new(Self {
            identity: Arc::new(identity),
            mailbox: Arc::new(Mailbox::new(mailbox_capacity)),
            behaviour,
            checkpoint: Mutex::new(None),
            exit: Mutex::new(None),
            occupied: watch::Sender::new(false),
        })
    }

    pub(crate) fn address(&self) -> Address<B::Message> {
        Address::new(Arc::clone(&self.identity), Arc::clone(&self.mailbox))
    }

    pub(crate) fn checkpoint(&self) -> MutexGuard<'_, Option<B::Snapshot>> {
        self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn exit(&self) -> MutexGuard<'_, Option<ExitRecord>> {
        self.exit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves the account of an incarnation that has been torn down.
    pub(crate) fn vacate(&self, record: ExitRecord) {
        *self.exit() = Some(record);
        self.occupied.send_replace(false);
    }
}

//! A slot: the identity of an actor that outlives each of its incarnations.
//!
//! It holds what must survive a crash: the path, the mailbox, the last checkpoint. Its supervisor owns it and puts
//! one incarnation after another into it, never two at a time.

pub(crate) mod any_slot;
pub(crate) mod exit_record;
pub(crate) mod identity;
mod occupancy;

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::actor::behaviour::Behaviour;
use crate::actor::panics;
use crate::messaging::address::Address;
use crate::messaging::call_error::CallError;
use crate::messaging::mailbox::Mailbox;
use crate::slot::any_slot::AnySlot;
use crate::slot::exit_record::ExitRecord;
use crate::slot::identity::Identity;

/// What takes in the account of an incarnation whose supervisor will not.
pub(crate) type Executor = Box<dyn FnOnce(&dyn AnySlot, ExitRecord) + Send>;

/// The account of an incarnation that has ended, or who waits for it.
enum Account {
    /// Its supervisor does.
    Awaited,
    /// It lies here until its supervisor takes it.
    Left(Box<ExitRecord>),
    /// No supervisor is left, and this was left in its place.
    Entrusted(Executor),
}

pub(crate) struct Slot<B: Behaviour> {
    pub(crate) identity: Arc<Identity>,
    pub(crate) mailbox: Arc<Mailbox<B::Message>>,
    pub(crate) behaviour: B,
    pub(crate) checkpoint: Mutex<Option<B::Snapshot>>,
    account: Mutex<Account>,
    pub(crate) occupied: watch::Sender<bool>,
}

impl<B: Behaviour> Slot<B> {
    pub(crate) fn new(identity: Identity, mailbox_capacity: usize, behaviour: B) -> Arc<Self> {
        Arc::new(Self {
            identity: Arc::new(identity),
            mailbox: Arc::new(Mailbox::new(mailbox_capacity)),
            behaviour,
            checkpoint: Mutex::new(None),
            account: Mutex::new(Account::Awaited),
            occupied: watch::Sender::new(false),
        })
    }

    pub(crate) fn address(&self) -> Address<B::Message> {
        Address::new(Arc::clone(&self.identity), Arc::clone(&self.mailbox))
    }

    pub(crate) fn checkpoint(&self) -> MutexGuard<'_, Option<B::Snapshot>> {
        self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves the account of an incarnation that has been torn down.
    pub(crate) fn vacate(&self, record: ExitRecord) {
        let entrusted = {
            let mut account = self.account();
            match mem::replace(&mut *account, Account::Awaited) {
                Account::Entrusted(executor) => Some((executor, record)),
                Account::Awaited | Account::Left(_) => {
                    *account = Account::Left(Box::new(record));
                    None
                }
            }
        };
        if let Some((executor, record)) = entrusted {
            executor(self, record);
        }
        self.occupied.send_replace(false);
    }

    /// The account, once.
    fn take_account(&self) -> Option<ExitRecord> {
        let mut account = self.account();
        match mem::replace(&mut *account, Account::Awaited) {
            Account::Left(record) => Some(*record),
            other => {
                *account = other;
                None
            }
        }
    }
}

impl<B: Behaviour> Drop for Slot<B> {
    /// Whoever waits at a slot that never was in a tree, or that was dropped with it, gets an answer.
    fn drop(&mut self) {
        for envelope in self.mailbox.close() {
            panics::drop_quietly(CallError::Stopped, envelope);
        }
    }
}

//! Putting incarnations into slots.

use std::mem;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorRuntime, SpawnErr};
use tokio::task::JoinSet;

use crate::actor::behaviour::Behaviour;
use crate::actor::context::RestContext;
use crate::actor::incarnation::Incarnation;
use crate::actor::launch::Launch;
use crate::actor::panics;
use crate::messaging::call_error::CallError;
use crate::messaging::mailbox::Envelope;
use crate::slot::any_slot::AnySlot;
use crate::slot::exit_record::ExitRecord;
use crate::slot::identity::Identity;
use crate::slot::{Account, Executor, Slot};

impl<B: Behaviour> Slot<B> {
    /// Puts a new incarnation into the slot, linked to `supervisor` if there is one. It starts by itself; this
    /// does not wait for it to be ready.
    pub(crate) async fn spawn(
        self: Arc<Self>,
        launch: Launch,
        supervisor: Option<ActorCell>,
    ) -> Result<ActorCell, SpawnErr> {
        // What was left for an incarnation that could not be spawned is no later one's.
        *self.account() = Account::Awaited;
        self.occupied.send_replace(true);
        let slot = Arc::clone(&self);
        let incarnation = Incarnation::<B>::new();
        let spawned = match supervisor {
            Some(supervisor) => Actor::spawn_linked(None, incarnation, (slot, launch), supervisor).await,
            None => ActorRuntime::spawn(None, incarnation, (slot, launch)).await,
        };
        if spawned.is_err() {
            self.occupied.send_replace(false);
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
        self.take_account()
    }

    fn take_tasks(&self) -> Option<JoinSet<()>> {
        match &mut *self.account() {
            Account::Left(record) => Some(mem::take(&mut record.tasks)),
            Account::Awaited | Account::Entrusted(_) => None,
        }
    }

    fn entrust(&self, executor: Executor) {
        let record = {
            let mut account = self.account();
            match mem::replace(&mut *account, Account::Awaited) {
                Account::Left(record) => *record,
                // An incarnation that was never spawned leaves none.
                Account::Awaited if !*self.occupied.borrow() => return,
                Account::Awaited | Account::Entrusted(_) => {
                    *account = Account::Entrusted(executor);
                    return;
                }
            }
        };
        executor(self, record);
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
    }

    fn vacated(&self) -> BoxFuture<'_, ()> {
        let mut occupied = self.occupied.subscribe();
        Box::pin(async move {
            // The sender lives in this slot, so the wait ends with the incarnation and not with an error.
            let _ = occupied.wait_for(|occupied| !occupied).await;
        })
    }

    fn children(&self) -> Vec<Arc<dyn AnySlot>> {
        self.behaviour.children()
    }
}

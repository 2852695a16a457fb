//! Putting incarnations into slots.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorRuntime, SpawnErr};

use crate::actor::behaviour::Behaviour;
use crate::actor::context::RestContext;
use crate::actor::incarnation::Incarnation;
use crate::actor::launch::Launch;
use crate::actor::panics;
use crate::messaging::call_error::CallError;
use crate::messaging::message::Message;
use crate::slot::Slot;
use crate::slot::any_slot::AnySlot;
use crate::slot::exit_record::ExitRecord;
use crate::slot::identity::Identity;

impl<B: Behaviour> Slot<B> {
    /// Puts a new incarnation into the slot, linked to `supervisor` if there is one. It starts by itself; this
    /// does not wait for it to be ready.
    pub(crate) async fn spawn(
        self: Arc<Self>,
        launch: Launch,
        supervisor: Option<ActorCell>,
    ) -> Result<ActorCell, SpawnErr> {
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
        self.exit().take()
    }

    fn backlog(&self) -> usize {
        self.mailbox.len()
    }

    fn stop_reading(&self) {
        self.mailbox.stop_reading();
    }

    fn close(&self) -> Vec<&'static str> {
        let emptied = self.mailbox.close();
        let labels = emptied.iter().map(|envelope| envelope.message.label()).collect();
        panics::drop_quietly(CallError::Stopped, emptied);
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

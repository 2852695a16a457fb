//! A slot: the identity of an actor that outlives each of its incarnations.
//!
//! It holds what must survive a crash: the path, the mailbox, the last checkpoint. Its supervisor owns it and puts
//! one incarnation after another into it, never two at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::address::Address;
use crate::context::RestContext;
use crate::env::Env;
use crate::identity::Identity;
use crate::mailbox::Mailbox;

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

/// A slot whatever it holds.
pub(crate) trait AnySlot: Send + Sync {
    fn identity(&self) -> &Arc<Identity>;
    fn launch(
        self: Arc<Self>,
        launch: Launch,
        supervisor: ActorCell,
    ) -> BoxFuture<'static, Result<ActorCell, SpawnErr>>;
    fn take_exit(&self) -> Option<ExitRecord>;
    fn backlog(&self) -> usize;
    /// Lets the incarnation take no further message.
    fn stop_reading(&self);
    /// Accepts no messages any more; returns the labels of those that waited.
    fn close(&self) -> Vec<&'static str>;
    /// Lets the behaviour answer whomever it still keeps waiting. A panic there has nobody left to hurt.
    fn rest(&self, ctx: &RestContext<'_>);
    fn open(&self);
    fn discard_checkpoint(&self);
    /// Returns when no incarnation is left in the slot.
    fn vacated(&self) -> BoxFuture<'_, ()>;
    fn children(&self) -> Vec<Arc<dyn AnySlot>>;
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

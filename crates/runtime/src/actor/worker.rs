//! The trait that embedders implement for a supervised actor.

use std::sync::Arc;

use ractor::SupervisionEvent;

use crate::actor::behaviour::{ActorFlow, Behaviour};
use crate::actor::context::{Context, FinalizeContext};
use crate::actor::failure::Failure;
use crate::actor::slot::any_slot::AnySlot;
use crate::messaging::message::Message;

/// An actor to supervise. `self` holds the data from which every incarnation is made, and never changes;
/// [`State`](Self::State) is the data of one incarnation.
///
/// A restart begins with [`start`](Self::start), given the last snapshot; the messages that waited are handled by
/// the new incarnation, in order.
///
/// ```
/// use mainstay_runtime::{Context, Failure, Message, Reply, Worker};
///
/// #[derive(Debug)]
/// enum Count { Up, Get(Reply<u64>) }
/// impl Message for Count {}
///
/// struct Counter;
/// impl Worker for Counter {
///     type Message = Count;
///     type State = u64;
///     type Snapshot = u64;
///
///     async fn start(&self, _: &mut Context<Count>, kept: Option<u64>) -> Result<u64, Failure> {
///         Ok(kept.unwrap_or(0))
///     }
///
///     async fn handle(&self, _: &mut Context<Count>, message: Count, count: &mut u64) -> Result<(), Failure> {
///         match message {
///             Count::Up => *count += 1,
///             Count::Get(reply) => reply.send(*count),
///         }
///         Ok(())
///     }
///
///     fn snapshot(&self, count: &u64) -> Option<u64> {
///         Some(*count)
///     }
/// }
/// ```
pub trait Worker: Send + Sync + 'static {
    /// The type of its messages.
    type Message: Message;
    /// The state of one incarnation. It is lost when that incarnation crashes.
    type State: Send + 'static;
    /// The part of the state that survives a crash.
    type Snapshot: Clone + Send + 'static;

    /// Makes the state of a new incarnation, from the last snapshot if there is one.
    ///
    /// The actor is ready when this returns, unless it [defers](Context::defer_readiness) that. It may take long: no
    /// supervisor waits for it in a handler. The children after it wait.
    fn start(
        &self,
        ctx: &mut Context<Self::Message>,
        kept: Option<Self::Snapshot>,
    ) -> impl Future<Output = Result<Self::State, Failure>> + Send;

    /// Handles one message. An `Err` or a panic ends the incarnation, and its supervisor decides what follows. The
    /// message is not handled again, unless its type asks for that: see [`Message::redelivery_clone`].
    fn handle(
        &self,
        ctx: &mut Context<Self::Message>,
        message: Self::Message,
        state: &mut Self::State,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Returns the snapshot to keep; `None` keeps the last one. Called after each message that was handled to its
    /// end, and after [`stop`](Self::stop).
    ///
    /// This runs once per message, so it must be cheap; a large state should return a snapshot only now and then.
    fn snapshot(&self, _state: &Self::State) -> Option<Self::Snapshot> {
        None
    }

    /// Ends an incarnation in order. It still has its state, and at most its shutdown timeout.
    fn stop(
        &self,
        _ctx: &mut Context<Self::Message>,
        _state: &mut Self::State,
    ) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Answers the callers that still wait once the actor has settled: it was stopped or has failed, and no
    /// incarnation follows unless a command starts it.
    ///
    /// A worker that keeps callers from one incarnation to the next answers them here. Called after the tasks of the
    /// last incarnation have ended. It must return at once, and may be called more than once.
    fn finalize(&self, _ctx: &FinalizeContext<'_>) {}
}

/// The behaviour of a worker.
pub(crate) struct WorkerBehaviour<W>(pub(crate) W);

impl<W: Worker> Behaviour for WorkerBehaviour<W> {
    type Message = W::Message;
    type State = W::State;
    type Snapshot = W::Snapshot;

    async fn start(
        &self,
        ctx: &mut Context<W::Message>,
        kept: Option<W::Snapshot>,
    ) -> Result<W::State, Failure> {
        let state = self.0.start(ctx, kept).await?;
        if !ctx.is_readiness_deferred {
            ctx.mark_ready();
        }
        Ok(state)
    }

    async fn handle(
        &self,
        ctx: &mut Context<W::Message>,
        message: W::Message,
        state: &mut W::State,
    ) -> Result<ActorFlow, Failure> {
        self.0.handle(ctx, message, state).await?;
        Ok(ActorFlow::Continue)
    }

    fn snapshot(&self, state: &W::State) -> Option<W::Snapshot> {
        self.0.snapshot(state)
    }

    async fn stop(&self, ctx: &mut Context<W::Message>, state: &mut W::State) -> Result<ActorFlow, Failure> {
        self.0.stop(ctx, state).await;
        Ok(ActorFlow::Stop)
    }

    async fn child_changed(
        &self,
        _: &mut Context<W::Message>,
        _: SupervisionEvent,
        _: &mut W::State,
    ) -> Result<ActorFlow, Failure> {
        Ok(ActorFlow::Continue)
    }

    fn children(&self) -> Vec<Arc<dyn AnySlot>> {
        Vec::new()
    }

    fn finalize(&self, ctx: &FinalizeContext<'_>) {
        self.0.finalize(ctx);
    }
}

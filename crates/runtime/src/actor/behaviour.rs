//! The interface of workers and supervisors to the incarnation.

use std::sync::Arc;

use ractor::SupervisionEvent;

use crate::actor::context::{Context, FinalizeContext};
use crate::actor::failure::Failure;
use crate::actor::slot::any_slot::AnySlot;
use crate::messaging::message::Message;

/// The decision of a handler to continue or to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ActorFlow {
    /// The incarnation waits for the next wake-up.
    Continue,
    /// The incarnation ends in order.
    Stop,
}

/// The handlers of a worker or of a supervisor.
pub(crate) trait Behaviour: Send + Sync + 'static {
    type Message: Message;
    type State: Send + 'static;
    type Snapshot: Clone + Send + 'static;

    /// Makes the state. The behaviour itself calls `Context::become_ready`.
    fn start(
        &self,
        ctx: &mut Context<Self::Message>,
        kept: Option<Self::Snapshot>,
    ) -> impl Future<Output = Result<Self::State, Failure>> + Send;

    fn handle(
        &self,
        ctx: &mut Context<Self::Message>,
        message: Self::Message,
        state: &mut Self::State,
    ) -> impl Future<Output = Result<ActorFlow, Failure>> + Send;

    fn snapshot(&self, state: &Self::State) -> Option<Self::Snapshot>;

    /// Handles a stop request: the incarnation ends now, or continues and ends later.
    fn stop(
        &self,
        ctx: &mut Context<Self::Message>,
        state: &mut Self::State,
    ) -> impl Future<Output = Result<ActorFlow, Failure>> + Send;

    /// Handles an event of a child.
    fn child_changed(
        &self,
        ctx: &mut Context<Self::Message>,
        event: SupervisionEvent,
        state: &mut Self::State,
    ) -> impl Future<Output = Result<ActorFlow, Failure>> + Send;

    fn children(&self) -> Vec<Arc<dyn AnySlot>>;

    /// Answers the callers that still wait when no incarnation follows.
    fn finalize(&self, _ctx: &FinalizeContext<'_>) {}
}

//! What an incarnation does: the face that workers and supervisors show to it.

use std::sync::Arc;

use ractor::SupervisionEvent;

use crate::actor::context::{Context, FinalizeContext};
use crate::actor::failure::Failure;
use crate::actor::slot::any_slot::AnySlot;
use crate::messaging::message::Message;

/// Whether an incarnation goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ActorFlow {
    /// It waits for the next wake-up.
    Continue,
    /// It has ended in order.
    Stop,
}

/// What an incarnation does: a worker's handlers, or a supervisor's.
pub(crate) trait Behaviour: Send + Sync + 'static {
    type Message: Message;
    type State: Send + 'static;
    type Snapshot: Clone + Send + 'static;

    /// Makes the state. The behaviour itself says when it is ready (`Context::become_ready`).
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

    /// Asked to end: either ends now, or continues and ends later.
    fn stop(
        &self,
        ctx: &mut Context<Self::Message>,
        state: &mut Self::State,
    ) -> impl Future<Output = Result<ActorFlow, Failure>> + Send;

    /// Something happened to a child.
    fn child_changed(
        &self,
        ctx: &mut Context<Self::Message>,
        event: SupervisionEvent,
        state: &mut Self::State,
    ) -> impl Future<Output = Result<ActorFlow, Failure>> + Send;

    fn children(&self) -> Vec<Arc<dyn AnySlot>>;

    /// No incarnation follows for now.
    fn finalize(&self, _ctx: &FinalizeContext<'_>) {}
}

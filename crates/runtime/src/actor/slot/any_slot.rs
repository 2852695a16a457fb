//! The interface of a slot to its supervisor, independent of its behaviour.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use ractor::{ActorCell, SpawnErr};
use tokio::task::JoinSet;

use crate::actor::context::{FinalizeContext, SpawnArgs};
use crate::actor::slot::exit_record::ExitRecord;
use crate::env::Env;
use crate::identity::ActorIdentity;
use crate::messaging::label::Label;
use crate::messaging::progress::ActorProgress;
use crate::policy::ExitCause;

/// The handler for the exit record of an incarnation without a supervisor.
pub(crate) type ExitHandler = Box<dyn FnOnce(&dyn AnySlot, ExitRecord) + Send>;

/// A slot of any behaviour.
pub(crate) trait AnySlot: Send + Sync {
    fn identity(&self) -> &Arc<ActorIdentity>;
    fn launch(
        self: Arc<Self>,
        args: SpawnArgs,
        supervisor: ActorCell,
    ) -> BoxFuture<'static, Result<ActorCell, SpawnErr>>;
    fn take_exit(&self) -> Option<ExitRecord>;
    /// Takes the tasks that an ended incarnation left behind; `None` until it has ended.
    fn take_tasks(&self) -> Option<JoinSet<()>>;
    /// Passes the exit record of the incarnation in the slot to `handler`: now, or when it has ended.
    fn delegate_exit(&self, handler: ExitHandler);
    /// Counts a crash on the message that the last incarnation gave back. At the limit the message is dropped, and
    /// the number of its crashes is returned.
    fn count_redelivery_crash(&self) -> Option<u32>;
    fn backlog(&self) -> usize;
    /// Stops the incarnation from taking another message.
    fn stop_reading(&self);
    /// Refuses messages from now on; returns the labels of those that waited.
    fn close(&self) -> Vec<Label>;
    /// Lets the behaviour answer the callers that it still keeps waiting. A panic there is ignored.
    fn finalize(&self, ctx: &FinalizeContext<'_>);
    fn open(&self);
    fn discard_checkpoint(&self);
    /// Drops the last snapshot, because the child itself is removed.
    fn drop_checkpoint(&self);
    /// Deletes the stored state of this actor and of its descendants, because it is removed for good.
    fn delete_stored_state(&self, env: &Env);
    /// Sets the cause for which the incarnation is being killed.
    fn mark_killed(&self, cause: ExitCause);
    /// Returns how far the incarnation has come.
    fn progress(&self) -> ActorProgress;
    /// Abandons an incarnation that was killed and does not end, and reports its exit in its place. From now on its
    /// actions do not reach the slot. False if it has ended meanwhile.
    fn abandon(&self) -> bool;
    /// Returns when no incarnation is left in the slot.
    fn ended(&self) -> BoxFuture<'_, ()>;
    fn children(&self) -> Vec<Arc<dyn AnySlot>>;
}

impl fmt::Debug for dyn AnySlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("name", &self.identity().name()).finish_non_exhaustive()
    }
}

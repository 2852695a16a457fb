//! A slot as its supervisor sees it, whatever is in it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use ractor::{ActorCell, SpawnErr};
use tokio::task::JoinSet;

use crate::actor::context::FinalizeContext;
use crate::actor::launch::SpawnArgs;
use crate::actor::slot::current_incarnation::ExitHandler;
use crate::actor::slot::exit_record::ExitRecord;
use crate::actor::slot::identity::ActorIdentity;
use crate::env::Env;
use crate::policy::ExitCause;
use crate::supervisor::ActorProgress;

/// A slot whatever it holds.
pub(crate) trait AnySlot: Send + Sync {
    fn identity(&self) -> &Arc<ActorIdentity>;
    fn launch(
        self: Arc<Self>,
        launch: SpawnArgs,
        supervisor: ActorCell,
    ) -> BoxFuture<'static, Result<ActorCell, SpawnErr>>;
    fn take_exit(&self) -> Option<ExitRecord>;
    /// The tasks that an incarnation which has ended left behind; `None` as long as it has not.
    fn take_tasks(&self) -> Option<JoinSet<()>>;
    /// Lets `executor` take in the account of the incarnation in the slot: now, or when it has ended.
    fn delegate_exit(&self, executor: ExitHandler);
    /// Counts a crash on the message that the last incarnation gave back. If that was one too many, the message is
    /// dropped and the number of crashes on it returned.
    fn count_redelivery_crash(&self) -> Option<u32>;
    fn backlog(&self) -> usize;
    /// Lets the incarnation take no further message.
    fn stop_reading(&self);
    /// Accepts no messages any more; returns the labels of those that waited.
    fn close(&self) -> Vec<&'static str>;
    /// Lets the behaviour answer whomever it still keeps waiting. A panic there has nobody left to hurt.
    fn finalize(&self, ctx: &FinalizeContext<'_>);
    fn open(&self);
    fn discard_checkpoint(&self);
    /// Drops the last snapshot without a word: the child itself is dropped.
    fn drop_checkpoint(&self);
    /// Drops what is stored of this actor and of those below it: it is being removed for good.
    fn delete_stored_state(&self, env: &Env);
    /// Says why the incarnation is being killed.
    fn mark_killed(&self, cause: ExitCause);
    /// Whether the incarnation goes on from message to message.
    fn progress(&self) -> ActorProgress;
    /// Takes the slot back from an incarnation that was killed and does not end, and leaves an account in its place.
    /// From now on nothing that it does reaches the slot. False if it has ended meanwhile.
    fn abandon(&self) -> bool;
    /// Returns when no incarnation is left in the slot.
    fn ended(&self) -> BoxFuture<'_, ()>;
    fn children(&self) -> Vec<Arc<dyn AnySlot>>;
}

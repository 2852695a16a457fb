//! Finalizing slots: every message that waits in one becomes a dead letter, and every caller gets an answer.

use std::time::Duration;

use tokio::time::timeout;

use super::exits;
use crate::actor::context::FinalizeContext;
use crate::actor::slot::any_slot::AnySlot;
use crate::env::Env;
use crate::events::{DeadLetter, DeadLetterReason};
use crate::identity::ActorStatus;
use crate::path::ActorPath;

/// The longest wait for the descendants of a supervisor that has ended. They have been killed, so a descendant that
/// is still there never yields.
const DESCENDANT_WAIT_MAX: Duration = Duration::from_secs(1);

/// Sets the status of a slot that has settled, records its unhandled messages as dead letters, and finalizes its
/// descendants.
pub(crate) fn finalize_slot(env: &Env, slot: &dyn AnySlot, path: &ActorPath, status: ActorStatus) {
    let generation = {
        let mut state = slot.identity().state();
        state.set_status(status, env.now());
        state.generation
    };
    for label in slot.close() {
        env.journal.record(path, generation, &DeadLetter::new(DeadLetterReason::Stopped, label));
    }
    slot.finalize(&FinalizeContext { env, path, generation });
    finalize_descendants(env, slot);
}

/// Finalizes a slot that its supervisor refused, under the path that it would have had.
pub(super) fn finalize_refused(env: &Env, above: &ActorPath, slot: &dyn AnySlot) {
    let Ok(path) = above.child(slot.identity().name()) else { return };
    super::place_at(slot, path.clone());
    finalize_slot(env, slot, &path, ActorStatus::Stopped);
}

/// Finalizes the children of a supervisor that has ended, including those that never started. After an orderly end
/// they are finalized already; after a kill there is no supervisor left to do it.
pub(crate) fn finalize_descendants(env: &Env, slot: &dyn AnySlot) {
    for child in slot.children() {
        finalize_orphan(env, child.as_ref());
    }
}

/// Finalizes a slot without a supervisor. An incarnation that is still in it is being killed. When it has ended, its
/// exit is recorded and the slot is finalized again, because its last action may have started a child.
pub(crate) fn finalize_orphan(env: &Env, slot: &dyn AnySlot) {
    let Some(path) = slot.identity().path().cloned() else { return };
    let status = match slot.identity().state().status {
        ActorStatus::Failed => ActorStatus::Failed,
        _ => ActorStatus::Stopped,
    };
    // The exit record may name a message that waits.
    if let Some(record) = slot.take_exit() {
        exits::record_exit(env, slot, &path, record, false);
    }
    finalize_slot(env, slot, &path, status);
    let env = env.clone();
    slot.delegate_exit(Box::new(move |slot, record| {
        exits::record_exit(&env, slot, &path, record, false);
        finalize_slot(&env, slot, &path, status);
    }));
}

/// Stops the reading of the descendants of a supervisor that is about to be killed: the kill ends them as well.
pub(crate) fn stop_descendants_reading(slot: &dyn AnySlot) {
    for child in slot.children() {
        child.stop_reading();
        stop_descendants_reading(child.as_ref());
    }
}

/// Waits, up to a limit, until all descendants of an ended supervisor have ended.
pub(crate) async fn descendants_ended(slot: &dyn AnySlot) {
    let mut below = slot.children();
    let all_ended = async {
        while let Some(child) = below.pop() {
            child.ended().await;
            below.extend(child.children());
        }
    };
    // A descendant that is still there records its exit itself.
    let _ = timeout(DESCENDANT_WAIT_MAX, all_ended).await;
}

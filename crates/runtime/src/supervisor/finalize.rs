//! Laying slots to rest: nothing that was in them is left without a word.

use std::time::Duration;

use tokio::time::timeout;

use super::exits;
use crate::actor::context::FinalizeContext;
use crate::actor::slot::any_slot::AnySlot;
use crate::actor::slot::identity::ActorStatus;
use crate::env::Env;
use crate::events::{DeadLetter, DeadLetterReason};
use crate::path::ActorPath;

/// How long those below a supervisor that has ended are waited for. They have been killed; one that is still there after
/// this never yields.
const DESCENDANT_WAIT_MAX: Duration = Duration::from_secs(1);

/// Marks a slot as at rest, and accounts for the messages that it will not handle; those below it likewise.
pub(crate) fn finalize_slot(env: &Env, slot: &dyn AnySlot, path: &ActorPath, status: ActorStatus) {
    let generation = {
        let mut standing = slot.identity().state();
        standing.set_status(status, env.now());
        standing.generation
    };
    for label in slot.close() {
        env.journal.record(path, generation, &DeadLetter::new(DeadLetterReason::Stopped, label));
    }
    slot.finalize(&FinalizeContext { env, path, generation });
    finalize_descendants(env, slot);
}

/// Lays a slot to rest that its supervisor did not take in, under the path that it would have had.
pub(super) fn lay_refused(env: &Env, above: &ActorPath, slot: &dyn AnySlot) {
    let Ok(path) = above.child(slot.identity().name()) else { return };
    super::place_at(slot, path.clone());
    finalize_slot(env, slot, &path, ActorStatus::Stopped);
}

/// Lays the children of a supervisor to rest that has ended, those that never started as well. Where it ended in order
/// they are at rest already; where it was killed nobody else is left who could.
pub(crate) fn finalize_descendants(env: &Env, slot: &dyn AnySlot) {
    for child in slot.children() {
        finalize_orphan(env, child.as_ref());
    }
}

/// Lays a slot to rest that has no supervisor any more. An incarnation that is still in it is being killed: its exit is
/// told when it has ended, and the slot laid to rest once more, as its last act may have been to start a child.
pub(crate) fn finalize_orphan(env: &Env, slot: &dyn AnySlot) {
    let Some(path) = slot.identity().path().cloned() else { return };
    let status = match slot.identity().state().status {
        ActorStatus::Failed => ActorStatus::Failed,
        _ => ActorStatus::Stopped,
    };
    // Its last word may be about a message that waits.
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

/// Lets those below a supervisor that is about to be killed take no further message: they end by the same order.
pub(crate) fn stop_descendants_reading(slot: &dyn AnySlot) {
    for child in slot.children() {
        child.stop_reading();
        stop_descendants_reading(child.as_ref());
    }
}

/// Waits, though not for ever, until nobody is left below a supervisor that has ended.
pub(crate) async fn descendants_ended(slot: &dyn AnySlot) {
    let mut below = slot.children();
    let vacated = async {
        while let Some(child) = below.pop() {
            child.ended().await;
            below.extend(child.children());
        }
    };
    // Whoever is left tells of its end itself.
    let _ = timeout(DESCENDANT_WAIT_MAX, vacated).await;
}

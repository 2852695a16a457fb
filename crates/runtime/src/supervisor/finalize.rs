//! Recording how incarnations ended, and finalizing slots: every message that waits becomes a dead letter, and every
//! caller gets an answer.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::placement::place_at;
use crate::actor::context::FinalizeContext;
use crate::actor::slot::any_slot::AnySlot;
use crate::actor::slot::exit_record::{ExitRecord, InterruptedMessage};
use crate::env::Env;
use crate::events::{ActorExited, DeadLetter, DeadLetterReason};
use crate::identity::ActorStatus;
use crate::path::ActorPath;
use crate::policy::{Exit, ExitCause};

/// The longest wait for the descendants of a supervisor that has ended. They have been killed, so a descendant that
/// is still there never yields.
const DESCENDANT_WAIT_MAX: Duration = Duration::from_secs(1);

/// Records an exit and, if there is one, its dead letter. A message to be redelivered stays at the front of the
/// mailbox.
pub(crate) fn record_exit(
    env: &Env,
    slot: &dyn AnySlot,
    path: &ActorPath,
    record: ExitRecord,
    unexpected: bool,
) -> Exit {
    let ExitRecord { exit, message, location, backtrace, in_flight, .. } = record;
    let generation = slot.identity().state().generation;
    let Exit { cause, abandoned, unrecoverable, .. } = exit;
    let exited = ActorExited { cause, message, location, backtrace, unexpected, abandoned, unrecoverable };
    env.journal.record(path, generation, &exited);
    if let Some(dead_letter) = in_flight.and_then(|in_flight| dead_letter(slot, in_flight, exit.cause)) {
        env.journal.record(path, generation, &dead_letter);
    }
    exit
}

fn dead_letter(slot: &dyn AnySlot, in_flight: InterruptedMessage, cause: ExitCause) -> Option<DeadLetter> {
    if let Some(reason) = in_flight.dead_letter_reason {
        return Some(DeadLetter::new(reason, &in_flight.label));
    }
    let is_crash = !matches!(cause, ExitCause::Normal | ExitCause::Killed);
    let crashes = is_crash.then(|| slot.count_redelivery_crash()).flatten()?;
    Some(DeadLetter { crashes: Some(crashes), ..DeadLetter::new(DeadLetterReason::Poison, &in_flight.label) })
}

/// Records the exit of a child whose supervisor ended first, once the child and its tasks have ended.
pub(super) async fn record_orphan_exit(env: &Env, slot: &dyn AnySlot, path: &ActorPath) {
    slot.ended().await;
    let mut tasks: JoinSet<()> = slot.take_tasks().unwrap_or_default();
    let limit = slot.identity().policy().kill_timeout;
    let abandoned = timeout(limit, tasks.shutdown()).await.is_err();
    if let Some(mut record) = slot.take_exit() {
        record.exit.abandoned |= abandoned;
        record_exit(env, slot, path, record, false);
    }
}

/// Sets the status of a slot that has settled, records its unhandled messages as dead letters, and finalizes its
/// descendants.
pub(crate) fn finalize_slot(env: &Env, slot: &dyn AnySlot, path: &ActorPath, status: ActorStatus) {
    let generation = {
        let mut state = slot.identity().state();
        state.set_status(status, env.now());
        state.generation
    };
    for label in slot.close() {
        env.journal.record(path, generation, &DeadLetter::new(DeadLetterReason::Stopped, &label));
    }
    slot.finalize(&FinalizeContext { env, path, generation });
    finalize_descendants(env, slot);
}

/// Finalizes a slot that its supervisor refused, under the path that it would have had.
pub(super) fn finalize_refused(env: &Env, above: &ActorPath, slot: &dyn AnySlot) {
    let Ok(path) = above.child(slot.identity().name()) else { return };
    place_at(slot, path.clone());
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
        record_exit(env, slot, &path, record, false);
    }
    finalize_slot(env, slot, &path, status);
    let env = env.clone();
    slot.delegate_exit(Box::new(move |slot, record| {
        record_exit(&env, slot, &path, record, false);
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

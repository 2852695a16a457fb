//! Recording how incarnations ended, and the outcome of the message that each was handling.

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::actor::slot::any_slot::AnySlot;
use crate::actor::slot::exit_record::{ExitRecord, InterruptedMessage};
use crate::env::Env;
use crate::events::{ActorExited, DeadLetter, DeadLetterReason};
use crate::path::ActorPath;
use crate::policy::{Exit, ExitCause};

/// Records an exit and, if there is one, its dead letter. A message to be redelivered stays at the front of the
/// mailbox.
pub(crate) fn record_exit(
    env: &Env,
    slot: &dyn AnySlot,
    path: &ActorPath,
    record: ExitRecord,
    unexpected: bool,
) -> Exit {
    let ExitRecord { exit, message, location, backtrace, declined: _, in_flight, tasks: _ } = record;
    let generation = slot.identity().state().generation;
    let abandoned = exit.abandoned;
    let exited = ActorExited { cause: exit.cause, message, location, backtrace, unexpected, abandoned };
    env.journal.record(path, generation, &exited);
    if let Some(letter) = in_flight.and_then(|in_flight| dead_letter(slot, in_flight, exit.cause)) {
        env.journal.record(path, generation, &letter);
    }
    exit
}

fn dead_letter(slot: &dyn AnySlot, in_flight: InterruptedMessage, cause: ExitCause) -> Option<DeadLetter> {
    if let Some(reason) = in_flight.dead_letter_reason {
        return Some(DeadLetter::new(reason, in_flight.label));
    }
    let is_crash = !matches!(cause, ExitCause::Normal | ExitCause::Killed);
    let crashes = is_crash.then(|| slot.count_redelivery_crash()).flatten()?;
    Some(DeadLetter { crashes: Some(crashes), ..DeadLetter::new(DeadLetterReason::Poison, in_flight.label) })
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

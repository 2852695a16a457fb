//! Laying slots to rest: nothing that was in them is left without a word.

use crate::actor::context::RestContext;
use crate::env::Env;
use crate::events::{ActorExited, DeadLetter, DeadLetterReason};
use crate::path::ActorPath;
use crate::slot::any_slot::AnySlot;
use crate::slot::exit_record::ExitRecord;
use crate::slot::identity::Status;

/// Marks a slot as at rest, and accounts for the messages that it will not handle; those below it likewise.
pub(crate) fn lay(env: &Env, slot: &dyn AnySlot, path: &ActorPath, status: Status) {
    let generation = {
        let mut standing = slot.identity().standing();
        standing.become_status(status, env.now());
        standing.generation
    };
    for label in slot.close() {
        let reason = DeadLetterReason::Stopped;
        env.journal.record(path, generation, &DeadLetter { reason, label: label.to_owned() });
    }
    slot.rest(&RestContext { env, path, generation });
    lay_those_below(env, slot);
}

/// Lays the children of a supervisor to rest that has ended. Where it ended in order they are at rest already; where it
/// was killed nobody else is left who could.
pub(crate) fn lay_those_below(env: &Env, slot: &dyn AnySlot) {
    for child in slot.children() {
        let Some(path) = child.identity().path() else { continue };
        let (status, generation) = {
            let standing = child.identity().standing();
            (standing.status, standing.generation)
        };
        if let Some(record) = child.take_exit() {
            tell(env, path, generation, record);
        }
        let status = if status == Status::Failed { Status::Failed } else { Status::Stopped };
        lay(env, child.as_ref(), path, status);
    }
}

/// Takes the slot back from an incarnation that was killed and does not end.
pub(crate) fn cut_off(env: &Env, slot: &dyn AnySlot) {
    let generation = slot.identity().standing().generation;
    if let (Some(path), Some(record)) = (slot.identity().path(), slot.cut_off()) {
        tell(env, path, generation, record);
    }
}

/// Records an exit that nobody decides about, and what was not handled because of it.
fn tell(env: &Env, path: &ActorPath, generation: u64, record: ExitRecord) {
    let ExitRecord { exit, message, location, in_flight, .. } = record;
    let exited =
        ActorExited { cause: exit.cause, message, location, unexpected: false, abandoned: exit.abandoned };
    env.journal.record(path, generation, &exited);
    if let Some(label) = in_flight {
        let reason = DeadLetterReason::Stopped;
        env.journal.record(path, generation, &DeadLetter { reason, label: label.to_owned() });
    }
}

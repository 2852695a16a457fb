//! Checks a decision's exit against what is known of the incarnation that it is about.

use std::time::Duration;

use super::mismatch::{Mismatch, to_json};
use super::timeline::{IncarnationTimeline, RecordedExit};
use crate::events::DecisionInputs;
use crate::journal::Record;

/// Checks that the decision in `record` can be about `incarnation`.
pub(super) fn check(
    record: &Record,
    inputs: &DecisionInputs,
    incarnation: &IncarnationTimeline,
) -> Vec<Mismatch> {
    let exit = || to_json(&inputs.exit);
    let mismatch = |field: &str, stated, expected, message: String| {
        vec![Mismatch::new(field, stated, expected, message)]
    };
    if incarnation.generation != record.generation {
        let message = "the decision is about the last incarnation".to_owned();
        return mismatch("generation", record.generation.into(), incarnation.generation.into(), message);
    }
    if let Some(by) = incarnation.exit_decision {
        return mismatch("inputs.exit", exit(), "none".into(), format!("event {by} decided about this exit"));
    }
    match incarnation.exit {
        None => mismatch("inputs.exit", exit(), "none".into(), "no event reports this exit".to_owned()),
        Some(ended) => {
            let mut found = check_exit_record(inputs, incarnation, ended);
            found.extend(check_exit_time(inputs, incarnation, ended));
            found.extend(check_readiness(inputs, incarnation));
            found
        }
    }
}

/// Checks that the exit is the one that was recorded before.
fn check_exit_record(
    inputs: &DecisionInputs,
    incarnation: &IncarnationTimeline,
    ended: RecordedExit,
) -> Vec<Mismatch> {
    let exit = &inputs.exit;
    let describe = || format!("event {} reports this exit", ended.event);
    let cause =
        Mismatch::between("inputs.exit.cause", &to_json(&exit.cause), &to_json(&ended.cause), describe);
    let abandoned = Mismatch::between(
        "inputs.exit.abandoned",
        &exit.abandoned.into(),
        &ended.is_abandoned.into(),
        describe,
    );
    let unrecoverable = Mismatch::between(
        "inputs.exit.unrecoverable",
        &exit.unrecoverable.into(),
        &ended.is_unrecoverable.into(),
        describe,
    );
    // An incarnation that was abandoned, or left no report, does not say what it began from.
    let says = exit.ready_since.is_some() && !exit.abandoned && !ended.is_abandoned;
    let known = incarnation.from_checkpoint.filter(|_| says);
    let from_checkpoint = known.and_then(|from_checkpoint| {
        let message = || "the incarnation recorded this when it was ready".to_owned();
        Mismatch::between(
            "inputs.exit.from_checkpoint",
            &exit.from_checkpoint.into(),
            &from_checkpoint.into(),
            message,
        )
    });
    [cause, abandoned, unrecoverable, from_checkpoint].into_iter().flatten().collect()
}

fn check_exit_time(
    inputs: &DecisionInputs,
    incarnation: &IncarnationTimeline,
    ended: RecordedExit,
) -> Option<Mismatch> {
    let now_ms = inputs.now_ms;
    let mismatch =
        |bound_ms: u64, message| Mismatch::new("inputs.now_ms", now_ms.into(), bound_ms.into(), message);
    if now_ms > ended.mono_ms {
        return Some(mismatch(ended.mono_ms, "the exit was recorded no later than this"));
    }
    let started_ms = incarnation.started_ms.filter(|started_ms| now_ms < *started_ms)?;
    Some(mismatch(started_ms, "the incarnation had not started before"))
}

fn check_readiness(inputs: &DecisionInputs, incarnation: &IncarnationTimeline) -> Option<Mismatch> {
    let ready_since = inputs.exit.ready_since.filter(|_| !inputs.exit.abandoned)?;
    let mismatch = |expected, message| {
        Mismatch::new("inputs.exit.ready_since", to_json(&ready_since), expected, message)
    };
    let now = Duration::from_millis(inputs.now_ms);
    if ready_since > now {
        return Some(mismatch(to_json(&now), "it was not ready later than it ended"));
    }
    // Its readiness is known only if everything since its start is.
    incarnation.started_ms?;
    match incarnation.ready_ms.map(Duration::from_millis) {
        None => Some(mismatch(to_json(&None::<Duration>), "no event reports that it was ever ready")),
        Some(ready) if ready_since < ready => Some(mismatch(to_json(&ready), "it was not ready before")),
        Some(_) => None,
    }
}

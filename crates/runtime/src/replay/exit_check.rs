//! A decision's exit against what is known of the incarnation that it is about.

use std::time::Duration;

use super::mismatch::{Mismatch, to_json};
use super::timeline::{IncarnationTimeline, RecordedExit};
use crate::events::DecisionInputs;
use crate::journal::Record;

/// Whether the decision in `record` can be about `life`.
pub(super) fn check(record: &Record, inputs: &DecisionInputs, life: &IncarnationTimeline) -> Vec<Mismatch> {
    let exit = || to_json(&inputs.exit);
    let absurd = |what: &str, stated, expected, why: String| vec![Mismatch::new(what, stated, expected, why)];
    if life.generation != record.generation {
        let why = "the decision is about the incarnation that was there last".to_owned();
        return absurd("generation", record.generation.into(), life.generation.into(), why);
    }
    if let Some(by) = life.exit_decision {
        return absurd("inputs.exit", exit(), "none".into(), format!("event {by} decided about this exit"));
    }
    match life.exit {
        None => absurd("inputs.exit", exit(), "none".into(), "no event tells of this exit".to_owned()),
        Some(ended) => {
            let mut found = check_exit_record(inputs, life, ended);
            found.extend(check_exit_time(inputs, life, ended));
            found.extend(check_readiness(inputs, life));
            found
        }
    }
}

/// Whether it is told as it was told before.
fn check_exit_record(
    inputs: &DecisionInputs,
    life: &IncarnationTimeline,
    ended: RecordedExit,
) -> Vec<Mismatch> {
    let exit = &inputs.exit;
    let told = || format!("event {} tells the exit so", ended.event);
    let cause = Mismatch::between("inputs.exit.cause", &to_json(&exit.cause), &to_json(&ended.cause), told);
    let abandoned =
        Mismatch::between("inputs.exit.abandoned", &exit.abandoned.into(), &ended.is_abandoned.into(), told);
    // One that was abandoned, or left no account, does not say what it began from.
    let says = exit.ready_since.is_some() && !exit.abandoned && !ended.is_abandoned;
    let known = life.restored.filter(|_| says);
    let restored = known.and_then(|restored| {
        let why = || "the incarnation said so when it was ready".to_owned();
        Mismatch::between("inputs.exit.restored", &exit.restored.into(), &restored.into(), why)
    });
    [cause, abandoned, restored].into_iter().flatten().collect()
}

fn check_exit_time(
    inputs: &DecisionInputs,
    life: &IncarnationTimeline,
    ended: RecordedExit,
) -> Option<Mismatch> {
    let now_ms = inputs.now_ms;
    let absurd = |bound_ms: u64, why| Mismatch::new("inputs.now_ms", now_ms.into(), bound_ms.into(), why);
    if now_ms > ended.mono_ms {
        return Some(absurd(ended.mono_ms, "the exit was told no later than this"));
    }
    let started_ms = life.started_ms.filter(|started_ms| now_ms < *started_ms)?;
    Some(absurd(started_ms, "the incarnation had not started before"))
}

fn check_readiness(inputs: &DecisionInputs, life: &IncarnationTimeline) -> Option<Mismatch> {
    let ready_since = inputs.exit.ready_since.filter(|_| !inputs.exit.abandoned)?;
    let absurd =
        |expected, why| Mismatch::new("inputs.exit.ready_since", to_json(&ready_since), expected, why);
    let now = Duration::from_millis(inputs.now_ms);
    if ready_since > now {
        return Some(absurd(to_json(&now), "it was not ready later than it ended"));
    }
    // Whether it told that it was ready is known only if everything since its start is.
    life.started_ms?;
    match life.ready_ms.map(Duration::from_millis) {
        None => Some(absurd(to_json(&None::<Duration>), "no event tells that it was ever ready")),
        Some(ready) if ready_since < ready => Some(absurd(to_json(&ready), "it was not ready before")),
        Some(_) => None,
    }
}

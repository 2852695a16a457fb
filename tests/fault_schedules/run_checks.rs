//! Checks the result of a schedule against the promises. It is pure.

use mainstay::journal::Record;
use mainstay::journal::replay;
use serde_json::Value;

use crate::run_result::RunResult;
use crate::schedule::{RequestKind, Schedule};
use crate::{event_checks, request_checks, text_checks};

/// Event kinds that never occur, whatever the network does.
const FORBIDDEN_KINDS: [&str; 9] = [
    "gave_up",
    "escalated",
    "auto_shutdown",
    "abandoned_ended",
    "checkpoint_discarded",
    "agent_stuck",
    "journal_degraded",
    "subscriber_lagged",
    "redelivered",
];

/// Returns all violations.
pub(crate) fn violations(schedule: &Schedule, result: &RunResult) -> Vec<String> {
    let mut violations = result.complaints.clone();
    violations.extend(numbering(&result.records));
    violations.extend(actors(&result.records));
    violations.extend(connection(&result.records));
    violations
        .extend(replay::check(result.records.iter().cloned()).differences.iter().map(ToString::to_string));
    // Slow attempts at one path run beside the others.
    let max = match schedule.settings.max_concurrent {
        1 => 1,
        max => 2 * max,
    };
    if result.most_in_flight > max {
        let most = result.most_in_flight;
        violations.push(format!("{most} attempts were under way at once, and {max} may be"));
    }
    violations.extend(request_checks::violations(schedule, result));
    violations.extend(holds(&result.records));
    violations.extend(notes(result));
    violations.extend(text_checks::violations(schedule, result));
    violations.extend(event_checks::violations(schedule, result));
    violations
}

pub(crate) fn ensure(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}

/// Checks that sequence numbers begin with 1 and skip none.
fn numbering(records: &[Record]) -> Option<String> {
    let skipped = records.iter().zip(1..).find(|(record, seq)| record.seq != *seq);
    skipped.map(|(record, seq)| format!("number {seq} is {}", record.seq))
}

/// Checks that no actor ends before the runtime stops, except agents that restart, and that each of those ends in
/// order.
fn actors(records: &[Record]) -> Vec<String> {
    let is_stopping = |record: &&Record| record.kind == "runtime_stopping";
    let stopping = records.iter().find(is_stopping).map_or(u64::MAX, |record| record.seq);
    let is_wrong = |record: &&Record| {
        let is_agent = record.actor.starts_with("root/agents/");
        match record.kind.as_str() {
            "actor_exited" if record.seq > stopping => record.fields["cause"] != "normal" && !is_agent,
            // By its supervisor's decision, or by a command.
            "actor_exited" => {
                !is_agent || !["error", "normal"].map(Value::from).contains(&record.fields["cause"])
            }
            "dead_letter" => record.seq < stopping && !is_agent,
            kind => FORBIDDEN_KINDS.contains(&kind),
        }
    };
    records.iter().filter(is_wrong).map(|record| format!("this should not happen: {record:?}")).collect()
}

/// Checks that each change of the connection begins where the last one ended.
fn connection(records: &[Record]) -> Option<String> {
    let changes: Vec<_> = records.iter().filter(|record| record.kind == "connection_state").collect();
    let broken = changes.windows(2).find(|pair| pair[0].fields["to"] != pair[1].fields["from"]);
    broken.map(|pair| format!("the connection's changes do not follow from one another: {pair:?}"))
}

/// Checks that requests are held before they are released.
fn holds(records: &[Record]) -> Option<String> {
    let mut is_held = false;
    for record in records {
        match record.kind.as_str() {
            "queue_held" => is_held = true,
            "queue_released" if !is_held => return Some(format!("nothing was held: {record:?}")),
            "queue_released" => is_held = false,
            _ => {}
        }
    }
    None
}

/// Checks that every stored note was requested, and attempted.
fn notes(result: &RunResult) -> Vec<String> {
    let is_right = |note: &&Value| {
        let Some(tag) = note["text"].as_str() else { return note["count"] == 0 };
        let writer =
            result.calls.iter().find(|called| called.tag == tag && called.call.kind == RequestKind::Put);
        writer.is_some()
    };
    let wrong = result.backend.notes.iter().filter(|note| !is_right(note));
    wrong.map(|note| format!("no request wrote {note}")).collect()
}

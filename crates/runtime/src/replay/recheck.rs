//! Checks one decision against its own inputs.

use std::time::Duration;

use serde_json::Value;

use super::mismatch::{Mismatch, to_json};
use crate::events::{Decided, DecisionInputs};
use crate::journal::Record;
use crate::policy::{ChildHistory, Decision, DecisionContext, RestartScope, SupervisorHistory, decide};

/// A decision as the journal has it.
#[derive(Debug)]
pub(super) struct RecordedDecision {
    pub(super) inputs: DecisionInputs,
    /// The paths of the children that the decision concerns.
    pub(super) scope: Vec<String>,
}

/// The reason why a value that cannot be read is wrong.
const NEVER_WRITTEN: &str = "no runtime writes this, so the line was changed by hand or by another program";

/// The result of reading a decision.
#[derive(Debug)]
pub(super) enum ParseOutcome {
    Complete(Box<RecordedDecision>),
    /// The decision lacks inputs that are kept today.
    OlderFormat,
    /// The inputs are there, but no runtime wrote them so.
    Malformed(Mismatch),
}

impl RecordedDecision {
    pub(super) fn parse(record: &Record) -> ParseOutcome {
        let stated = |name: &str| record.fields.get(name).cloned().unwrap_or_default();
        let given = stated("inputs");
        if given == Value::Null {
            return ParseOutcome::OlderFormat;
        }
        let inputs = match serde_json::from_value::<DecisionInputs>(given.clone()) {
            Ok(inputs) => inputs,
            // Older formats lack fields that later ones have; the fields that are there must be legible.
            Err(error) if error.to_string().starts_with("missing field") => return ParseOutcome::OlderFormat,
            Err(error) => return ParseOutcome::Malformed(malformed_input(&given, &error.to_string())),
        };
        if !(0.0..1.0).contains(&inputs.jitter) {
            let message = "a random number lies between 0 and 1";
            let mismatch = Mismatch::new("inputs.jitter", to_json(&inputs.jitter), "[0, 1)".into(), message);
            return ParseOutcome::Malformed(mismatch);
        }
        match serde_json::from_value(stated("scope")) {
            Ok(scope) => ParseOutcome::Complete(Box::new(Self { inputs, scope })),
            Err(_) => ParseOutcome::Malformed(Mismatch::new(
                "scope",
                stated("scope"),
                "a list of paths".into(),
                NEVER_WRITTEN,
            )),
        }
    }

    pub(super) fn now(&self) -> Duration {
        Duration::from_millis(self.inputs.now_ms)
    }
}

/// Returns which of the inputs cannot be read, given the error for all of them.
fn malformed_input(inputs: &Value, error: &str) -> Mismatch {
    let expected = error.split_once("expected ").map_or("another value", |(_, expected)| in_words(expected));
    let message = NEVER_WRITTEN;
    // Without the one that causes the error, there is another error, about what is missing.
    let is_cause = |name: &&String| {
        let mut others = inputs.clone();
        others.as_object_mut().map(|others| others.remove(*name));
        serde_json::from_value::<DecisionInputs>(others).is_err_and(|other| other.to_string() != error)
    };
    let cause = inputs.as_object().and_then(|members| members.keys().find(is_cause));
    match cause {
        Some(name) => {
            Mismatch::new(&format!("inputs.{name}"), inputs[name].clone(), expected.into(), message)
        }
        None => Mismatch::new("inputs", inputs.clone(), expected.into(), message),
    }
}

/// Returns what serde expected in words of its format.
fn in_words(expected: &str) -> &str {
    match expected.split([' ', ',']).next() {
        Some("u8" | "u16" | "u32" | "u64" | "usize" | "i64") => "a whole number",
        Some("f64" | "f32") => "a number",
        Some("struct" | "map" | "internally") => "an object",
        Some("boolean") => "true or false",
        _ => expected,
    }
}

/// A decision that was repeated.
#[derive(Debug)]
pub(super) struct RecheckedDecision {
    pub(super) decision: Decision,
    /// The history that the decision leaves behind.
    pub(super) history: ChildHistory,
    pub(super) siblings: SupervisorHistory,
    pub(super) mismatches: Vec<Mismatch>,
}

impl RecheckedDecision {
    pub(super) fn recheck(record: &Record, stated: &RecordedDecision) -> Self {
        let inputs = &stated.inputs;
        let (mut history, mut siblings) = (inputs.history.clone(), inputs.siblings.clone());
        let moment = DecisionContext {
            now: stated.now(),
            jitter: inputs.jitter,
            significant_others: inputs.significant_others,
        };
        let policies = (&*inputs.child, &inputs.supervisor);
        let decision = decide(policies, (&mut history, &mut siblings), inputs.exit, moment);
        let used = inputs.child.budget.map_or(0, |budget| history.used(budget, moment.now));
        let mut mismatches = compare(record, &Decided::new(decision, used, Vec::new(), inputs.clone()));
        mismatches.extend(check_scope(&record.actor, &stated.scope, decision));
        Self { decision, history, siblings, mismatches }
    }

    /// Returns the time at which the restarted children are due.
    pub(super) fn restart_due(&self, now: Duration) -> Option<Duration> {
        match self.decision {
            Decision::Restart { delay, .. } => Some(now.saturating_add(delay)),
            _ => None,
        }
    }
}

fn compare(record: &Record, expected: &Decided) -> Vec<Mismatch> {
    let expected = to_json(expected);
    let message = || "the same inputs give this decision again".to_owned();
    let fields = ["decision", "delay_ms", "attempt", "state", "budget"].into_iter();
    let unlike = fields.filter_map(|name| {
        let stated = record.fields.get(name).unwrap_or(&Value::Null);
        Mismatch::between(name, stated, expected.get(name).unwrap_or(&Value::Null), message)
    });
    unlike.collect()
}

/// Checks that the scope is possible. Only the supervisor's machine knows which children it has.
fn check_scope(actor: &str, scope: &[String], decision: Decision) -> Option<Mismatch> {
    let group = match decision {
        Decision::Restart { scope: group, .. } => group,
        _ => RestartScope::One,
    };
    let is_self = |path: &String| path == actor;
    let alone = [actor.to_owned()];
    let (is_right, message) = match group {
        RestartScope::One => (*scope == alone, "it concerns only the child that ended"),
        RestartScope::Rest => (
            scope.first().is_some_and(is_self) && are_siblings(actor, scope),
            "it concerns the child that ended and those after it, under the same supervisor",
        ),
        RestartScope::All => (
            scope.iter().any(is_self) && are_siblings(actor, scope),
            "it concerns the child that ended and its siblings, under the same supervisor",
        ),
    };
    (!is_right).then(|| Mismatch::new("scope", to_json(&scope), to_json(&alone), message))
}

/// Returns whether all of them, each named once, have the supervisor of `actor`.
fn are_siblings(actor: &str, scope: &[String]) -> bool {
    let mut seen = std::collections::HashSet::new();
    scope.iter().all(|path| parent(path) == parent(actor) && seen.insert(path))
}

/// Returns the path of an actor's supervisor; empty for a root.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

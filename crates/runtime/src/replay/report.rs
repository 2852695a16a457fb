//! The results of a replay.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::mismatch::Mismatch;
use crate::journal::{Cursor, Record};

/// The results of a replay.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The events that were read.
    pub events: u64,
    /// The place of the first one; `None` when there was none.
    pub first: Option<Cursor>,
    /// The place of the last one.
    pub last: Option<Cursor>,
    /// The runs that the events belong to.
    pub runs: u64,
    /// The decisions among the events.
    pub decisions: u64,
    /// The decisions that were repeated.
    pub replayed: u64,
    /// The decisions that could not be repeated: an older format did not keep everything that they followed from.
    pub not_replayable: u64,
    /// The numbers between the first and the last event of a run that are missing.
    pub missing: u64,
    /// The lines that are torn or were changed. Each is a difference as well.
    pub damaged: u64,
    /// The places where the journal disagrees with the policy or with itself, in order; the first
    /// [`DIFFERENCES_MAX`](Self::DIFFERENCES_MAX) of them.
    pub differences: Vec<Difference>,
    /// The number of further differences.
    pub differences_omitted: u64,
}

impl Report {
    /// The most differences that are listed one by one.
    pub const DIFFERENCES_MAX: usize = 1000;

    /// Returns whether no difference was found.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.differences.is_empty()
    }

    pub(super) fn add(&mut self, difference: Difference) {
        if self.differences.len() < Self::DIFFERENCES_MAX {
            self.differences.push(difference);
        } else {
            self.differences_omitted += 1;
        }
    }
}

/// A statement of the journal that cannot be right.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The event. For a damaged line, the event that it should be, if that is known.
    pub event: Option<Cursor>,
    /// The event's wall time.
    pub at: Option<String>,
    /// The event's actor.
    pub actor: Option<String>,
    /// The field, such as `delay_ms` or `inputs.history.attempts`. It is `start` if an actor should not have started,
    /// and `line` if the line itself is damaged.
    pub field: String,
    /// The value in the journal.
    pub stated: Value,
    /// The right value; for a bound on a time, the bound.
    pub expected: Value,
    /// The reason for the expected value, for a person.
    pub message: String,
}

impl Difference {
    pub(super) fn from_mismatch(record: &Record, mismatch: Mismatch) -> Self {
        let Mismatch { field, stated, expected, message } = mismatch;
        let (at, actor) = (Some(record.at.clone()), Some(record.actor.clone()));
        Self { event: Some(record.cursor()), at, actor, field, stated, expected, message }
    }
}

impl fmt::Display for Difference {
    /// Writes one sentence: the event, its statement, the right value and the reason.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.event {
            Some(event) => write!(f, "event {event}")?,
            None if self.field == "line" => return f.write_str(&self.message),
            None => write!(f, "an event without a number")?,
        }
        if let (Some(at), Some(actor)) = (&self.at, &self.actor) {
            write!(f, " at {at}, {actor}")?;
        }
        let Self { field, stated, expected, message, .. } = self;
        match field.as_str() {
            "line" => write!(f, ": {message}"),
            _ => write!(f, ": {field} says {stated}, and {expected} would be right: {message}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn difference_displays_as_a_sentence() {
        let difference = Difference {
            event: Some(Cursor::new(3, 57)),
            at: Some("2026-01-02T03:04:05.678Z".to_owned()),
            actor: Some("root/pool/a".to_owned()),
            field: "delay_ms".to_owned(),
            stated: json!(1),
            expected: json!(5000),
            message: "the same inputs give this decision again".to_owned(),
        };
        expect_test::expect!["event 3.57 at 2026-01-02T03:04:05.678Z, root/pool/a: delay_ms says 1, and 5000 would be right: the same inputs give this decision again"].assert_eq(&difference.to_string());
    }

    #[test]
    fn differences_beyond_the_limit_are_only_counted() {
        let difference = Difference {
            event: None,
            at: None,
            actor: None,
            field: "line".to_owned(),
            stated: Value::Null,
            expected: Value::Null,
            message: "torn".to_owned(),
        };
        let mut report = Report::default();
        for _ in 0..Report::DIFFERENCES_MAX + 3 {
            report.add(difference.clone());
        }
        assert_eq!((report.differences.len(), report.differences_omitted), (Report::DIFFERENCES_MAX, 3));
    }
}

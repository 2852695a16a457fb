//! The journal's report on itself.

use serde::{Deserialize, Serialize};

use super::event::{Event, Level};

/// Lines were lost, or the disk refuses or takes lines again. The journal itself records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct JournalDegraded {
    /// The fault, or its end, for a person.
    pub message: String,
    /// The number of the first event of this run that is missing on disk, if any is.
    pub lost_from: Option<u64>,
    /// The number of the last event of this run that is missing on disk, if any is.
    pub lost_to: Option<u64>,
}

impl JournalDegraded {
    pub(super) fn new(message: impl Into<String>, lost: Option<(u64, u64)>) -> Self {
        let message = message.into();
        Self { message, lost_from: lost.map(|(from, _)| from), lost_to: lost.map(|(_, to)| to) }
    }
}

impl Event for JournalDegraded {
    const KIND: &'static str = "journal_degraded";
    const LEVEL: Level = Level::Warn;

    fn describe(&self) -> String {
        match (self.lost_from, self.lost_to) {
            (Some(from), Some(to)) => {
                format!("the journal: {}; events {from} to {to} are missing on disk", self.message)
            }
            _ => format!("the journal: {}", self.message),
        }
    }
}

//! What the journal records of itself.

use serde::{Deserialize, Serialize};

use super::event::{Event, Level};

/// Lines were lost, or the disk is not being written to. Recorded by the journal itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalDegraded {
    /// What is wrong, or that it is mended.
    pub reason: String,
    /// The number of the first event of this run that is missing on disk, if any is.
    pub lost_from: Option<u64>,
    /// The number of the last event of this run that is missing on disk, if any is.
    pub lost_to: Option<u64>,
}

impl JournalDegraded {
    pub(super) fn new(reason: impl Into<String>, lost: Option<(u64, u64)>) -> Self {
        let reason = reason.into();
        Self { reason, lost_from: lost.map(|(from, _)| from), lost_to: lost.map(|(_, to)| to) }
    }
}

impl Event for JournalDegraded {
    const KIND: &'static str = "journal_degraded";
    const LEVEL: Level = Level::Warn;
}

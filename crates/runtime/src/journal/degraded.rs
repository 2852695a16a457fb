//! The journal's report on itself.

use serde::{Deserialize, Serialize};

use super::event::{Event, Level};

/// The part of a fault of the storage that an event reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum FaultPhase {
    /// The fault was over at once.
    #[default]
    Once,
    /// The fault lasts from now on.
    Begins,
    /// The fault lasts no longer.
    Ends,
}

impl FaultPhase {
    /// Returns the level of an event about it.
    #[must_use]
    pub const fn level(self) -> Level {
        match self {
            Self::Once | Self::Begins => Level::Warn,
            Self::Ends => Level::Info,
        }
    }
}

/// Lines were lost, or the disk refuses or takes lines again. The journal itself records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct JournalDegraded {
    /// The fault, or its end, for a person.
    pub message: String,
    /// The part of the fault that this reports.
    #[serde(default)]
    pub phase: FaultPhase,
    /// The number of the first event of this run that is missing on disk, if any is.
    pub lost_from: Option<u64>,
    /// The number of the last event of this run that is missing on disk, if any is.
    pub lost_to: Option<u64>,
}

impl JournalDegraded {
    pub(super) fn new(message: impl Into<String>, lost: Option<(u64, u64)>) -> Self {
        Self {
            message: message.into(),
            phase: FaultPhase::Once,
            lost_from: lost.map(|(from, _)| from),
            lost_to: lost.map(|(_, to)| to),
        }
    }

    /// Makes it the beginning or the end of a fault.
    pub(super) fn with_phase(self, phase: FaultPhase) -> Self {
        Self { phase, ..self }
    }
}

impl Event for JournalDegraded {
    const KIND: &'static str = "journal_degraded";
    const LEVEL: Level = Level::Warn;

    fn level(&self) -> Level {
        self.phase.level()
    }

    fn describe(&self) -> String {
        match (self.lost_from, self.lost_to) {
            (Some(from), Some(to)) => {
                format!("the journal: {}; events {from} to {to} are missing on disk", self.message)
            }
            _ => format!("the journal: {}", self.message),
        }
    }
}

//! Decides when a request, or a message to an agent, is quarantined as poison: when its receiver keeps dying over it.
//!
//! A receiver has **died over** a request if two things hold: the connection broke while it had the request, and the
//! next evidence shows its end. It then refuses connections, or its process has ended. A receiver that answers in
//! between has only broken a connection; that is a failed attempt and no death.
//!
//! The definition errs on one side. A receiver that is back before its end was noticed counts as alive, so a request
//! is quarantined too late rather than wrongly; its number of attempts is bounded in any case.

use serde::{Deserialize, Serialize};

/// The deaths of its receiver that quarantine a request, unless the settings say otherwise.
pub(crate) const QUARANTINE_AFTER: u32 = 2;

/// Counts the deaths of the receiver over one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeathRecord {
    /// The number of times that the receiver died over it.
    deaths: u32,
    /// True if its connection broke, and the receiver has shown no sign of life since.
    is_open: bool,
}

impl DeathRecord {
    /// Notes that the connection broke while the receiver had the request.
    pub(crate) fn note_break(&mut self) {
        self.is_open = true;
    }

    /// Notes that the receiver is alive.
    pub(crate) fn note_alive(&mut self) {
        self.is_open = false;
    }

    /// Notes that the receiver is gone. Returns whether that is the death that quarantines the request, the
    /// `quarantine_after`th.
    #[must_use]
    pub(crate) fn note_gone(&mut self, quarantine_after: u32) -> bool {
        let has_died = std::mem::take(&mut self.is_open);
        self.deaths = self.deaths.saturating_add(u32::from(has_died));
        has_died && self.deaths >= quarantine_after
    }

    /// Returns whether it is still open if the receiver died over the request.
    #[must_use]
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Returns whether the receiver died over the request before.
    #[must_use]
    pub(crate) fn is_suspect(&self) -> bool {
        self.deaths > 0
    }

    /// Returns how often the receiver died over the request.
    #[must_use]
    pub(crate) fn deaths(&self) -> u32 {
        self.deaths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn break_counts_as_a_death_only_if_the_receiver_is_gone_next() {
        let mut record = DeathRecord::default();
        assert!(!record.note_gone(1) && record.deaths() == 0, "no connection broke");
        record.note_break();
        record.note_alive();
        assert!(!record.note_gone(1) && !record.is_suspect(), "it answered in between");
        record.note_break();
        record.note_break();
        assert!(record.is_open() && !record.note_gone(2) && record.is_suspect());
        assert!(!record.note_gone(2) && !record.is_open(), "one break is one death at most");
    }

    #[test]
    fn death_that_reaches_the_limit_quarantines() {
        for limit in 1..=3 {
            let mut record = DeathRecord::default();
            for death in 1..=limit {
                record.note_break();
                assert_eq!(record.note_gone(limit), death == limit, "{death} of {limit}");
            }
        }
    }
}

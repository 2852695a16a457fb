//! Decides when a request, or a message to an agent, is quarantined as poison: when its receiver keeps dying over it.
//!
//! A receiver has **died over** a request if the connection broke while it had the request, and the next evidence about
//! the receiver is that it has ended: it refuses connections, or its process has ended. A receiver that answers in
//! between has only broken a connection; that is a failed attempt and no death.
//!
//! The definition errs on one side. A receiver that is back before its end was noticed counts as alive, so a request
//! is quarantined too late rather than wrongly; its number of attempts is bounded in any case.

use serde::{Deserialize, Serialize};

/// The number of its receiver's deaths that quarantine a request.
pub(crate) const DEATHS_MAX: u32 = 2;

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

    /// Notes that the receiver is gone; returns whether the request is to be quarantined for that.
    #[must_use]
    pub(crate) fn note_gone(&mut self) -> bool {
        let has_died = std::mem::take(&mut self.is_open);
        self.deaths = self.deaths.saturating_add(u32::from(has_died));
        has_died && self.deaths >= DEATHS_MAX
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn break_counts_as_a_death_only_if_the_receiver_is_gone_next() {
        let mut record = DeathRecord::default();
        assert!(!record.note_gone() && !record.is_suspect(), "no connection broke");
        record.note_break();
        record.note_alive();
        assert!(!record.note_gone() && !record.is_suspect(), "it answered in between");
        record.note_break();
        record.note_break();
        assert!(record.is_open() && !record.note_gone() && record.is_suspect());
        assert!(!record.note_gone() && !record.is_open(), "one break is one death at most");
    }

    #[test]
    fn the_death_that_reaches_the_limit_quarantines() {
        let mut record = DeathRecord::default();
        for death in 1..=DEATHS_MAX {
            record.note_break();
            assert_eq!(record.note_gone(), death == DEATHS_MAX);
        }
    }
}

//! Decides when a request, or a message to an agent, is quarantined as poison: when its receiver keeps dying over it.
//!
//! A receiver has **died over** a request if two things hold: the connection broke while it had the request, and the
//! next evidence shows its end. It then refuses connections, or its process has ended. A receiver that answers in
//! between has only broken a connection; that is a failed attempt and no death.
//!
//! If the runtime starts the receiver, the exit of its process is evidence. It may be seen before or after the break, and
//! the next process may run at once. A process that the runtime itself ends has died over nothing.
//!
//! The definition errs on one side. A receiver that the runtime does not start may be back before its end was noticed, and
//! counts as alive then. Thus a request is quarantined too late rather than wrongly. Its number of attempts is bounded in
//! any case.

use serde::{Deserialize, Serialize};

use crate::network::BackendEnds;

/// The deaths of its receiver that quarantine a request, unless the settings say otherwise.
pub(crate) const QUARANTINE_AFTER: u32 = 2;

/// Counts the deaths of the receiver over one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeathRecord {
    /// The number of times that the receiver died over it.
    deaths: u32,
    /// True if its connection broke, and the receiver has shown no sign of life since.
    is_open: bool,
    /// The ends of the receiver's process at the start of the last attempt.
    #[serde(skip)]
    started_at: BackendEnds,
    /// The last exit that is accounted for.
    #[serde(skip)]
    last_exit: u64,
}

impl DeathRecord {
    /// Notes that an attempt starts.
    pub(crate) fn note_start(&mut self, ends: BackendEnds) {
        self.started_at = ends;
    }

    /// Notes that the connection broke while the receiver had the request. It stays closed if the runtime ended the
    /// process, or if the process's exit counts already: an attempt may reach a process that is about to end.
    pub(crate) fn note_break(&mut self, ends: BackendEnds) {
        let is_counted = ends.exits > self.started_at.exits && ends.exits <= self.last_exit;
        self.is_open |= ends.stops == self.started_at.stops && !is_counted;
    }

    /// Notes a break of a request that may have waited for the process in between. An exit before the break proves
    /// nothing then.
    pub(crate) fn note_break_after_wait(&mut self, ends: BackendEnds) {
        self.started_at.exits = ends.exits;
        self.note_break(ends);
    }

    /// Notes that the receiver is alive.
    pub(crate) fn note_alive(&mut self) {
        self.is_open = false;
    }

    /// Notes that the runtime has ended the process since the attempt started, if it has. Returns whether that
    /// changed anything.
    pub(crate) fn note_stops(&mut self, ends: BackendEnds) -> bool {
        let is_explained = self.is_open && ends.stops != self.started_at.stops;
        self.is_open &= !is_explained;
        is_explained
    }

    /// Returns whether the connection broke and the process has ended by itself, so that the receiver is gone. That exit
    /// is accounted for from now on.
    #[must_use]
    pub(crate) fn take_exit(&mut self, ends: BackendEnds) -> bool {
        let has_exited = self.is_open && self.has_exited_since_start(ends);
        if has_exited {
            self.last_exit = ends.exits;
        }
        has_exited
    }

    /// Returns whether the process has ended by itself since the attempt started.
    #[must_use]
    pub(crate) fn has_exited_since_start(&self, ends: BackendEnds) -> bool {
        ends.stops == self.started_at.stops && ends.exits > self.started_at.exits
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

    const fn ends(exits: u64, stops: u64) -> BackendEnds {
        BackendEnds { exits, stops }
    }

    const NONE: BackendEnds = ends(0, 0);

    #[test]
    fn break_counts_as_a_death_only_if_the_receiver_is_gone_next() {
        let mut record = DeathRecord::default();
        assert!(!record.note_gone(1) && record.deaths() == 0, "no connection broke");
        record.note_break(NONE);
        record.note_alive();
        assert!(!record.note_gone(1) && !record.is_suspect(), "it answered in between");
        record.note_break(NONE);
        record.note_break(NONE);
        assert!(record.is_open() && !record.note_gone(2) && record.is_suspect());
        assert!(!record.note_gone(2) && !record.is_open(), "one break is one death at most");
    }

    #[test]
    fn death_that_reaches_the_limit_quarantines() {
        for limit in 1..=3 {
            let mut record = DeathRecord::default();
            for death in 1..=limit {
                record.note_break(NONE);
                assert_eq!(record.note_gone(limit), death == limit, "{death} of {limit}");
            }
        }
    }

    #[test]
    fn exit_is_a_death_whether_seen_before_or_after_the_break() {
        for seen_at_break in [3, 4] {
            let mut record = DeathRecord::default();
            record.note_start(ends(3, 2));
            assert!(!record.take_exit(ends(4, 2)), "nothing broke");
            record.note_break(ends(seen_at_break, 2));
            assert!(!record.take_exit(ends(3, 2)));
            assert!(record.take_exit(ends(4, 2)) && record.note_gone(1));
            // The next attempt started before the exit was seen, and reached the same process.
            record.note_break(ends(4, 2));
            assert!(!record.is_open() && record.deaths() == 1, "one exit is one death at most");
            record.note_start(ends(4, 2));
            record.note_break(ends(5, 2));
            assert!(record.take_exit(ends(5, 2)), "another process has ended");
        }
    }

    #[test]
    fn exit_while_a_request_waited_is_no_death() {
        let mut record = DeathRecord::default();
        record.note_start(ends(3, 2));
        record.note_break_after_wait(ends(4, 2));
        assert!(record.is_open() && !record.take_exit(ends(4, 2)) && record.take_exit(ends(5, 2)));
    }

    #[test]
    fn process_that_the_runtime_ended_died_over_nothing() {
        for (started, broken, seen) in [(2, 2, 3), (2, 3, 3), (2, 4, 4), (3, 3, 4), (3, 4, 4)] {
            let mut record = DeathRecord::default();
            record.note_start(ends(0, started));
            record.note_break(ends(0, broken));
            assert_eq!(record.note_stops(ends(0, seen)), started == broken);
            assert!(!record.take_exit(ends(1, seen)) && !record.note_gone(1));
        }
        let mut record = DeathRecord::default();
        record.note_break(NONE);
        assert!(!record.note_stops(NONE) && record.is_open(), "nothing was stopped");
    }
}

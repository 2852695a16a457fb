//! The deaths of the backend over the checks of one agent, and the pauses that follow.

use std::time::Duration;

use super::Health;
use crate::agent::check_pause::CheckPause;
use crate::error::{Error, Reason};
use crate::network::BackendEnds;

/// The first pause of quarantined checks, in intervals.
const QUARANTINE_INTERVALS: u32 = 8;

/// The longest pause of quarantined checks, unless the interval is longer.
pub(super) const QUARANTINE_PAUSE_MAX: Duration = Duration::from_secs(60 * 60);

impl Health {
    /// Notes that the connection broke while the backend had a check. If it is found gone next, it died over the check.
    pub(in crate::agent) fn note_break(&mut self, ends: BackendEnds) {
        self.deaths.note_break(ends);
    }

    /// Notes that a check starts.
    pub(in crate::agent) fn note_start(&mut self, ends: BackendEnds) {
        self.deaths.note_start(ends);
    }

    /// Notes that the runtime has ended the backend's process, if it has.
    pub(in crate::agent) fn note_stops(&mut self, ends: BackendEnds) {
        self.deaths.note_stops(ends);
    }

    /// Returns whether a check broke and the backend's process has ended by itself, once for each exit.
    pub(in crate::agent) fn take_exit(&mut self, ends: BackendEnds) -> bool {
        self.deaths.take_exit(ends)
    }

    /// Returns whether a check broke, and nothing is known of the backend since.
    pub(in crate::agent) fn is_check_open(&self) -> bool {
        self.deaths.is_open()
    }

    /// Notes that the backend is gone. Returns the deaths over checks if this one quarantines them, or prolongs that.
    pub(super) fn note_gone(&mut self, now: Duration) -> Option<u32> {
        let before = self.deaths.deaths();
        let is_quarantined = self.deaths.note_gone(self.policy.quarantine_after);
        let deaths = self.deaths.deaths();
        if deaths > before {
            self.pause = Some(CheckPause::after_death(self.pause_length(), now));
        }
        is_quarantined.then_some(deaths)
    }

    /// Begins the pause again after a check that was neither answered nor deadly, if the checks are quarantined.
    pub(super) fn prolong_quarantine(&mut self, now: Duration) {
        if self.are_checks_quarantined() {
            self.pause = Some(CheckPause::after_miss(self.pause_length(), now));
        }
    }

    /// Notes that the backend seems available.
    pub(in crate::agent) fn note_return(&mut self, now: Duration) {
        let length = self.pause_length();
        if let Some(pause) = &mut self.pause {
            pause.note_return(length, now);
        }
    }

    /// Returns the rest of the pause after a check over which the backend died.
    pub(in crate::agent) fn remaining_pause(&self, now: Duration) -> Option<Duration> {
        self.pause?.remaining(now)
    }

    /// Returns the length of the pause after a death. After a whole interval another cause of a second death is
    /// unlikely. A quarantine grows with each further death.
    pub(in crate::agent) fn pause_length(&self) -> Duration {
        let interval = self.policy.interval;
        if !self.are_checks_quarantined() {
            return interval;
        }
        let doublings = self.deaths.deaths().saturating_sub(self.policy.quarantine_after).min(16);
        let pause = interval.saturating_mul(QUARANTINE_INTERVALS << doublings);
        pause.min(QUARANTINE_PAUSE_MAX.max(interval))
    }

    /// Returns whether checks pause because the backend died over too many of them. An answer ends that.
    pub(in crate::agent) fn are_checks_quarantined(&self) -> bool {
        self.deaths.is_suspect() && self.deaths.deaths() >= self.policy.quarantine_after
    }

    /// Returns the error of an agent whose checks are quarantined.
    pub(super) fn quarantined_error(&self) -> Box<Error> {
        let deaths = self.deaths.deaths();
        let details = format!("the backend died over {deaths} checks of this agent in a row");
        Box::new(Error::new(Reason::Quarantined).with_details(&details))
    }
}

//! The pause of an agent's calls after one over which the backend died: pure, with the time passed in.
//!
//! A pause begins at the death, and again at the backend's first return after it. Later returns leave it alone, so a
//! connection that flaps does not delay the next call for ever.

use std::time::Duration;

/// A pause of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallPause {
    ends_at: Duration,
    has_returned: bool,
}

impl CallPause {
    /// Returns the pause after a death of the backend.
    pub(super) fn after_death(length: Duration, now: Duration) -> Self {
        Self { ends_at: now.saturating_add(length), has_returned: false }
    }

    /// Returns the pause after a call that was neither answered nor deadly. The backend need not return from it.
    pub(super) fn after_miss(length: Duration, now: Duration) -> Self {
        Self { has_returned: true, ..Self::after_death(length, now) }
    }

    /// Notes that the backend seems available, after a death that pauses the calls for `length`.
    pub(super) fn note_return(&mut self, length: Duration, now: Duration) {
        if !std::mem::replace(&mut self.has_returned, true) {
            self.ends_at = now.saturating_add(length);
        }
    }

    /// Returns the rest of the pause, if it is not over.
    pub(super) fn remaining(&self, now: Duration) -> Option<Duration> {
        self.ends_at.checked_sub(now).filter(|rest| !rest.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::s;

    #[test]
    fn pause_begins_at_the_death_and_at_the_first_return() {
        let mut pause = CallPause::after_death(s(100), s(10));
        assert_eq!(pause.remaining(s(30)), Some(s(80)));
        pause.note_return(s(100), s(50));
        assert_eq!(pause.remaining(s(60)), Some(s(90)));
        // The connection flaps.
        for at in 60..150 {
            pause.note_return(s(100), s(at));
        }
        assert_eq!((pause.remaining(s(149)), pause.remaining(s(150))), (Some(s(1)), None));
        pause.note_return(s(100), s(200));
        assert_eq!(pause.remaining(s(200)), None);
    }

    #[test]
    fn pause_that_is_over_begins_again_at_a_late_first_return() {
        let mut pause = CallPause::after_death(s(100), s(0));
        assert_eq!(pause.remaining(s(100)), None);
        pause.note_return(s(100), s(500));
        assert_eq!(pause.remaining(s(500)), Some(s(100)));
        let mut pause = CallPause::after_miss(s(100), s(0));
        pause.note_return(s(100), s(50));
        assert_eq!(pause.remaining(s(50)), Some(s(50)));
    }
}

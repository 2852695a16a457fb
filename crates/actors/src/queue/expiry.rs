//! Judges which waits have ended: pure.
//!
//! A wait whose end is noticed late, because this process stood still, is judged [`DRAIN_TIME`] later. What came
//! meanwhile, such as the backend's return or the response that frees a permit, is read first, and may start the request.

use std::time::Duration;

use crate::standstill::{DRAIN_TIME, LATE_MIN};

/// The time up to which the ends of waits have been judged.
#[derive(Debug)]
pub(super) struct ExpiryClock {
    judged_to: Duration,
    /// The end of a drain. No wait ends before.
    drains_until: Option<Duration>,
}

impl ExpiryClock {
    /// Creates the clock of a queue that starts at `now`. What ended before has ended.
    pub(super) fn new(now: Duration) -> Self {
        Self { judged_to: now, drains_until: None }
    }

    /// Returns the time up to which waits have ended. `next` is the end of a wait that comes first.
    pub(super) fn advance(&mut self, next: Option<Duration>, now: Duration) -> Duration {
        match self.drains_until {
            Some(until) if now < until => return self.judged_to,
            Some(until) => {
                self.drains_until = None;
                self.judged_to = until;
            }
            None => {}
        }
        match next {
            Some(next) if next <= self.judged_to => {}
            Some(next) if now.saturating_sub(next) >= LATE_MIN => {
                self.drains_until = Some(now.saturating_add(DRAIN_TIME));
            }
            _ => self.judged_to = now,
        }
        self.judged_to
    }

    /// Returns the time up to which the ends of waits have been judged.
    pub(super) fn judged_to(&self) -> Duration {
        self.judged_to
    }

    /// Returns the time of the next look. `next` is the end of a wait that comes first.
    pub(super) fn next_look(&self, next: Option<Duration>) -> Option<Duration> {
        next.map(|next| self.drains_until.unwrap_or(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn wait_that_ends_in_time_is_judged_at_once() {
        let mut clock = ExpiryClock::new(ms(100));
        assert_eq!(clock.advance(Some(ms(500)), ms(400)), ms(400));
        assert_eq!(clock.next_look(Some(ms(500))), Some(ms(500)));
        assert_eq!(clock.advance(Some(ms(500)), ms(599)), ms(599));
        assert_eq!((clock.next_look(None), clock.advance(None, ms(9000))), (None, ms(9000)));
    }

    #[test]
    fn late_wait_is_judged_once_a_second_later() {
        let mut clock = ExpiryClock::new(ms(100));
        assert_eq!(clock.advance(Some(ms(4000)), ms(3000)), ms(3000));
        assert_eq!(clock.advance(Some(ms(4000)), ms(60_000)), ms(3000));
        assert_eq!(clock.next_look(Some(ms(4000))), Some(ms(61_000)));
        assert_eq!(clock.advance(Some(ms(4000)), ms(60_999)), ms(3000), "other messages come meanwhile");
        // Also if the end of the drain is noticed late. A wait that ended after the drain has one of its own.
        assert_eq!(clock.advance(Some(ms(4000)), ms(70_000)), ms(61_000));
        assert_eq!(clock.advance(Some(ms(62_000)), ms(70_000)), ms(61_000));
        assert_eq!(clock.next_look(Some(ms(62_000))), Some(ms(71_000)));
        assert_eq!(clock.advance(None, ms(71_000)), ms(71_000));
    }
}

//! Keeps standstills of this process out of the time that a stop has.
//!
//! While this process is suspended (a signal, a debugger) or starved, monotonic time goes on and each timer is noticed
//! late. What ended meanwhile is not read yet. So the deadlines of all stops move by the length of the standstill, and by
//! one [`DRAIN_TIME`], in which that is read. All actors move theirs alike, so a child never has more time than its
//! supervisor.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::standstill::{DRAIN_TIME, LATE_MIN};

/// The longest time between two looks at the clock while something stops.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The time that has to run between two drains, so that repeated standstills do not postpone a deadline for ever.
const DRAIN_INTERVAL_MIN: Duration = Duration::from_secs(60);

/// Notices standstills while something stops, and says by how much deadlines move. One runtime has one.
#[derive(Debug, Default)]
pub(crate) struct StopClock(Mutex<Looks>);

#[derive(Debug, Default)]
struct Looks {
    /// The number of watches; without one, no look is missed.
    watches: usize,
    last_look: Duration,
    /// The sum of all standstills and drains.
    postponed: Duration,
    /// The time that had run when the last drain began.
    drained_at: Option<Duration>,
}

impl StopClock {
    /// Looks at the time, and returns by how much deadlines have moved in total.
    pub(crate) fn look(&self, now: Duration) -> Duration {
        self.0.lock().look(now)
    }

    /// Notices standstills from now on, until the watch is dropped. Its owner looks every [`LOOK_INTERVAL`].
    pub(crate) fn watch(self: &Arc<Self>, now: Duration) -> StopWatch {
        let mut looks = self.0.lock();
        looks.look(now);
        looks.watches += 1;
        StopWatch(Arc::clone(self))
    }
}

impl Looks {
    fn look(&mut self, now: Duration) -> Duration {
        let missed = now.saturating_sub(self.last_look.saturating_add(LOOK_INTERVAL));
        self.last_look = self.last_look.max(now);
        if self.watches > 0 && missed >= LATE_MIN {
            self.postponed = self.postponed.saturating_add(missed);
            let ran = now.saturating_sub(self.postponed);
            if self.drained_at.is_none_or(|at| ran.saturating_sub(at) >= DRAIN_INTERVAL_MIN) {
                self.drained_at = Some(ran);
                self.postponed = self.postponed.saturating_add(DRAIN_TIME);
            }
        }
        self.postponed
    }
}

/// A stop with a deadline that is under way.
#[derive(Debug)]
pub(crate) struct StopWatch(Arc<StopClock>);

impl Drop for StopWatch {
    fn drop(&mut self) {
        self.0.0.lock().watches -= 1;
    }
}

/// A deadline of a stop, which moves with all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MovingDeadline {
    at: Duration,
    /// The total by which deadlines had moved when it was set.
    postponed: Duration,
}

impl MovingDeadline {
    pub(crate) fn new(at: Duration, postponed: Duration) -> Self {
        Self { at, postponed }
    }

    /// Returns its time, now that deadlines have moved by `postponed` in total.
    pub(crate) fn at(self, postponed: Duration) -> Duration {
        self.at.saturating_add(postponed.saturating_sub(self.postponed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn standstill_postpones_by_its_length_and_one_drain() {
        let clock = Arc::<StopClock>::default();
        assert_eq!(clock.look(ms(50_000)), ms(0), "nothing stops");
        let _watch = clock.watch(ms(100_000));
        assert_eq!(clock.look(ms(100_100)), ms(0));
        assert_eq!(clock.look(ms(100_299)), ms(0), "a little late");
        // Seven seconds, of which a look's interval counts.
        assert_eq!(clock.look(ms(107_299)), ms(6_900) + DRAIN_TIME);
        let deadline = MovingDeadline::new(ms(105_000), ms(0));
        assert_eq!(deadline.at(clock.look(ms(107_299))), ms(111_900) + DRAIN_TIME);
        let later = MovingDeadline::new(ms(120_000), clock.look(ms(107_299)));
        assert_eq!(later.at(clock.look(ms(107_299))), ms(120_000), "it was set after the standstill");
        // A reading from before the standstill comes later.
        assert_eq!(clock.look(ms(100_400)), clock.look(ms(107_300)));
    }

    #[test]
    fn watches_count_looks_of_each_other() {
        let clock = Arc::<StopClock>::default();
        let first = clock.watch(ms(1_000));
        // The second stop begins after a standstill that the first one has not noticed.
        let second = clock.watch(ms(3_000));
        assert_eq!(clock.look(ms(3_000)), ms(1_900) + DRAIN_TIME);
        drop(first);
        assert_eq!(clock.look(ms(5_000)), ms(3_800) + DRAIN_TIME);
        drop(second);
        assert_eq!(clock.look(ms(60_000)), ms(3_800) + DRAIN_TIME, "nothing stops");
    }

    #[test]
    fn repeated_standstills_never_postpone_without_end() {
        let clock = Arc::<StopClock>::default();
        let _watch = clock.watch(ms(0));
        let deadline = MovingDeadline::new(ms(600_000), ms(0));
        let (mut now, mut standstills) = (ms(0), 0);
        while deadline.at(clock.look(now)) > now {
            now += ms(300);
            standstills += 1;
            assert!(standstills < 7_000, "it is never reached");
        }
        // Of each standstill, a look's interval counts as time that ran: ten minutes of them, and a drain each minute.
        assert_eq!(standstills, 6_000 + 10 * 10);
    }
}

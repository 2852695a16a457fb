//! Counts the time for which this process stood still: it was suspended or starved, or the computer slept while its
//! monotonic clock went on. Such time is no time that ran.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

/// The interval between two looks at the clocks. A person who opens a laptop does not wait for the next ping.
pub const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// A look or a timer that is this late was missed by this process, not by the other side.
pub const LATE_MIN: Duration = Duration::from_millis(100);

/// The time for which input is read after a standstill, before anything is judged or killed.
pub const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Counts standstills by late looks at the clock. One runtime has one.
///
/// The embedder looks every [`CLOCK_CHECK_INTERVAL`] from the start on. Without that, nothing is counted.
#[derive(Debug, Default)]
pub struct StandstillClock(Mutex<Count>);

#[derive(Debug, Default)]
struct Count {
    last_look: Option<Duration>,
    /// The sum of all standstills, each without the interval in which the next look was due.
    total: Duration,
}

impl StandstillClock {
    /// Looks at the clock: `now` is the time since the start of the runtime, as its journal has it.
    pub fn look(&self, now: Duration) {
        self.0.lock().look(now);
    }

    /// Returns the sum of all standstills until `now`. It notices one before the next look of the embedder.
    pub(crate) fn total(&self, now: Duration) -> Duration {
        let mut count = self.0.lock();
        if count.last_look.is_some() {
            count.look(now);
        }
        count.total
    }
}

impl Count {
    fn look(&mut self, now: Duration) {
        let last = self.last_look.unwrap_or(now);
        let missed = now.saturating_sub(last.saturating_add(CLOCK_CHECK_INTERVAL));
        if missed >= LATE_MIN {
            self.total = self.total.saturating_add(missed);
        }
        self.last_look = Some(now.max(last));
    }
}

/// The time since which something runs, with the standstills since then.
#[derive(Debug, Clone)]
pub(crate) struct RunningSince {
    pub(crate) at: Duration,
    /// The sum of all standstills at that time.
    total_then: Duration,
    clock: Arc<StandstillClock>,
}

impl RunningSince {
    pub(crate) fn new(at: Duration, clock: &Arc<StandstillClock>) -> Self {
        Self { at, total_then: clock.total(at), clock: Arc::clone(clock) }
    }

    /// Returns for how long this process has stood still since then.
    pub(crate) fn stood_still(&self, now: Duration) -> Duration {
        self.clock.total(now).saturating_sub(self.total_then)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn late_look_counts_as_a_standstill() {
        let clock = StandstillClock::default();
        clock.look(s(10));
        clock.look(s(12));
        assert_eq!(clock.total(s(14) + LATE_MIN / 2), s(0), "a little late");
        clock.look(s(15));
        assert_eq!(clock.total(s(100)), s(83), "whoever asks first notices it");
        clock.look(s(100));
        assert_eq!(clock.total(s(99)), s(83), "a reading from before comes later");
        assert_eq!(clock.total(s(101)), s(83));
    }

    #[test]
    fn clock_without_looks_counts_nothing() {
        let clock = StandstillClock::default();
        assert_eq!((clock.total(s(0)), clock.total(s(1000))), (s(0), s(0)));
    }

    #[test]
    fn start_during_a_late_look_is_never_moved_beyond_now() {
        let clock = Arc::<StandstillClock>::default();
        clock.look(s(10));
        // The look of 12 s is late, and what starts at 15 s counts the standstill until then as before it.
        let since = RunningSince::new(s(15), &clock);
        assert_eq!(since.stood_still(s(20)), s(3));
        assert!(since.at + since.stood_still(s(30)) <= s(30));
    }
}

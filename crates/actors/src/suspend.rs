//! How long the machine was asleep: monotonic time stands still meanwhile, wall time does not. Pure.

use std::time::Duration;

use jiff::Timestamp;

/// A jump between wall and monotonic time that only sleep explains.
const SUSPEND_MIN: Duration = Duration::from_secs(5);
/// How often such a jump is looked for: a person who opens a laptop does not
/// wait for the next ping.
pub(crate) const SUSPEND_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Compares the two clocks.
#[derive(Debug)]
pub(crate) struct SuspendDetector {
    /// Both when they were last compared.
    last_wall: Timestamp,
    last_monotonic: Duration,
}

impl SuspendDetector {
    pub(crate) fn new(wall: Timestamp, now: Duration) -> Self {
        Self { last_wall: wall, last_monotonic: now }
    }

    /// For how long the machine slept since this was last asked; `None` where it did not.
    pub(crate) fn suspended_for(&mut self, wall: Timestamp, now: Duration) -> Option<Duration> {
        let before = std::mem::replace(self, Self { last_wall: wall, last_monotonic: now });
        // A wall clock that was set back is no sleep.
        let passed = Duration::try_from(wall.duration_since(before.last_wall)).unwrap_or_default();
        Some(passed.saturating_sub(now.saturating_sub(before.last_monotonic)))
            .filter(|slept| *slept >= SUSPEND_MIN)
    }
}

/// Wall time that stands still until it is set forward.
#[cfg(test)]
pub(crate) struct WallClock(pub(crate) parking_lot::Mutex<Timestamp>);

#[cfg(test)]
impl WallClock {
    pub(crate) fn advance(&self, time: Duration) {
        let mut now = self.0.lock();
        *now += jiff::SignedDuration::try_from(time).unwrap();
    }
}

#[cfg(test)]
impl mainstay_runtime::clock::Clock for WallClock {
    fn now(&self) -> Timestamp {
        *self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether these seconds that pass on the wall clock, and these on the monotonic one, are a sleep.
    fn is_suspend(wall_s: i64, now_s: u64) -> bool {
        let start = Timestamp::UNIX_EPOCH;
        let mut watch = SuspendDetector::new(start, Duration::from_secs(100));
        let wall = start + jiff::SignedDuration::from_secs(wall_s);
        watch.suspended_for(wall, Duration::from_secs(100 + now_s)).is_some()
    }

    #[test]
    fn wall_time_ahead_of_monotonic_time_is_suspend() {
        assert!(is_suspend(8 * 3600, 0));
        assert!(is_suspend(62, 57));
    }

    #[test]
    fn small_clock_difference_is_no_suspend() {
        assert!(!is_suspend(0, 0));
        assert!(!is_suspend(3600, 3600));
        assert!(!is_suspend(61, 57));
    }

    #[test]
    fn wall_clock_set_back_is_no_suspend() {
        assert!(!is_suspend(-3600, 1));
        assert!(!is_suspend(0, 3600));
    }

    #[test]
    fn suspend_is_reported_once() {
        let start = Timestamp::UNIX_EPOCH;
        let mut watch = SuspendDetector::new(start, Duration::ZERO);
        let woke = start + jiff::SignedDuration::from_secs(3600);
        assert_eq!(watch.suspended_for(woke, Duration::ZERO), Some(Duration::from_secs(3600)));
        assert_eq!(watch.suspended_for(woke, Duration::ZERO), None);
    }
}

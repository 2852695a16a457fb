//! Detects how long the machine was suspended: monotonic time stands still meanwhile, wall time does not.

use std::time::Duration;

use jiff::Timestamp;

/// The smallest jump between wall and monotonic time that counts as a suspension.
const SUSPEND_MIN: Duration = Duration::from_secs(5);
/// The interval between checks for such a jump. A person who opens a laptop does not wait for the next ping.
pub(crate) const SUSPEND_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Compares the two clocks.
#[derive(Debug)]
pub(crate) struct SuspendDetector {
    /// The readings of both at the last comparison.
    last_wall: Timestamp,
    last_monotonic: Duration,
}

impl SuspendDetector {
    pub(crate) fn new(wall: Timestamp, now: Duration) -> Self {
        Self { last_wall: wall, last_monotonic: now }
    }

    /// Returns how long the machine was suspended since the last call; `None` if it was not.
    pub(crate) fn suspended_for(&mut self, wall: Timestamp, now: Duration) -> Option<Duration> {
        let before = std::mem::replace(self, Self { last_wall: wall, last_monotonic: now });
        // A wall clock that was set back is no suspension.
        let passed = Duration::try_from(wall.duration_since(before.last_wall)).unwrap_or_default();
        Some(passed.saturating_sub(now.saturating_sub(before.last_monotonic)))
            .filter(|slept| *slept >= SUSPEND_MIN)
    }
}

/// A wall clock that stands still until it is advanced.
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

    /// Returns whether these seconds on the wall clock and on the monotonic one count as a suspension.
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

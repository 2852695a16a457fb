//! How long the machine was asleep: monotonic time stands still meanwhile, wall time does not. Pure.

use std::time::Duration;

use jiff::Timestamp;

/// A jump between wall and monotonic time that only sleep explains.
const SLEEP_MIN: Duration = Duration::from_secs(5);
/// How often such a jump is looked for: a person who opens a laptop does not
/// wait for the next ping.
pub(crate) const SLEEP_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Compares the two clocks.
#[derive(Debug)]
pub(crate) struct SleepWatch {
    /// Both when they were last compared.
    wall: Timestamp,
    now: Duration,
}

impl SleepWatch {
    pub(crate) fn new(wall: Timestamp, now: Duration) -> Self {
        Self { wall, now }
    }

    /// For how long the machine slept since this was last asked; `None` where it did not.
    pub(crate) fn slept(&mut self, wall: Timestamp, now: Duration) -> Option<Duration> {
        let before = std::mem::replace(self, Self { wall, now });
        // A wall clock that was set back is no sleep.
        let passed = Duration::try_from(wall.duration_since(before.wall)).unwrap_or_default();
        Some(passed.saturating_sub(now.saturating_sub(before.now))).filter(|slept| *slept >= SLEEP_MIN)
    }
}

/// Wall time that stands still until it is set forward.
#[cfg(test)]
pub(crate) struct WallClock(pub(crate) std::sync::Mutex<Timestamp>);

#[cfg(test)]
impl WallClock {
    pub(crate) fn pass(&self, time: Duration) {
        let mut now = self.0.lock().unwrap();
        *now += jiff::SignedDuration::try_from(time).unwrap();
    }
}

#[cfg(test)]
impl mainstay_runtime::clock::Clock for WallClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether these seconds that pass on the wall clock, and these on the monotonic one, are a sleep.
    fn is_sleep(wall_s: i64, now_s: u64) -> bool {
        let start = Timestamp::UNIX_EPOCH;
        let mut watch = SleepWatch::new(start, Duration::from_secs(100));
        let wall = start + jiff::SignedDuration::from_secs(wall_s);
        watch.slept(wall, Duration::from_secs(100 + now_s)).is_some()
    }

    #[test]
    fn wall_time_that_passed_without_monotonic_time_was_slept() {
        assert!(is_sleep(8 * 3600, 0));
        assert!(is_sleep(62, 57));
    }

    #[test]
    fn clocks_that_agree_within_a_correction_are_no_sleep() {
        assert!(!is_sleep(0, 0));
        assert!(!is_sleep(3600, 3600));
        assert!(!is_sleep(61, 57));
    }

    #[test]
    fn a_wall_clock_that_is_set_back_or_stands_still_is_no_sleep() {
        assert!(!is_sleep(-3600, 1));
        assert!(!is_sleep(0, 3600));
    }

    #[test]
    fn one_sleep_is_told_once() {
        let start = Timestamp::UNIX_EPOCH;
        let mut watch = SleepWatch::new(start, Duration::ZERO);
        let woke = start + jiff::SignedDuration::from_secs(3600);
        assert_eq!(watch.slept(woke, Duration::ZERO), Some(Duration::from_secs(3600)));
        assert_eq!(watch.slept(woke, Duration::ZERO), None);
    }
}

//! Whether the machine was asleep: monotonic time stands still meanwhile, wall time does not.

use std::time::Duration;

use jiff::Timestamp;

/// A jump between wall and monotonic time that only sleep explains.
const SLEEP_MIN: Duration = Duration::from_secs(5);
/// How often such a jump is looked for while the machine waits for anything: a person who opens a laptop does not
/// wait for the next ping.
pub(super) const SLEEP_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Compares the two clocks.
#[derive(Debug)]
pub(super) struct SleepWatch {
    /// Both when they were last compared.
    wall: Timestamp,
    now: Duration,
}

impl SleepWatch {
    pub(super) fn new(wall: Timestamp, now: Duration) -> Self {
        Self { wall, now }
    }

    /// Whether the machine slept since this was last asked.
    pub(super) fn has_slept(&mut self, wall: Timestamp, now: Duration) -> bool {
        let before = std::mem::replace(self, Self { wall, now });
        // A wall clock that was set back is no sleep.
        let passed = Duration::try_from(wall.duration_since(before.wall)).unwrap_or_default();
        passed.saturating_sub(now.saturating_sub(before.now)) >= SLEEP_MIN
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
        watch.has_slept(wall, Duration::from_secs(100 + now_s))
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
        assert!(watch.has_slept(woke, Duration::ZERO));
        assert!(!watch.has_slept(woke, Duration::ZERO));
    }
}

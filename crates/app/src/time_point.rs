//! Turns durations since the runtime's start into wall times.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mainstay_runtime::clock::WallTime;

/// The present, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimePoint {
    pub(crate) now: Duration,
    pub(crate) wall: Timestamp,
}

impl TimePoint {
    /// Returns the wall time of `at` since the runtime's start.
    pub(crate) fn wall_time(self, at: Duration) -> WallTime {
        let (at, now) = (SignedDuration::try_from(at), SignedDuration::try_from(self.now));
        WallTime(match (at, now) {
            (Ok(at), Ok(now)) => self.wall.checked_add(at.saturating_sub(now)).unwrap_or(self.wall),
            _ => self.wall,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_is_right_for_past_and_future() {
        let time_point = TimePoint { now: Duration::from_secs(10), wall: Timestamp::UNIX_EPOCH };
        let times = [8, 10, 15].map(|s| time_point.wall_time(Duration::from_secs(s)).to_string());
        assert_eq!(
            times,
            ["1969-12-31T23:59:58.000Z", "1970-01-01T00:00:00.000Z", "1970-01-01T00:00:05.000Z"]
        );
    }
}

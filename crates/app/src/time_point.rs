//! Turns durations since the runtime's start into wall times.

use std::sync::Arc;
use std::time::Duration;

use mainstay_runtime::clock::WallTime;
use mainstay_runtime::journal::Timeline;

/// The present, with the dates of the run's times.
#[derive(Debug, Clone)]
pub(crate) struct TimePoint {
    pub(crate) now: Duration,
    pub(crate) timeline: Arc<Timeline>,
}

impl TimePoint {
    /// Returns the wall time of `at` since the runtime's start. A past time always has the same.
    pub(crate) fn wall_time(&self, at: Duration) -> WallTime {
        WallTime(self.timeline.wall_time(at))
    }
}

//! Dates the times of a run by the wall clock as it was then.
//!
//! States keep their times as durations since the start of the run. The wall clock moves against these: it is set, and
//! it goes on while the computer sleeps. The timeline notes each such step, so that a time keeps its date ever after.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The difference between the clocks that counts as a step. Less is the delay between two looks at them.
pub(super) const STEP_MIN_MS: u64 = 100;
/// The most steps that are kept. Times before the oldest one are dated as that says.
const STEPS_MAX: usize = 1024;

/// The wall time of each moment of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// The steps of the wall clock, the oldest first. The first one is the start.
    steps: Vec<ClockStep>,
}

/// A step of the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ClockStep {
    /// The first time that it dates, since the start of the run.
    from: Duration,
    /// The wall time of the start of the run, by the clock as it is after the step.
    start: Timestamp,
}

impl Timeline {
    /// Returns the timeline of a run that started at `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self { steps: vec![ClockStep { from: Duration::ZERO, start }] }
    }

    /// Notes that it is `wall` at `now` since the start.
    pub(super) fn step(&mut self, now: Duration, wall: Timestamp) {
        if self.steps.len() == STEPS_MAX {
            self.steps.remove(0);
        }
        // Another thread may have noted a step at a later time already.
        let from = self.steps.last().map_or(now, |last| now.max(last.from));
        self.steps.push(ClockStep { from, start: shift(wall, now, SignedDuration::checked_neg) });
    }

    /// Returns the wall time `at` since the start. A future time is dated by the clock as it is now.
    #[must_use]
    pub fn wall_time(&self, at: Duration) -> Timestamp {
        let later = self.steps.partition_point(|step| step.from <= at);
        let step = self.steps.get(later.saturating_sub(1));
        step.map_or(Timestamp::UNIX_EPOCH, |step| shift(step.start, at, Some))
    }
}

/// Returns `wall` moved by `by` in a direction; unmoved if the result is no time.
fn shift(
    wall: Timestamp,
    by: Duration,
    direction: impl FnOnce(SignedDuration) -> Option<SignedDuration>,
) -> Timestamp {
    let by = SignedDuration::try_from(by).ok().and_then(direction);
    by.and_then(|by| wall.checked_add(by).ok()).unwrap_or(wall)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn wall(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn past_keeps_its_dates_after_a_step_and_future_follows_it() {
        let mut timeline = Timeline::new(wall(1000));
        assert_eq!([0, 8, 15].map(|at| timeline.wall_time(s(at))), [1000, 1008, 1015].map(wall));
        // An hour of sleep, which the run's own time does not count.
        timeline.step(s(10), wall(4610));
        // The clock is set back.
        timeline.step(s(20), wall(500));
        let dates = [0, 9, 10, 19, 20, 25].map(|at| timeline.wall_time(s(at)));
        assert_eq!(dates, [1000, 1009, 4610, 4619, 500, 505].map(wall));
    }

    #[test]
    fn oldest_steps_are_forgotten() {
        let mut timeline = Timeline::new(wall(0));
        for at in 1..=5000 {
            timeline.step(s(at), wall(2 * i64::try_from(at).unwrap()));
        }
        assert_eq!(timeline.steps.len(), STEPS_MAX);
        assert_eq!(timeline.wall_time(s(4999)), wall(9998));
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        let mut timeline = Timeline::new(Timestamp::MAX);
        assert_eq!(timeline.wall_time(Duration::MAX), Timestamp::MAX);
        timeline.step(s(5), Timestamp::MIN);
        assert_eq!(timeline.wall_time(s(0)), Timestamp::MAX);
        assert!(timeline.wall_time(s(6)) > Timestamp::MIN);
    }
}

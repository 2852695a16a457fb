//! Notices that this process or the machine stood still.
//!
//! While the computer sleeps, monotonic time stands still and wall time does not. While this process alone is
//! suspended (a signal, a debugger) or starved, both go on, and timers are noticed late. Input that came meanwhile
//! lies in sockets and pipes, so it is read before an overdue timer is judged.

use std::pin::pin;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

pub use mainstay_runtime::standstill::CLOCK_CHECK_INTERVAL;
pub(crate) use mainstay_runtime::standstill::{DRAIN_TIME, LATE_MIN};

/// The shortest standstill that the clocks show.
const STANDSTILL_MIN: Duration = Duration::from_secs(5);

/// A timer that is noticed this long after its time makes silence count from then on only.
const OVERDUE_MIN: Duration = Duration::from_secs(1);

/// Returns whether this process stood still when `due` came, as it notices that at `now`.
pub(crate) fn is_overdue(due: Duration, now: Duration) -> bool {
    now.saturating_sub(due) >= OVERDUE_MIN
}

/// Waits for `output` until `deadline`; returns `None` if it does not come. If the deadline is noticed late, what came
/// meanwhile is read first.
pub(crate) async fn until<T>(deadline: Instant, output: impl Future<Output = T>) -> Option<T> {
    let (mut output, mut deadline) = (pin!(output), deadline);
    loop {
        if let Ok(output) = timeout_at(deadline, &mut output).await {
            return Some(output);
        }
        let now = Instant::now();
        if now.saturating_duration_since(deadline) < LATE_MIN {
            return None;
        }
        deadline = now + DRAIN_TIME;
    }
}

/// Compares the readings of both clocks at each look, every [`CLOCK_CHECK_INTERVAL`].
#[derive(Debug)]
pub struct StandstillDetector {
    last_wall: Timestamp,
    last_monotonic: Duration,
}

impl StandstillDetector {
    /// Makes one with these readings as its first look.
    #[must_use]
    pub fn new(wall: Timestamp, now: Duration) -> Self {
        Self { last_wall: wall, last_monotonic: now }
    }

    /// Returns how long this process or the machine stood still since the last look; `None` if neither did.
    pub fn stood_still_for(&mut self, wall: Timestamp, now: Duration) -> Option<Duration> {
        let (by_wall, by_monotonic) = self.look(wall, now);
        at_least_min(by_wall.max(by_monotonic).saturating_sub(CLOCK_CHECK_INTERVAL))
    }

    /// Returns how long the computer slept since the last look, at any interval; `None` if it did not.
    pub(crate) fn slept_for(&mut self, wall: Timestamp, now: Duration) -> Option<Duration> {
        let (by_wall, by_monotonic) = self.look(wall, now);
        at_least_min(by_wall.saturating_sub(by_monotonic))
    }

    /// Returns how far each clock went on since the last look: the wall clock, and the monotonic one.
    fn look(&mut self, wall: Timestamp, now: Duration) -> (Duration, Duration) {
        let before = std::mem::replace(self, Self::new(wall, now));
        // A wall clock that was set back tells nothing.
        let by_wall = Duration::try_from(wall.duration_since(before.last_wall)).unwrap_or_default();
        (by_wall, now.saturating_sub(before.last_monotonic))
    }
}

fn at_least_min(standstill: Duration) -> Option<Duration> {
    Some(standstill).filter(|standstill| *standstill >= STANDSTILL_MIN)
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
    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn until_a_punctual_deadline_waits_no_longer() {
        let started = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(until(started + second, std::future::pending::<()>()).await, None);
        assert_eq!(started.elapsed(), second);
        assert_eq!(until(started + second * 2, tokio::time::sleep(second / 2)).await, Some(()));
    }

    #[tokio::test(start_paused = true)]
    async fn until_a_late_deadline_reads_first_what_came() {
        let started = Instant::now();
        // Another task, as a connection, passes the output on: it runs after the waiting task was woken.
        let (sender, output) = tokio::sync::oneshot::channel();
        let mut waiting = JoinSet::new();
        waiting.spawn(until(started + Duration::from_secs(1), output));
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_secs(60)).await;
        sender.send(7).unwrap();
        assert_eq!(waiting.join_next().await.unwrap().unwrap(), Some(Ok(7)));
        let mut silent = JoinSet::new();
        silent.spawn(until(Instant::now() + Duration::from_secs(1), std::future::pending::<()>()));
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_secs(60)).await;
        let woken = Instant::now();
        assert_eq!(silent.join_next().await.unwrap().unwrap(), None);
        assert_eq!(woken.elapsed(), DRAIN_TIME);
    }

    /// Returns the suspension and the standstill after these seconds on the wall clock and on the monotonic one.
    fn seen_after(wall_s: i64, now_s: u64) -> (Option<u64>, Option<u64>) {
        let wall = Timestamp::from_second(wall_s).unwrap();
        let (start, now) = (Duration::from_secs(100), Duration::from_secs(100 + now_s));
        let [mut sleep, mut standstill] =
            [(); 2].map(|()| StandstillDetector::new(Timestamp::UNIX_EPOCH, start));
        let seen = (sleep.slept_for(wall, now), standstill.stood_still_for(wall, now));
        assert_eq!(sleep.slept_for(wall, now), None, "it is found once");
        assert_eq!(standstill.stood_still_for(wall, now + CLOCK_CHECK_INTERVAL), None, "it is found once");
        (seen.0.map(|time| time.as_secs()), seen.1.map(|time| time.as_secs()))
    }

    #[test]
    fn clocks_show_sleep_and_standstill() {
        let cases = [
            // The readings: wall, monotonic. The results: suspension, standstill.
            ((2, 2), (None, None)),
            ((0, 0), (None, None)),
            // A look comes late.
            ((6, 6), (None, None)),
            ((7, 7), (None, Some(5))),
            // The process was suspended: both clocks ran on.
            ((62, 62), (None, Some(60))),
            ((3600, 3600), (None, Some(3598))),
            // The computer slept: the wall clock alone ran on.
            ((3602, 2), (Some(3600), Some(3600))),
            ((8 * 3600, 0), (Some(8 * 3600), Some(8 * 3600 - 2))),
            ((62, 57), (Some(5), Some(60))),
            ((61, 57), (None, Some(59))),
            // The wall clock was set back.
            ((-3600, 1), (None, None)),
            ((-3600, 2), (None, None)),
            ((0, 3600), (None, Some(3598))),
        ];
        for ((wall_s, now_s), seen) in cases {
            assert_eq!(seen_after(wall_s, now_s), seen, "{wall_s} s on the wall clock, {now_s} s monotonic");
        }
    }
}

//! Notices that this process or the machine stood still.
//!
//! While the machine is suspended, monotonic time stands still and wall time does not. While this process alone is
//! stopped (a signal, a debugger, a starved machine), both go on, and timers are noticed late. Input that came meanwhile
//! lies in sockets and pipes, so it is read before an overdue timer is judged.

use std::pin::pin;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

/// The smallest jump between wall and monotonic time that counts as a suspension.
const SUSPEND_MIN: Duration = Duration::from_secs(5);
/// The interval between checks for such a jump. A person who opens a laptop does not wait for the next ping.
pub(crate) const SUSPEND_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// A timer that is noticed this long after its time was missed by this process, not by the other side.
pub(crate) const LATE_MIN: Duration = Duration::from_millis(100);
/// The time for which input is read after a late timer, before it is judged.
pub(crate) const DRAIN_TIME: Duration = Duration::from_secs(1);

/// The least time of a standstill after which silence counts from its end.
const STANDSTILL_MIN: Duration = Duration::from_secs(1);

/// Returns whether this process stood still when `due` came, as it notices that at `now`.
pub(crate) fn stood_still(due: Duration, now: Duration) -> bool {
    now.saturating_sub(due) >= STANDSTILL_MIN
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

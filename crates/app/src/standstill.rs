//! Notices that the runtime stood still: the machine was suspended, or the process was stopped or got no processor.

use std::time::Duration;

use jiff::Timestamp;
use mainstay_runtime::ActorPath;
use mainstay_runtime::journal::{Event, Journal, Level, millis, millis_text};
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};

/// The interval between two looks at the clocks.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// The shortest standstill that is recorded.
const STANDSTILL_MIN: Duration = Duration::from_secs(5);

/// The runtime stood still, and runs again. Deadlines that passed meanwhile are judged now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WokeAfter {
    /// The time for which it stood still, in milliseconds, to within two seconds.
    pub stood_still_ms: u64,
}

impl Event for WokeAfter {
    const KIND: &'static str = "woke_after";
    const LEVEL: Level = Level::Warn;

    fn describe(&self) -> String {
        format!(
            "the runtime stood still for {}, and runs again: the machine was suspended, or the process was stopped",
            millis_text(self.stood_still_ms)
        )
    }
}

/// Compares the clocks at each look.
#[derive(Debug)]
struct StandstillDetector {
    wall: Timestamp,
    now: Duration,
}

impl StandstillDetector {
    /// Returns for how long the runtime stood still since the last look, if it did. During a suspend only the wall clock
    /// goes on; while the process is stopped, both do.
    fn look(&mut self, wall: Timestamp, now: Duration) -> Option<Duration> {
        let before = std::mem::replace(self, Self { wall, now });
        // A wall clock that was set back tells nothing.
        let by_wall = Duration::try_from(wall.duration_since(before.wall)).unwrap_or_default();
        let passed = by_wall.max(now.saturating_sub(before.now));
        Some(passed.saturating_sub(LOOK_INTERVAL)).filter(|stood_still| *stood_still >= STANDSTILL_MIN)
    }
}

/// Records each standstill, until it is dropped.
pub(crate) async fn record_standstills(journal: Journal) {
    let Ok(path) = ActorPath::root("root") else { return };
    let mut looks = interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut detector = StandstillDetector { wall: journal.wall_time(), now: journal.now() };
    loop {
        looks.tick().await;
        if let Some(stood_still) = detector.look(journal.wall_time(), journal.now()) {
            journal.record(&path, 0, &WokeAfter { stood_still_ms: millis(stood_still) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the standstill after these seconds on the wall clock and on the monotonic one.
    fn standstill(wall_s: i64, now_s: u64) -> Option<u64> {
        let mut detector = StandstillDetector { wall: Timestamp::UNIX_EPOCH, now: Duration::from_secs(100) };
        let wall = Timestamp::from_second(wall_s).unwrap();
        let first = detector.look(wall, Duration::from_secs(100 + now_s));
        assert_eq!(detector.look(wall, Duration::from_secs(102 + now_s)), None, "it is found once");
        first.map(|stood_still| stood_still.as_secs())
    }

    #[test]
    fn suspend_and_stopped_process_are_standstills() {
        assert_eq!(standstill(3602, 2), Some(3600), "a suspend");
        assert_eq!(standstill(62, 62), Some(60), "a stopped process");
        assert_eq!(standstill(7, 7), Some(5));
    }

    #[test]
    fn late_look_or_clock_set_back_is_no_standstill() {
        assert_eq!(standstill(6, 6), None);
        assert_eq!(standstill(-3600, 2), None);
    }
}

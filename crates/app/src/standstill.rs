//! Notices that the runtime stood still: the computer slept, or its process was suspended or got no processor.

use std::sync::Arc;

use mainstay_actors::standstill::{CLOCK_CHECK_INTERVAL, StandstillDetector};
use mainstay_runtime::ActorPath;
use mainstay_runtime::journal::{Event, Journal, Level, millis, millis_text};
use mainstay_runtime::standstill::StandstillClock;
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};

use crate::tree_place::ROOT_NAME;

/// The runtime stood still, and runs again. Deadlines that passed meanwhile are judged now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct RuntimeStoodStill {
    /// The time for which it stood still, in milliseconds, to within two seconds.
    pub stood_still_ms: u64,
}

impl Event for RuntimeStoodStill {
    const KIND: &'static str = "woke_after";
    const LEVEL: Level = Level::Warn;

    fn describe(&self) -> String {
        format!(
            "the runtime stood still for {}, and runs again: the computer slept, or its process was suspended",
            millis_text(self.stood_still_ms)
        )
    }
}

/// Records each standstill, and keeps it out of the time of restarts, until it is dropped.
pub(crate) async fn record_standstills(journal: Journal, clock: Arc<StandstillClock>) {
    let Ok(path) = ActorPath::root(ROOT_NAME) else { return };
    let mut looks = interval(CLOCK_CHECK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut detector = StandstillDetector::new(journal.wall_time(), journal.now());
    loop {
        looks.tick().await;
        clock.look(journal.now());
        if let Some(stood_still) = detector.stood_still_for(journal.wall_time(), journal.now()) {
            journal.record(&path, 0, &RuntimeStoodStill { stood_still_ms: millis(stood_still) });
        }
    }
}

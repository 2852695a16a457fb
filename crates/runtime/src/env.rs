//! The environment that all actors of one runtime share: the journal, the source of randomness, the state
//! store, the clocks of stops and of standstills.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::journal::Journal;
use crate::rng::Rng;
use crate::standstill::{RunningSince, StandstillClock};
use crate::state::StateStore;
use crate::stop_clock::{LOOK_INTERVAL, MovingDeadline, StopClock, StopWatch};

/// The environment that all actors of one runtime share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Env {
    pub(crate) journal: Journal,
    pub(crate) rng: Arc<Rng>,
    pub(crate) state_store: Option<Arc<dyn StateStore>>,
    pub(crate) stop_clock: Arc<StopClock>,
    pub(crate) standstill_clock: Arc<StandstillClock>,
}

impl Env {
    /// Returns the time since the runtime started, in whole milliseconds. It is as precise as the journal, so that a
    /// decision can be repeated from its record.
    pub(crate) fn now(&self) -> Duration {
        self.journal.now()
    }

    /// Returns the time for which this process ran until `now`, without standstills.
    pub(crate) fn time_awake(&self, now: Duration) -> Duration {
        now.saturating_sub(self.standstill_clock.total(now))
    }

    /// Returns `now` as the beginning of something that standstills do not count for.
    pub(crate) fn running_since(&self, now: Duration) -> RunningSince {
        RunningSince::new(now, &self.standstill_clock)
    }

    /// Looks at the clock, and returns by how much the deadlines of stops have moved in total.
    pub(crate) fn postponed(&self) -> Duration {
        self.stop_clock.look(self.now())
    }

    /// Returns how much time is left until `deadline`.
    pub(crate) fn left_until(&self, deadline: MovingDeadline) -> Duration {
        let now = self.now();
        deadline.at(self.stop_clock.look(now)).saturating_sub(now)
    }

    /// Returns a deadline after `limit`, counted without standstills.
    pub(crate) fn deadline_in(&self, limit: Duration) -> MovingDeadline {
        let now = self.now();
        MovingDeadline::new(now.saturating_add(limit), self.stop_clock.look(now))
    }

    /// Waits for a step until `deadline`, if there is one. It looks at the clock meanwhile, so that a standstill moves
    /// the deadline.
    pub(crate) async fn within<T>(
        &self,
        deadline: Option<MovingDeadline>,
        step: impl Future<Output = T>,
    ) -> Option<T> {
        let Some(deadline) = deadline else { return Some(step.await) };
        let _watch = self.watch_stop();
        let mut step = pin!(step);
        loop {
            let left = self.left_until(deadline);
            let output = timeout(LOOK_INTERVAL.min(left), &mut step).await;
            if output.is_ok() || left.is_zero() {
                return output.ok();
            }
        }
    }

    /// Notices standstills from now on, until the watch is dropped.
    pub(crate) fn watch_stop(&self) -> StopWatch {
        self.stop_clock.watch(self.now())
    }

    /// Returns the instant `since_start` after the start of the runtime.
    pub(crate) fn instant(&self, since_start: Duration) -> Instant {
        self.journal.epoch() + since_start
    }
}

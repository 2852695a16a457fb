//! The policy by which an agent's health is judged, and when its checks are due.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The grid on which the checks of many agents begin together, or a hundredth of the interval if that is less. A
/// coarser grid sends more requests at once, which takes memory: benches/README.md has the figures.
const CHECK_STEP_MAX: Duration = Duration::from_millis(10);

/// The policy for an agent's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthPolicy {
    /// The time from one check to the next.
    pub interval: Duration,
    /// The time limit of a check.
    pub timeout: Duration,
    /// The misses in a row that fail the agent (at least 1).
    pub fail_after: u32,
    /// The good answers in a row that heal it (at least 1).
    pub recover_after: u32,
    /// The time after a start within which an agent that was never healthy does not fail.
    pub startup_grace: Duration,
    /// The time for which an agent may work without progress; zero for no limit.
    pub progress_timeout: Duration,
    /// The least uptime of an agent that counts as healthy for the first time; zero for an agent behind the backend,
    /// whose uptime may be rounded.
    pub min_uptime: Duration,
    /// The deaths over one message, or over calls of a kind in a row, that quarantine the message or the calls
    /// (at least 1). Deaths are those of the agent or its backend. Quarantined calls pause for eight
    /// intervals, and for twice as long after each further death. A pause begins at the death, and again when the
    /// backend first returns.
    pub quarantine_after: u32,
}

impl HealthPolicy {
    /// Lengthens a delay from `now` by less than a step, to end on the grid that all agents of this interval share.
    /// With thousands of agents a thread then wakes once for several checks.
    #[must_use]
    pub(crate) fn align_to_step(&self, delay: Duration, now: Duration) -> Duration {
        let step = (self.interval / 100).min(CHECK_STEP_MAX).as_nanos();
        let due = now.saturating_add(delay).as_nanos();
        let late = due.checked_rem(step).map_or(0, |past| (step - past) % step);
        // Less than a step, which has few nanoseconds.
        delay.saturating_add(Duration::from_nanos(u64::try_from(late).unwrap_or_default()))
    }
}

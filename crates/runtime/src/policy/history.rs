//! The memory of a policy: earlier restarts and crashes.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Budget, ChildPolicy};

/// Restarts granted within a sliding window. It never holds more than the budget grants.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
struct RestartWindow {
    #[cfg_attr(feature = "typescript", ts(type = "Array<Duration>"))]
    at: VecDeque<Duration>,
}

impl RestartWindow {
    /// Returns how many restarts still count at `now`.
    fn used(&self, budget: Budget, now: Duration) -> u32 {
        let counted = self.at.iter().filter(|at| now.saturating_sub(**at) < budget.window).count();
        u32::try_from(counted).unwrap_or(u32::MAX)
    }

    /// Takes one restart out of the budget. Returns false if nothing is left.
    fn spend(&mut self, budget: Budget, now: Duration) -> bool {
        while self.at.front().is_some_and(|at| now.saturating_sub(*at) >= budget.window) {
            self.at.pop_front();
        }
        if self.used(budget, now) >= budget.restarts_max {
            return false;
        }
        self.at.push_back(now);
        true
    }
}

/// The history of one child. It outlives the child's incarnations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct ChildHistory {
    recent_restarts: RestartWindow,
    attempts: u32,
    checkpoint_crashes: u32,
}

impl ChildHistory {
    /// Returns the restarts that still count against `budget` at `now`.
    #[must_use]
    pub fn used(&self, budget: Budget, now: Duration) -> u32 {
        self.recent_restarts.used(budget, now)
    }

    /// Returns the restarts that the budget of `policy` still grants at `now` to a child that has been ready since
    /// `ready_since`. `None` means any number.
    #[must_use]
    pub fn budget_left(
        &self,
        policy: &ChildPolicy,
        ready_since: Option<Duration>,
        now: Duration,
    ) -> Option<u32> {
        let budget = policy.budget?;
        let used = if policy.is_stable(ready_since, now) { 0 } else { self.used(budget, now) };
        Some(budget.restarts_max.saturating_sub(used))
    }

    /// Returns the restarts since the child was last stable.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Resets the whole budget, as an operator's reset or a stable run does.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Resets the budget but keeps the knowledge about the checkpoint.
    pub(super) fn restore_budget(&mut self) {
        self.recent_restarts = RestartWindow::default();
        self.attempts = 0;
    }

    /// Counts one more restart. Returns the number of this attempt, or `None` if the budget is spent.
    pub(super) fn spend(&mut self, budget: Option<Budget>, now: Duration) -> Option<u32> {
        if let Some(budget) = budget
            && !self.recent_restarts.spend(budget, now)
        {
            return None;
        }
        self.attempts = self.attempts.saturating_add(1);
        Some(self.attempts)
    }

    /// Records the result of an incarnation that began from a checkpoint. Returns whether that checkpoint has now
    /// crashed `crashes_max` incarnations in a row.
    pub(super) fn count_checkpoint_crash(&mut self, to_blame: bool, crashes_max: u32) -> bool {
        if !to_blame {
            self.checkpoint_crashes = 0;
            return false;
        }
        self.checkpoint_crashes = self.checkpoint_crashes.saturating_add(1);
        let condemned = self.checkpoint_crashes >= crashes_max;
        if condemned {
            self.checkpoint_crashes = 0;
        }
        condemned
    }
}

/// The history of all children of a supervisor together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct SupervisorHistory {
    recent_restarts: RestartWindow,
}

impl SupervisorHistory {
    /// Counts one more restart against the intensity. Returns false if it is exceeded.
    pub(super) fn spend(&mut self, intensity: Option<Budget>, now: Duration) -> bool {
        intensity.is_none_or(|intensity| self.recent_restarts.spend(intensity, now))
    }
}

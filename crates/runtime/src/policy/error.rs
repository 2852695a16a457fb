//! Errors in a policy.

use thiserror::Error;

use super::{ChildPolicy, Delay, RestartType};

/// A fault in a child's policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// A permanent child never ends for good, so its end cannot end its supervisor.
    #[error("a permanent child cannot be significant: make it transient or temporary")]
    SignificantPermanent,
    /// A budget that counts no time would never be spent.
    #[error("the budget's window is zero: give it the time within which restarts count")]
    ZeroBudgetWindow,
    /// A delay that does not grow, or is no number.
    #[error("the delay's factor must be a number of at least 1")]
    DelayFactor,
    /// A delay whose bounds are the wrong way round.
    #[error("the delay's min is above its max")]
    DelayBounds,
    /// A limit of no crashes is exceeded before the first.
    #[error("checkpoint_crashes_max is zero: it must be at least 1")]
    ZeroCheckpointCrashes,
    /// A limit of no time makes every handler stuck at once.
    #[error("stuck_after is zero: leave it out, or give it a time")]
    ZeroStuckAfter,
}

impl ChildPolicy {
    /// Checks that the policy can be carried out.
    ///
    /// # Errors
    /// Returns the first fault that is found.
    pub fn check(&self) -> Result<(), PolicyError> {
        if self.significant && self.restart == RestartType::Permanent {
            return Err(PolicyError::SignificantPermanent);
        }
        if self.budget.is_some_and(|budget| budget.window.is_zero()) {
            return Err(PolicyError::ZeroBudgetWindow);
        }
        if let Delay::Exponential { min, max, factor, .. } | Delay::FirstAtOnce { min, max, factor } =
            self.delay
        {
            if !(factor.is_finite() && factor >= 1.0) {
                return Err(PolicyError::DelayFactor);
            }
            if min > max {
                return Err(PolicyError::DelayBounds);
            }
        }
        if self.checkpoint_crashes_max == 0 {
            return Err(PolicyError::ZeroCheckpointCrashes);
        }
        if self.stuck_after.is_some_and(|limit| limit.is_zero()) {
            return Err(PolicyError::ZeroStuckAfter);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Budget;
    use super::*;

    #[test]
    fn invalid_policy_returns_its_error() {
        let sound = ChildPolicy::default();
        assert_eq!(sound.check(), Ok(()));
        let second = Duration::from_secs(1);
        let delay = |min, factor| Delay::Exponential { min, max: second, factor, jitter: true };
        for (policy, fault) in [
            (ChildPolicy { significant: true, ..sound }, PolicyError::SignificantPermanent),
            (
                ChildPolicy { budget: Some(Budget { restarts_max: 1, window: Duration::ZERO }), ..sound },
                PolicyError::ZeroBudgetWindow,
            ),
            (ChildPolicy { delay: delay(second, f64::NAN), ..sound }, PolicyError::DelayFactor),
            (ChildPolicy { delay: delay(second, 0.5), ..sound }, PolicyError::DelayFactor),
            (ChildPolicy { delay: delay(second * 2, 2.0), ..sound }, PolicyError::DelayBounds),
            (
                ChildPolicy {
                    delay: Delay::FirstAtOnce { min: second * 2, max: second, factor: 2.0 },
                    ..sound
                },
                PolicyError::DelayBounds,
            ),
            (ChildPolicy { checkpoint_crashes_max: 0, ..sound }, PolicyError::ZeroCheckpointCrashes),
            (ChildPolicy { stuck_after: Some(Duration::ZERO), ..sound }, PolicyError::ZeroStuckAfter),
        ] {
            assert_eq!(policy.check(), Err(fault));
        }
    }
}

//! The delay before the next attempt.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The delay before an attempt, as plain data.
///
/// Restarts, reconnections and retries use it. The exponential form grows by `factor` with every attempt up to `max`.
/// With `jitter` on, the delay is spread evenly over the span from `min` to the grown value. That is "full jitter"
/// (Marc Brooker, *Exponential Backoff And Jitter*, AWS Architecture Blog, 2015). Its floor is `min`, so that a
/// configured minimum holds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Delay {
    /// The same delay before every attempt.
    Fixed {
        /// The delay.
        #[cfg_attr(feature = "typescript", ts(type = "Duration"))]
        delay: Duration,
    },
    /// A delay that grows with every attempt.
    Exponential {
        /// The delay before the first attempt, and the shortest delay.
        #[cfg_attr(feature = "typescript", ts(type = "Duration"))]
        min: Duration,
        /// The longest delay.
        #[cfg_attr(feature = "typescript", ts(type = "Duration"))]
        max: Duration,
        /// The factor by which each attempt multiplies the delay. Values below 1 count as 1.
        factor: f64,
        /// True if delays are spread at random over the span that the attempt has reached.
        jitter: bool,
    },
    /// No delay before the first attempt. From the second on, the delay grows as that of `Exponential` does.
    FirstAtOnce {
        /// The delay before the second attempt.
        #[cfg_attr(feature = "typescript", ts(type = "Duration"))]
        min: Duration,
        /// The longest delay.
        #[cfg_attr(feature = "typescript", ts(type = "Duration"))]
        max: Duration,
        /// The factor by which each further attempt multiplies the delay. Values below 1 count as 1.
        factor: f64,
    },
}

impl Delay {
    /// No delay at all.
    pub const NONE: Self = Self::Fixed { delay: Duration::ZERO };

    /// Returns the delay before attempt number `attempt` (the first is 1; 0 counts as 1).
    ///
    /// `jitter` is a random number in `[0, 1)` that the caller draws. Values outside are clamped, and it is ignored
    /// if jitter is off. A delay that grows lies within `[min, max]` for every attempt, however large.
    #[must_use]
    pub fn before(&self, attempt: u32, jitter: f64) -> Duration {
        match *self {
            Self::Fixed { delay } => delay,
            Self::Exponential { min, max, factor, jitter: spread } => {
                let max = max.max(min);
                // With jitter the first attempt needs a span already.
                let growths = if spread { attempt.max(1) } else { attempt.max(1) - 1 };
                let ceiling = exponential(min, max, factor, growths);
                if spread { min + (ceiling - min).mul_f64(clamp_unit(jitter)) } else { ceiling }
            }
            Self::FirstAtOnce { .. } if attempt <= 1 => Duration::ZERO,
            Self::FirstAtOnce { min, max, factor } => exponential(min, max.max(min), factor, attempt - 2),
        }
    }
}

/// Returns `min * factor^growths`, never above `max` and never overflowing.
fn exponential(min: Duration, max: Duration, factor: f64, growths: u32) -> Duration {
    let factor = if factor.is_finite() { factor.max(1.0) } else { 1.0 };
    let seconds = min.as_secs_f64() * factor.powf(f64::from(growths));
    if seconds.is_finite() && seconds < max.as_secs_f64() {
        Duration::from_secs_f64(seconds).max(min)
    } else {
        max
    }
}

/// Clamps `jitter` to `[0, 1]`.
fn clamp_unit(jitter: f64) -> f64 {
    if jitter.is_nan() { 0.0 } else { jitter.clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: Delay = Delay::Exponential {
        min: Duration::from_secs(1),
        max: Duration::from_secs(30),
        factor: 2.0,
        jitter: false,
    };
    const JITTERED: Delay = Delay::Exponential {
        min: Duration::from_secs(1),
        max: Duration::from_secs(30),
        factor: 2.0,
        jitter: true,
    };

    #[test]
    fn delay_without_jitter_doubles_up_to_max() {
        let seconds: Vec<u64> = (1..=7).map(|attempt| SPEC.before(attempt, 0.9).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn first_attempt_is_at_once_and_later_ones_wait() {
        let (min, max) = (Duration::from_secs(1), Duration::from_secs(10));
        let delay = Delay::FirstAtOnce { min, max, factor: 2.0 };
        let seconds: Vec<u64> = (0..=7).map(|attempt| delay.before(attempt, 0.9).as_secs()).collect();
        assert_eq!(seconds, [0, 0, 1, 2, 4, 8, 10, 10]);
        assert_eq!(delay.before(u32::MAX, 0.0), max);
    }

    #[test]
    fn jitter_applies_at_the_cap_and_stays_in_bounds() {
        for attempt in [1, 2, 6, 100, u32::MAX] {
            let low = JITTERED.before(attempt, 0.0);
            let high = JITTERED.before(attempt, 0.999);
            assert!(low < high, "attempt {attempt}: {low:?} and {high:?} do not differ");
            assert!(low >= Duration::from_secs(1) && high <= Duration::from_secs(30));
        }
    }

    #[test]
    fn absurd_settings_neither_panic_nor_overflow() {
        for factor in [f64::NAN, f64::INFINITY, -3.0, 0.0, 1e308] {
            for jitter in [f64::NAN, -1.0, 2.0] {
                let delay = Delay::Exponential {
                    min: Duration::from_secs(2),
                    max: Duration::from_secs(1),
                    factor,
                    jitter: true,
                };
                assert_eq!(delay.before(u32::MAX, jitter), Duration::from_secs(2));
            }
        }
    }
}

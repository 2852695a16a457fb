//! What a child and its supervisor are configured to do.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Delay;

/// After which exits a child is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartType {
    /// After every exit, a normal one included.
    Permanent,
    /// After every exit that is not normal.
    Transient,
    /// Never.
    Temporary,
}

/// How many restarts are granted within a sliding window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Restarts granted within `window`; the one after is refused.
    pub restarts_max: u32,
    /// How far back restarts count.
    pub window: Duration,
}

/// What happens when a child's budget is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exhausted {
    /// The child stays `failed` until it is reset; its siblings go on.
    Abandon,
    /// The supervisor fails, and its own parent decides.
    Escalate,
}

/// How a child is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shutdown {
    /// It is asked to stop, and killed when it has not ended within the timeout.
    Graceful(Duration),
    /// It is killed at once.
    Kill,
}

/// The policy of one child.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ChildPolicy {
    /// After which exits it is restarted.
    pub restart: RestartType,
    /// How long each restart waits.
    pub delay: Delay,
    /// How many restarts it is granted; `None` grants any number.
    pub budget: Option<Budget>,
    /// A child that stayed ready this long has earned its whole budget back. Being spawned is not enough.
    pub stable_after: Duration,
    /// What happens when the budget is spent.
    pub exhausted: Exhausted,
    /// How it is stopped.
    pub shutdown: Shutdown,
    /// After this many crashes in a row of incarnations that began from the same checkpoint, the checkpoint is
    /// set aside and the next start is fresh.
    pub checkpoint_crashes_max: u32,
}

impl ChildPolicy {
    /// Whether a child that has been ready since `ready_since` has earned its budget back at `now`.
    #[must_use]
    pub fn is_stable(&self, ready_since: Option<Duration>, now: Duration) -> bool {
        ready_since.is_some_and(|since| now.saturating_sub(since) >= self.stable_after)
    }
}

impl Default for ChildPolicy {
    /// Permanent, five restarts in ten minutes, 5 s growing to 60 s between them, a minute to be stable, and
    /// five seconds to stop.
    fn default() -> Self {
        Self {
            restart: RestartType::Permanent,
            delay: Delay::Exponential {
                min: Duration::from_secs(5),
                max: Duration::from_secs(60),
                factor: 2.0,
                jitter: false,
            },
            budget: Some(Budget { restarts_max: 5, window: Duration::from_secs(600) }),
            stable_after: Duration::from_secs(60),
            exhausted: Exhausted::Abandon,
            shutdown: Shutdown::Graceful(Duration::from_secs(5)),
            checkpoint_crashes_max: 3,
        }
    }
}

/// Whom the exit of one child concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The child alone.
    #[default]
    OneForOne,
}

/// The policy of a supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct SupervisorPolicy {
    /// Whom the exit of one child concerns.
    pub strategy: Strategy,
    /// How many restarts all children together are granted before the supervisor fails; `None` sets no limit.
    pub intensity: Option<Budget>,
}

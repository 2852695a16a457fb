//! The configured behaviour of a child and its supervisor.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Delay;

/// The exits after which a child is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum RestartType {
    /// Every exit, a normal one included.
    Permanent,
    /// Every exit that was neither normal nor a supervisor's own shutdown.
    Transient,
    /// No exit. Once the child has ended, nothing of it is kept.
    Temporary,
}

/// A number of restarts that are granted within a sliding window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Budget {
    /// The restarts that are granted within `window`; the next one is refused.
    pub restarts_max: u32,
    /// The time for which a restart counts.
    #[cfg_attr(feature = "typescript", ts(type = "Duration"))]
    pub window: Duration,
}

/// The consequence of a spent budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum OnBudgetExhausted {
    /// The child stays `failed` until it is reset; its siblings go on.
    GiveUp,
    /// The supervisor fails, and its own parent decides.
    Escalate,
}

/// The way in which a child is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum Shutdown {
    /// The child is asked to stop, and killed if it has not ended within the timeout.
    Graceful(#[cfg_attr(feature = "typescript", ts(type = "Duration"))] Duration),
    /// The child is asked to stop, and has any amount of time. Meant for supervisors, whose children have timeouts of
    /// their own.
    Unlimited,
    /// The child is killed at once.
    Kill,
}

/// The consequence of a killed incarnation that does not end, because its handler never reaches an await point.
///
/// Nothing can end such a handler from outside. It is abandoned: its messages, its snapshots and its tasks no longer
/// count. Its remaining work goes on beside its successor, if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum AbandonedPolicy {
    /// The child stays `failed` until it is reset, so two of its incarnations never work at once.
    #[default]
    Fail,
    /// A new incarnation takes its place, as after any exit.
    Replace,
}

/// The policy of one child.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct ChildPolicy {
    /// The exits after which the child is restarted.
    pub restart: RestartType,
    /// The delay before each restart.
    pub delay: Delay,
    /// The number of restarts that the child is granted; `None` grants any number.
    pub budget: Option<Budget>,
    /// The time that a child must stay ready to earn its whole budget back. Being spawned is not enough.
    #[cfg_attr(feature = "typescript", ts(type = "Duration"))]
    pub stable_after: Duration,
    /// The consequence of a spent budget.
    pub exhausted: OnBudgetExhausted,
    /// The way in which the child is stopped.
    pub shutdown: Shutdown,
    /// The number of crashes in a row from the same checkpoint, after which the checkpoint is quarantined and the
    /// next start is fresh.
    pub checkpoint_crashes_max: u32,
    /// The longest time for a handler or a start; `None` sets no limit. One that takes longer is stuck, and is killed
    /// at most a quarter of this time later.
    #[cfg_attr(feature = "typescript", ts(type = "Duration | null"))]
    pub stuck_after: Option<Duration>,
    /// The time that a killed incarnation has to end before it is abandoned.
    #[cfg_attr(feature = "typescript", ts(type = "Duration"))]
    pub kill_timeout: Duration,
    /// The consequence of an abandoned incarnation.
    pub abandoned: AbandonedPolicy,
    /// True if the child's end can end its supervisor; see [`AutoShutdown`].
    pub significant: bool,
}

impl ChildPolicy {
    /// Returns whether a child that has been ready since `ready_since` has earned its budget back at `now`.
    #[must_use]
    pub fn is_stable(&self, ready_since: Option<Duration>, now: Duration) -> bool {
        ready_since.is_some_and(|since| now.saturating_sub(since) >= self.stable_after)
    }
}

impl Default for ChildPolicy {
    /// Returns the policy of a permanent child: five restarts in ten minutes, stable after a minute. The first restart is
    /// at once, as in OTP. The second waits 1 s, and each further one twice as long, up to 60 s. The child has five
    /// seconds to stop, five more to end when killed, and no limit on a handler's time.
    fn default() -> Self {
        Self {
            restart: RestartType::Permanent,
            delay: Delay::FirstAtOnce {
                min: Duration::from_secs(1),
                max: Duration::from_secs(60),
                factor: 2.0,
            },
            budget: Some(Budget { restarts_max: 5, window: Duration::from_secs(600) }),
            stable_after: Duration::from_secs(60),
            exhausted: OnBudgetExhausted::GiveUp,
            shutdown: Shutdown::Graceful(Duration::from_secs(5)),
            checkpoint_crashes_max: 3,
            stuck_after: None,
            kill_timeout: Duration::from_secs(5),
            abandoned: AbandonedPolicy::Fail,
            significant: false,
        }
    }
}

/// The children that the exit of one child concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The child alone.
    #[default]
    OneForOne,
    /// Every child: the others are stopped in reverse order, then all start in order.
    OneForAll,
    /// The child and those that come after it. These are stopped in reverse order, then all of them start in order.
    RestForOne,
}

/// The rule by which a supervisor ends when its significant children have ended.
///
/// An end counts if it calls for no restart: a transient child's normal exit, or any exit of a temporary child.
/// Stopping a child by command, or with its group, does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum AutoShutdown {
    /// The supervisor goes on.
    #[default]
    Never,
    /// The supervisor ends with the first significant child that has ended.
    AnySignificant,
    /// The supervisor ends with the last significant child that has ended. A child that is being restarted has not
    /// ended.
    AllSignificant,
}

/// The order in which a supervisor that ends stops its children.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum StopOrder {
    /// The last one stops first, and then the one before it: a child may use those before it until it has ended.
    #[default]
    Reverse,
    /// The children stop all at once, because none of them needs another.
    Together,
}

/// The policy of a supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct SupervisorPolicy {
    /// The children that the exit of one child concerns.
    pub strategy: Strategy,
    /// The number of restarts that all children together are granted before the supervisor ends; `None` sets no
    /// limit. The restart of a group counts once, and each attempt to start counts.
    pub intensity: Option<Budget>,
    /// The rule by which the supervisor ends when its significant children have ended.
    pub auto_shutdown: AutoShutdown,
    /// True if its children are all added while it runs, in an order without meaning. They are then stopped all at
    /// once, and the strategy is one-for-one.
    pub dynamic: bool,
    /// The order in which its children stop when it ends.
    #[serde(default)]
    pub stop_order: StopOrder,
}

impl SupervisorPolicy {
    pub(crate) fn stops_together(&self) -> bool {
        self.dynamic || self.stop_order == StopOrder::Together
    }
}

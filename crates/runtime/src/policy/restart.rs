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
    /// After every exit that was neither normal nor a supervisor's own shutdown.
    Transient,
    /// Never; once it has ended, nothing of it is kept.
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
pub enum OnBudgetExhausted {
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
    /// It is asked to stop, and waited for however long that takes. Meant for supervisors: their children have
    /// timeouts of their own.
    Unlimited,
    /// It is killed at once.
    Kill,
}

/// What follows when an incarnation that was killed does not end, because its handler never comes to an await point.
///
/// Nothing can end such a handler from outside. It is abandoned: its messages, its snapshots and its tasks no longer
/// count, and what it still does goes on beside its successor, if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AbandonedPolicy {
    /// The child stays `failed` until it is reset: two incarnations of it never work at once.
    #[default]
    Fail,
    /// A new incarnation takes its place, as after any exit.
    Replace,
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
    pub exhausted: OnBudgetExhausted,
    /// How it is stopped.
    pub shutdown: Shutdown,
    /// After this many crashes in a row of incarnations that began from the same checkpoint, the checkpoint is
    /// set aside and the next start is fresh.
    pub checkpoint_crashes_max: u32,
    /// A handler, or a start, that takes longer than this is stuck, and is killed; `None` sets no limit. It is
    /// found at the latest a quarter of this time later.
    pub stuck_after: Option<Duration>,
    /// How long an incarnation that was killed may take to end before it is abandoned.
    pub kill_timeout: Duration,
    /// What follows an incarnation that was abandoned.
    pub abandoned: AbandonedPolicy,
    /// Whether its end can end its supervisor; see [`AutoShutdown`].
    pub significant: bool,
}

impl ChildPolicy {
    /// Whether a child that has been ready since `ready_since` has earned its budget back at `now`.
    #[must_use]
    pub fn is_stable(&self, ready_since: Option<Duration>, now: Duration) -> bool {
        ready_since.is_some_and(|since| now.saturating_sub(since) >= self.stable_after)
    }
}

impl Default for ChildPolicy {
    /// Permanent, five restarts in ten minutes, 5 s growing to 60 s between them, a minute to be stable, five
    /// seconds to stop and five more to end when killed, and no limit on a handler's time.
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
            exhausted: OnBudgetExhausted::Abandon,
            shutdown: Shutdown::Graceful(Duration::from_secs(5)),
            checkpoint_crashes_max: 3,
            stuck_after: None,
            kill_timeout: Duration::from_secs(5),
            abandoned: AbandonedPolicy::Fail,
            significant: false,
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
    /// All children: the others are stopped in the reverse of their order, then all start in order.
    OneForAll,
    /// The child and those that come after it: these are stopped in the reverse of their order, then all of them
    /// start in order.
    RestForOne,
}

/// Whether a supervisor ends by itself when its significant children have ended.
///
/// What counts is an end that calls for no restart: a transient child's normal exit, a temporary child's exit for
/// whatever reason. Stopping a child by hand, or with its group, does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoShutdown {
    /// It goes on.
    #[default]
    Never,
    /// It ends with the first significant child that has ended.
    AnySignificant,
    /// It ends with the last significant child that has ended. One that is being restarted has not ended.
    AllSignificant,
}

/// The policy of a supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct SupervisorPolicy {
    /// Whom the exit of one child concerns.
    pub strategy: Strategy,
    /// How many restarts all children together are granted before the supervisor ends; `None` sets no limit. The
    /// restart of a group counts once, and each attempt to start counts.
    pub intensity: Option<Budget>,
    /// Whether it ends by itself when its significant children have ended.
    pub auto_shutdown: AutoShutdown,
    /// Whether its children are all added while it runs, in no order that matters: they are stopped all at once, and
    /// the strategy is one-for-one.
    pub dynamic: bool,
}

//! The function that decides what follows an exit.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    AbandonedPolicy, AutoShutdown, ChildHistory, ChildPolicy, OnBudgetExhausted, RestartType, Strategy,
    SupervisorHistory, SupervisorPolicy,
};

/// The cause of an incarnation's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum ExitCause {
    /// The incarnation ended by itself, in order.
    Normal,
    /// The supervisor ended itself: its children failed too often, or its significant children ended.
    Shutdown,
    /// A handler returned an error.
    Error,
    /// A handler panicked.
    Panic,
    /// The incarnation was killed from outside.
    Killed,
    /// The incarnation made no progress within its limit.
    Stuck,
    /// The incarnation failed before it was ready.
    StartFailed,
}

/// An exit, as the policy sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Exit {
    /// The cause of the end.
    pub cause: ExitCause,
    /// The time when the incarnation became ready, if it ever did.
    #[cfg_attr(feature = "typescript", ts(type = "Duration | null"))]
    pub ready_since: Option<Duration>,
    /// True if it began from a checkpoint.
    pub from_checkpoint: bool,
    /// True if it handled at least one message to the end.
    pub progressed: bool,
    /// True if it ended on a message that an earlier incarnation had crashed on. Such an exit says nothing new about
    /// the checkpoint, so it does not count for or against it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub on_suspect: bool,
    /// True if it was killed, did not end, and was abandoned.
    #[serde(default, skip_serializing_if = "is_false")]
    pub abandoned: bool,
    /// True if no restart can heal the error with which it ended.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unrecoverable: bool,
}

impl Exit {
    /// Returns the exit of an incarnation that was never ready.
    #[must_use]
    pub const fn of(cause: ExitCause) -> Self {
        Self {
            cause,
            ready_since: None,
            from_checkpoint: false,
            progressed: false,
            on_suspect: false,
            abandoned: false,
            unrecoverable: false,
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// The other facts that a decision depends on, at the time when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DecisionContext {
    /// The time since the runtime started.
    pub now: Duration,
    /// A random number in `[0, 1)`; only the delay depends on it.
    pub jitter: f64,
    /// The number of other significant children that have not ended.
    pub significant_others: u32,
}

/// The children that are restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartScope {
    /// The child that exited.
    One,
    /// Every child.
    All,
    /// The child that exited and those that come after it.
    Rest,
}

impl From<Strategy> for RestartScope {
    fn from(strategy: Strategy) -> Self {
        match strategy {
            Strategy::OneForOne => Self::One,
            Strategy::OneForAll => Self::All,
            Strategy::RestForOne => Self::Rest,
        }
    }
}

/// The state from which the next incarnation starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum StateSource {
    /// The last checkpoint, if there is one.
    Checkpoint,
    /// No state: there is no checkpoint, or it is quarantined.
    Fresh,
}

/// The consequence of an exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Decision {
    /// Restart after a delay.
    Restart {
        /// The children that are restarted.
        scope: RestartScope,
        /// The delay before the restart.
        delay: Duration,
        /// The number of this attempt since the child was last stable; the first is 1.
        attempt: u32,
        /// The state from which the next incarnation starts.
        state: StateSource,
    },
    /// No action: the child stays stopped; a temporary child is dropped.
    Leave,
    /// The child stays failed and its siblings go on: its budget is spent, no restart can heal it, or it was abandoned
    /// and has no successor.
    GiveUp,
    /// The supervisor itself ends, and its parent decides.
    Escalate,
    /// The supervisor itself ends, because its significant children have ended.
    ShutDown,
}

/// Decides what follows `exit`, and records it in the histories.
///
/// The function is pure: the same arguments always give the same decision. Times are durations since the runtime
/// started.
///
/// ```
/// use std::time::Duration;
/// use mainstay_runtime::policy::{
///     ChildHistory, ChildPolicy, Decision, DecisionContext, Exit, ExitCause, SupervisorHistory, SupervisorPolicy,
///     decide,
/// };
///
/// let (child, supervisor) = (ChildPolicy::default(), SupervisorPolicy::default());
/// let (mut history, mut siblings) = (ChildHistory::default(), SupervisorHistory::default());
/// let exit = Exit::of(ExitCause::Panic);
/// let mut crash = |second| {
///     let context = DecisionContext { now: Duration::from_secs(second), jitter: 0.0, significant_others: 0 };
///     decide((&child, &supervisor), (&mut history, &mut siblings), exit, context)
/// };
/// assert!(matches!(crash(1), Decision::Restart { attempt: 1, .. }));
/// for second in 2..=5 {
///     crash(second);
/// }
/// assert_eq!(crash(6), Decision::GiveUp, "five restarts in ten minutes, and no more");
/// ```
pub fn decide(
    (child, supervisor): (&ChildPolicy, &SupervisorPolicy),
    (history, siblings): (&mut ChildHistory, &mut SupervisorHistory),
    exit: Exit,
    context: DecisionContext,
) -> Decision {
    let now = context.now;
    if child.is_stable(exit.ready_since, now) {
        history.restore_budget();
    }
    let to_blame = exit.cause != ExitCause::Normal && exit.from_checkpoint && !exit.progressed;
    let condemned =
        !exit.on_suspect && history.count_checkpoint_crash(to_blame, child.checkpoint_crashes_max);
    if exit.abandoned && child.abandoned == AbandonedPolicy::Fail {
        return Decision::GiveUp;
    }
    if !should_restart(child.restart, exit.cause) {
        return if should_end_supervisor(child, supervisor, context) {
            Decision::ShutDown
        } else {
            Decision::Leave
        };
    }
    // A restart that cannot help is not spent.
    let attempt = if exit.unrecoverable { None } else { history.spend(child.budget, now) };
    let Some(attempt) = attempt else {
        return match child.exhausted {
            OnBudgetExhausted::GiveUp => Decision::GiveUp,
            OnBudgetExhausted::Escalate => Decision::Escalate,
        };
    };
    if !siblings.spend(supervisor.intensity, now) {
        return Decision::Escalate;
    }
    Decision::Restart {
        scope: if supervisor.dynamic { RestartScope::One } else { supervisor.strategy.into() },
        delay: child.delay.before(attempt, context.jitter),
        attempt,
        state: if condemned { StateSource::Fresh } else { StateSource::Checkpoint },
    }
}

fn should_restart(restart: RestartType, cause: ExitCause) -> bool {
    match restart {
        RestartType::Permanent => true,
        RestartType::Transient => !matches!(cause, ExitCause::Normal | ExitCause::Shutdown),
        RestartType::Temporary => false,
    }
}

fn should_end_supervisor(
    child: &ChildPolicy,
    supervisor: &SupervisorPolicy,
    context: DecisionContext,
) -> bool {
    child.significant
        && match supervisor.auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => true,
            AutoShutdown::AllSignificant => context.significant_others == 0,
        }
}

#[cfg(test)]
mod tests {
    use super::super::{Budget, Delay};
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const CRASH: Exit = Exit { progressed: true, ..Exit::of(ExitCause::Panic) };

    fn policy() -> ChildPolicy {
        ChildPolicy {
            delay: Delay::Fixed { delay: s(5) },
            budget: Some(Budget { restarts_max: 2, window: s(600) }),
            ..ChildPolicy::default()
        }
    }

    struct DecisionCase {
        child: ChildPolicy,
        supervisor: SupervisorPolicy,
        history: ChildHistory,
        siblings: SupervisorHistory,
    }

    impl DecisionCase {
        fn new(child: ChildPolicy) -> Self {
            Self {
                child,
                supervisor: SupervisorPolicy::default(),
                history: ChildHistory::default(),
                siblings: SupervisorHistory::default(),
            }
        }

        fn at(&mut self, now: Duration, exit: Exit) -> Decision {
            let context = DecisionContext { now, jitter: 0.5, significant_others: 0 };
            decide((&self.child, &self.supervisor), (&mut self.history, &mut self.siblings), exit, context)
        }
    }

    fn attempt(decision: Decision) -> Option<u32> {
        match decision {
            Decision::Restart { attempt, .. } => Some(attempt),
            _ => None,
        }
    }

    /// Returns the sources of the restarts after these exits, a second apart.
    fn sources(exits: impl IntoIterator<Item = Exit>) -> Vec<StateSource> {
        let mut case = DecisionCase::new(ChildPolicy { budget: None, ..policy() });
        let source = |(exit, second)| match case.at(s(second), exit) {
            Decision::Restart { state, .. } => state,
            other => panic!("{other:?}"),
        };
        exits.into_iter().zip(1..).map(source).collect()
    }

    const BLAMED: Exit = Exit { from_checkpoint: true, progressed: false, ..CRASH };

    #[test]
    fn restart_type_decides_each_cause_as_documented() {
        use ExitCause::*;
        let causes = [Normal, Shutdown, Error, Panic, Killed, Stuck, StartFailed];
        let restarted = |restart| {
            causes.map(|cause| {
                let mut case = DecisionCase::new(ChildPolicy { restart, ..policy() });
                attempt(case.at(s(1), Exit { cause, ..CRASH })).is_some()
            })
        };
        assert_eq!(restarted(RestartType::Permanent), [true; 7]);
        assert_eq!(restarted(RestartType::Transient), [false, false, true, true, true, true, true]);
        assert_eq!(restarted(RestartType::Temporary), [false; 7]);
    }

    #[test]
    fn spent_budget_abandons_or_escalates_as_configured() {
        let mut case = DecisionCase::new(policy());
        assert_eq!(attempt(case.at(s(1), CRASH)), Some(1));
        assert_eq!(attempt(case.at(s(2), CRASH)), Some(2));
        assert_eq!(case.at(s(3), CRASH), Decision::GiveUp);
        case.child.exhausted = OnBudgetExhausted::Escalate;
        assert_eq!(case.at(s(4), CRASH), Decision::Escalate);
    }

    #[test]
    fn unrecoverable_failure_is_given_up_and_spends_no_restart() {
        use RestartType::{Permanent, Temporary, Transient};
        let unrecoverable = Exit { unrecoverable: true, ..CRASH };
        for (restart, exhausted, expected) in [
            (Permanent, OnBudgetExhausted::GiveUp, Decision::GiveUp),
            (Transient, OnBudgetExhausted::GiveUp, Decision::GiveUp),
            (Transient, OnBudgetExhausted::Escalate, Decision::Escalate),
            (Temporary, OnBudgetExhausted::GiveUp, Decision::Leave),
        ] {
            for budget in [None, policy().budget] {
                let mut case = DecisionCase::new(ChildPolicy { restart, exhausted, budget, ..policy() });
                assert_eq!(case.at(s(1), unrecoverable), expected, "{restart:?}");
                assert_eq!(case.history, ChildHistory::default());
                assert_eq!(case.siblings, SupervisorHistory::default());
            }
        }
    }

    #[test]
    fn restarts_that_left_the_window_no_longer_count() {
        let mut case = DecisionCase::new(policy());
        for second in [0, 400, 800, 1200, 1600] {
            assert!(attempt(case.at(s(second), CRASH)).is_some(), "at {second} s");
        }
    }

    #[test]
    fn budget_is_restored_after_stable_time_only() {
        let mut case = DecisionCase::new(policy());
        case.at(s(1), CRASH);
        case.at(s(2), CRASH);
        let too_soon = Exit { ready_since: Some(s(10)), ..CRASH };
        assert_eq!(case.at(s(69), too_soon), Decision::GiveUp);
        let stable = Exit { ready_since: Some(s(70)), ..CRASH };
        assert_eq!(attempt(case.at(s(130), stable)), Some(1));
    }

    #[test]
    fn checkpoint_is_discarded_after_three_crashes_in_a_row() {
        use StateSource::{Checkpoint, Fresh};
        let progress = [false, false, true, false, false].map(|progressed| Exit { progressed, ..BLAMED });
        let suspect = [false, true, false, true, true, false].map(|on_suspect| Exit { on_suspect, ..BLAMED });
        for (name, exits, expected) in [
            ("in a row", vec![BLAMED; 4], vec![Checkpoint, Checkpoint, Fresh, Checkpoint]),
            ("a handled message clears the count", progress.into(), vec![Checkpoint; 5]),
            ("a redelivery keeps the count", suspect.into(), [vec![Checkpoint; 5], vec![Fresh]].concat()),
        ] {
            assert_eq!(sources(exits), expected, "{name}");
        }
    }

    #[test]
    fn restart_scope_follows_strategy_unless_dynamic() {
        let mut case = DecisionCase::new(ChildPolicy { budget: None, ..policy() });
        let mut scope = |strategy, dynamic| {
            case.supervisor = SupervisorPolicy { strategy, dynamic, ..SupervisorPolicy::default() };
            match case.at(s(1), CRASH) {
                Decision::Restart { scope, .. } => scope,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(scope(Strategy::OneForOne, false), RestartScope::One);
        assert_eq!(scope(Strategy::OneForAll, false), RestartScope::All);
        assert_eq!(scope(Strategy::RestForOne, false), RestartScope::Rest);
        assert_eq!(scope(Strategy::OneForAll, true), RestartScope::One);
    }
}

//! The one place that decides what follows an exit.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    ChildHistory, ChildPolicy, Exhausted, RestartType, Strategy, SupervisorHistory, SupervisorPolicy,
};

/// Why an incarnation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitCause {
    /// It ended of itself, in order.
    Normal,
    /// A handler returned an error.
    Error,
    /// A handler panicked.
    Panic,
    /// It was killed from outside.
    Killed,
    /// It made no progress within its limit.
    Stuck,
    /// It failed before it was ready.
    StartFailed,
}

/// One exit, as the policy sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Why it ended.
    pub cause: ExitCause,
    /// When the incarnation became ready, if it ever did.
    pub ready_since: Option<Duration>,
    /// Whether it began from a checkpoint.
    pub restored: bool,
    /// Whether it handled at least one message to the end.
    pub progressed: bool,
    /// Whether it ended on a message that an earlier incarnation had crashed on. That says nothing new about the
    /// checkpoint, so it neither adds to its blame nor takes any away.
    #[serde(default)]
    pub on_suspect: bool,
}

/// Who is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The child that exited.
    One,
}

/// From which state the next incarnation starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateSource {
    /// From the last checkpoint, if there is one.
    Checkpoint,
    /// From nothing: the checkpoint is set aside.
    Fresh,
}

/// What follows an exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Decision {
    /// Restart after a delay.
    Restart {
        /// Who is restarted.
        scope: Scope,
        /// After how long.
        delay: Duration,
        /// The number of this attempt since the child was last stable; the first is 1.
        attempt: u32,
        /// From which state.
        state: StateSource,
    },
    /// The exit needs no answer: the child stays stopped.
    Leave,
    /// The budget is spent: the child stays failed, the rest goes on.
    Abandon,
    /// The supervisor itself fails, and its parent decides.
    Escalate,
}

/// Decides what follows `exit`, and remembers it in the histories.
///
/// Pure: the same arguments always give the same decision. `now` and every time in `exit` are durations since
/// the runtime started; `jitter` is a random number in `[0, 1)` that only the delay depends on.
pub fn decide(
    (child, supervisor): (&ChildPolicy, &SupervisorPolicy),
    (history, siblings): (&mut ChildHistory, &mut SupervisorHistory),
    now: Duration,
    exit: Exit,
    jitter: f64,
) -> Decision {
    if child.is_stable(exit.ready_since, now) {
        history.earn_back();
    }
    let to_blame = exit.cause != ExitCause::Normal && exit.restored && !exit.progressed;
    let condemned = !exit.on_suspect && history.blame_checkpoint(to_blame, child.checkpoint_crashes_max);
    if !calls_for_restart(child.restart, exit.cause) {
        return Decision::Leave;
    }
    let Some(attempt) = history.spend(child.budget, now) else {
        return match child.exhausted {
            Exhausted::Abandon => Decision::Abandon,
            Exhausted::Escalate => Decision::Escalate,
        };
    };
    if !siblings.spend(supervisor.intensity, now) {
        return Decision::Escalate;
    }
    Decision::Restart {
        scope: match supervisor.strategy {
            Strategy::OneForOne => Scope::One,
        },
        delay: child.delay.before(attempt, jitter),
        attempt,
        state: if condemned { StateSource::Fresh } else { StateSource::Checkpoint },
    }
}

fn calls_for_restart(restart: RestartType, cause: ExitCause) -> bool {
    match restart {
        RestartType::Permanent => true,
        RestartType::Transient => cause != ExitCause::Normal,
        RestartType::Temporary => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Budget, Delay};
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const CRASH: Exit = Exit {
        cause: ExitCause::Panic,
        ready_since: None,
        restored: false,
        progressed: true,
        on_suspect: false,
    };

    fn policy() -> ChildPolicy {
        ChildPolicy {
            delay: Delay::Fixed { delay: s(5) },
            budget: Some(Budget { restarts_max: 2, window: s(600) }),
            ..ChildPolicy::default()
        }
    }

    struct Case {
        child: ChildPolicy,
        supervisor: SupervisorPolicy,
        history: ChildHistory,
        siblings: SupervisorHistory,
    }

    impl Case {
        fn new(child: ChildPolicy) -> Self {
            Self {
                child,
                supervisor: SupervisorPolicy::default(),
                history: ChildHistory::default(),
                siblings: SupervisorHistory::default(),
            }
        }

        fn at(&mut self, now: Duration, exit: Exit) -> Decision {
            decide((&self.child, &self.supervisor), (&mut self.history, &mut self.siblings), now, exit, 0.5)
        }
    }

    fn attempt(decision: Decision) -> Option<u32> {
        match decision {
            Decision::Restart { attempt, .. } => Some(attempt),
            _ => None,
        }
    }

    #[test]
    fn each_restart_type_answers_each_cause_as_documented() {
        use ExitCause::*;
        let causes = [Normal, Error, Panic, Killed, Stuck, StartFailed];
        let restarted = |restart| {
            causes.map(|cause| {
                let mut case = Case::new(ChildPolicy { restart, ..policy() });
                attempt(case.at(s(1), Exit { cause, ..CRASH })).is_some()
            })
        };
        assert_eq!(restarted(RestartType::Permanent), [true; 6]);
        assert_eq!(restarted(RestartType::Transient), [false, true, true, true, true, true]);
        assert_eq!(restarted(RestartType::Temporary), [false; 6]);
    }

    #[test]
    fn a_spent_budget_abandons_the_child_or_escalates_as_configured() {
        let mut case = Case::new(policy());
        assert_eq!(attempt(case.at(s(1), CRASH)), Some(1));
        assert_eq!(attempt(case.at(s(2), CRASH)), Some(2));
        assert_eq!(case.at(s(3), CRASH), Decision::Abandon);
        case.child.exhausted = Exhausted::Escalate;
        assert_eq!(case.at(s(4), CRASH), Decision::Escalate);
    }

    #[test]
    fn restarts_that_left_the_window_no_longer_count() {
        let mut case = Case::new(policy());
        for second in [0, 400, 800, 1200, 1600] {
            assert!(attempt(case.at(s(second), CRASH)).is_some(), "at {second} s");
        }
    }

    #[test]
    fn only_a_child_that_stayed_ready_long_enough_earns_its_budget_back() {
        let mut case = Case::new(policy());
        case.at(s(1), CRASH);
        case.at(s(2), CRASH);
        let too_soon = Exit { ready_since: Some(s(10)), ..CRASH };
        assert_eq!(case.at(s(69), too_soon), Decision::Abandon);
        let stable = Exit { ready_since: Some(s(70)), ..CRASH };
        assert_eq!(attempt(case.at(s(130), stable)), Some(1));
    }

    #[test]
    fn a_checkpoint_that_crashes_three_incarnations_in_a_row_is_set_aside() {
        let mut case = Case::new(ChildPolicy { budget: None, ..policy() });
        let from_checkpoint = Exit { restored: true, progressed: false, ..CRASH };
        let mut sources = Vec::new();
        for second in 1..=4 {
            if let Decision::Restart { state, .. } = case.at(s(second), from_checkpoint) {
                sources.push(state);
            }
        }
        use StateSource::*;
        assert_eq!(sources, [Checkpoint, Checkpoint, Fresh, Checkpoint]);
    }

    #[test]
    fn a_handled_message_clears_the_blame_from_the_checkpoint() {
        let mut case = Case::new(ChildPolicy { budget: None, ..policy() });
        let blamed = Exit { restored: true, progressed: false, ..CRASH };
        for (second, progressed) in [(1, false), (2, false), (3, true), (4, false), (5, false)] {
            let decision = case.at(s(second), Exit { progressed, ..blamed });
            assert!(matches!(decision, Decision::Restart { state: StateSource::Checkpoint, .. }));
        }
    }

    #[test]
    fn crashing_again_on_the_same_message_neither_adds_to_the_blame_on_the_checkpoint_nor_clears_it() {
        let mut case = Case::new(ChildPolicy { budget: None, ..policy() });
        let blamed = Exit { restored: true, progressed: false, ..CRASH };
        let mut sources = Vec::new();
        for (second, on_suspect) in [(1, false), (2, true), (3, false), (4, true), (5, true), (6, false)] {
            if let Decision::Restart { state, .. } = case.at(s(second), Exit { on_suspect, ..blamed }) {
                sources.push(state);
            }
        }
        use StateSource::*;
        assert_eq!(sources, [Checkpoint, Checkpoint, Checkpoint, Checkpoint, Checkpoint, Fresh]);
    }

    #[test]
    fn the_restart_beyond_the_intensity_makes_the_supervisor_fail() {
        let mut case = Case::new(ChildPolicy { budget: None, ..policy() });
        case.supervisor.intensity = Some(Budget { restarts_max: 2, window: s(5) });
        assert!(attempt(case.at(s(1), CRASH)).is_some());
        assert!(attempt(case.at(s(2), CRASH)).is_some());
        assert_eq!(case.at(s(3), CRASH), Decision::Escalate);
    }
}

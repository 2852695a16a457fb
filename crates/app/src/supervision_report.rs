//! The facts that a supervisor knows of a child, and what follows for a person: shared by agents and the backend. Pure.

use std::time::Duration;

use mainstay_runtime::clock::WallTime;
use mainstay_runtime::journal::{count, millis, millis_text};
use mainstay_runtime::policy::ChildPolicy;
use mainstay_runtime::{ActorInfo, ActorStatus, TreeNode};
use serde::{Deserialize, Serialize};

use crate::time_point::TimePoint;
use crate::tree_place::TreePlace;

/// The facts that a supervisor knows of a child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct SupervisionReport {
    /// True once it is given up: its restarts are used up, or none can help. It stays failed until a command.
    #[serde(default)]
    pub gave_up: bool,
    /// True if it was given up because no restart can help. A start tries again, once the cause is corrected.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unrecoverable: bool,
    /// The incarnation of its actor.
    pub generation: u64,
    /// The number of restarts.
    pub restarts: u64,
    /// Restarts that are left before it is given up; `None` where there is no limit.
    pub budget_left: Option<u32>,
    /// The whole budget; `None` if there is no limit.
    #[serde(default)]
    pub budget: Option<RestartBudget>,
    /// The last restart within its budget; none if a command has restarted it since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub attempt: Option<RestartAttempt>,
    /// The time of the next restart, if one is planned.
    pub restart_at: Option<WallTime>,
}

/// A restart, counted within its budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct RestartAttempt {
    /// The number of this restart: 1, 2, 3 …
    pub number: u32,
    /// The most restarts.
    pub max: u32,
}

/// The whole restart budget of an agent or of the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct RestartBudget {
    /// The most restarts within the window.
    pub max: u32,
    /// The time within which restarts count, in milliseconds.
    pub window_ms: u64,
    /// The time after which a child that stayed up has its whole budget again, in milliseconds.
    pub stable_after_ms: u64,
}

/// A problem of an agent that is resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct ResolvedError {
    /// The time at which it ended the agent.
    pub at: WallTime,
    /// The problem, as a text for a log.
    pub message: String,
}

impl RestartBudget {
    /// Returns the budget of a policy, if it has one.
    pub(crate) fn of_policy(policy: &ChildPolicy) -> Option<Self> {
        policy.budget.map(|budget| Self {
            max: budget.restarts_max,
            window_ms: millis(budget.window),
            stable_after_ms: millis(policy.stable_after),
        })
    }
}

impl SupervisionReport {
    /// The next step of a child that is being stopped.
    pub(crate) const STOPPING_STEP: &str = "is being stopped";

    pub(crate) fn new(info: &ActorInfo, budget: Option<RestartBudget>, time_point: &TimePoint) -> Self {
        let gave_up = info.status == ActorStatus::Failed;
        // An exit by command leaves no error, and one that no restart can heal has a next step. Neither is counted.
        let is_counted = info.last_error.is_some() && info.next_step.is_none();
        let used = budget.zip(info.budget_left).filter(|_| is_counted);
        let attempt = used.map(|(RestartBudget { max, .. }, left)| RestartAttempt {
            number: max.saturating_sub(left),
            max,
        });
        Self {
            gave_up,
            unrecoverable: gave_up && info.next_step.is_some(),
            generation: info.generation,
            restarts: info.restarts,
            budget_left: info.budget_left,
            budget,
            attempt: attempt.filter(|attempt| attempt.number > 0),
            restart_at: info.restart_at.map(|at| time_point.wall_time(at)),
        }
    }

    /// Returns the restarts that are left, as words.
    pub(crate) fn restarts_left(&self) -> String {
        restarts_left(self.budget_left)
    }

    /// Returns the next step of a child that is given up. `command` names the command for a verb, and `advice` is what a
    /// person does first if no restart can help.
    pub(crate) fn given_up_step(advice: Option<&str>, command: impl Fn(&str) -> String) -> String {
        match advice {
            Some(advice) => {
                format!(
                    "given up, since no restart can help: {advice} Then `{}` tries again",
                    command("start")
                )
            }
            None => format!(
                "given up: its restarts are used up, so it stays as it is until `{}` gives them back and starts it",
                command("reset")
            ),
        }
    }

    /// Returns the next step of a child with these restarts left that is restarted in `restart_in`, if that is planned.
    pub(crate) fn restarting_step(restart_in: Option<Duration>, left: &str) -> String {
        match restart_in.map(millis) {
            Some(0) => format!("restart is due now ({left})"),
            Some(ms @ ..1000) => format!("is restarted in {} ({left})", millis_text(ms)),
            Some(ms) => format!("is restarted in {} ({left})", millis_text((ms + 500) / 1000 * 1000)),
            None => format!("is being restarted ({left})"),
        }
    }

    /// Returns the next step of a child that was stopped.
    pub(crate) fn stopped_step(command: impl Fn(&str) -> String) -> String {
        format!("stopped; `{}` starts it", command("start"))
    }
}

/// A suspended process, as the tree shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Suspended {
    pub(crate) last_error: Option<String>,
    pub(crate) next_step: String,
}

/// Adds what the supervisors do not know of the agents and the backend: the command that helps one that was given up, and
/// which of those that run have a suspended process.
pub(crate) fn complete_tree(node: &mut TreeNode, suspended: &impl Fn(TreePlace<'_>) -> Option<Suspended>) {
    let place = TreePlace::of_path(&node.path);
    match (place, node.info.status) {
        (Some(place), ActorStatus::Failed) => {
            let advice = node.info.next_step.as_deref();
            node.info.next_step =
                Some(SupervisionReport::given_up_step(advice, |verb: &str| place.command(verb)));
        }
        (Some(place), ActorStatus::Running | ActorStatus::Starting) => {
            if let Some(Suspended { last_error, next_step }) = suspended(place) {
                node.suspended = true;
                (node.info.last_error, node.info.next_step) = (last_error, Some(next_step));
            }
        }
        _ => {}
    }
    node.children.iter_mut().for_each(|child| complete_tree(child, suspended));
}

/// Returns the restarts that are left, as words.
pub(crate) fn restarts_left(budget_left: Option<u32>) -> String {
    match budget_left {
        Some(left) => format!("{} left", count(left, "restart")),
        None => "no limit to restarts".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use mainstay_runtime::ActorKind;
    use mainstay_runtime::journal::Timeline;

    use super::*;

    #[test]
    fn tree_names_the_command_for_each_that_was_given_up() {
        let step = |path: &str, status: ActorStatus, advice: Option<&str>| {
            let info = ActorInfo {
                status,
                since: WallTime(Timestamp::UNIX_EPOCH),
                generation: 1,
                restarts: 0,
                restart_at: None,
                attempts: 0,
                budget_left: Some(0),
                last_error: None,
                last_error_at: None,
                next_step: advice.map(str::to_owned),
                abandoned: 0,
            };
            let node = |path: &str, info: &ActorInfo<WallTime>, children| TreeNode {
                path: path.to_owned(),
                kind: ActorKind::Worker,
                info: info.clone(),
                mailbox: 0,
                suspended: false,
                children,
            };
            let mut tree = node(
                "root",
                &ActorInfo { status: ActorStatus::Running, ..info.clone() },
                vec![node(path, &info, vec![])],
            );
            complete_tree(&mut tree, &|_| None);
            assert_eq!(tree.info.next_step.as_deref(), advice);
            tree.children.remove(0).info.next_step
        };
        let used_up = |path| step(path, ActorStatus::Failed, None).unwrap_or_default();
        assert!(
            used_up("root/agents/planner").contains("until `mainstay agent reset planner` gives them back")
        );
        assert!(used_up("root/backend").contains("until `mainstay backend reset` gives them back"));
        let advised = step("root/backend", ActorStatus::Failed, Some("Correct its command.")).unwrap();
        assert!(
            advised.ends_with("Correct its command. Then `mainstay backend start` tries again"),
            "{advised}"
        );
        assert_eq!(step("root/queue", ActorStatus::Failed, None), None);
        assert_eq!(step("root/agents/planner", ActorStatus::Stopped, None), None);
    }

    #[test]
    fn tree_marks_suspended_processes_of_actors_that_run() {
        let node = |path: &str, status| TreeNode {
            path: path.to_owned(),
            kind: ActorKind::Worker,
            info: ActorInfo {
                status,
                since: WallTime(Timestamp::UNIX_EPOCH),
                generation: 1,
                restarts: 0,
                restart_at: None,
                attempts: 0,
                budget_left: None,
                last_error: None,
                last_error_at: None,
                next_step: None,
                abandoned: 0,
            },
            mailbox: 0,
            suspended: false,
            children: vec![],
        };
        let shown = |path, status| {
            let mut node = node(path, status);
            complete_tree(&mut node, &|place| {
                (place != TreePlace::Agent("other")).then(|| Suspended {
                    last_error: Some("stopped".to_owned()),
                    next_step: "kill -CONT".to_owned(),
                })
            });
            (node.suspended, node.info.last_error, node.info.next_step)
        };
        let marked = (true, Some("stopped".to_owned()), Some("kill -CONT".to_owned()));
        assert_eq!(shown("root/backend", ActorStatus::Running), marked);
        assert_eq!(shown("root/backend", ActorStatus::Starting), marked);
        assert_eq!(shown("root/agents/planner", ActorStatus::Running), marked);
        for (path, status) in [
            ("root/agents/planner", ActorStatus::Restarting),
            ("root/agents/other", ActorStatus::Running),
            ("root/queue", ActorStatus::Running),
        ] {
            assert_eq!(shown(path, status), (false, None, None), "{path}");
        }
    }

    #[test]
    fn report_counts_restarts_of_failures_alone() {
        let report = |last_error: Option<&str>, budget_left, next_step: Option<&str>| {
            let info = ActorInfo {
                status: ActorStatus::Failed,
                since: Duration::ZERO,
                generation: 2,
                restarts: 1,
                restart_at: None,
                attempts: 1,
                budget_left: Some(budget_left),
                last_error: last_error.map(str::to_owned),
                last_error_at: None,
                next_step: next_step.map(str::to_owned),
                abandoned: 0,
            };
            let budget = Some(RestartBudget { max: 2, window_ms: 1, stable_after_ms: 1 });
            let timeline = Timeline::new(Timestamp::UNIX_EPOCH).into();
            SupervisionReport::new(&info, budget, &TimePoint { now: Duration::ZERO, timeline })
        };
        let second = Some(RestartAttempt { number: 2, max: 2 });
        assert_eq!(report(Some("it exited with code 1"), 0, None).attempt, second);
        assert_eq!(report(None, 0, None).attempt, None, "a command has restarted it");
        assert_eq!(report(Some("it was killed"), 2, None).attempt, None, "no restart is counted");
        let advised = report(Some("not found"), 0, Some("Correct its command."));
        assert_eq!((advised.unrecoverable, advised.attempt), (true, None));
        assert!(!report(None, 0, None).unrecoverable);
    }

    #[test]
    fn restart_is_due_in_milliseconds_below_a_second() {
        let step = |ms| SupervisionReport::restarting_step(Some(Duration::from_millis(ms)), "1 restart left");
        assert_eq!(step(0), "restart is due now (1 restart left)");
        assert_eq!(step(480), "is restarted in 480 ms (1 restart left)");
        assert_eq!(step(1499), "is restarted in 1 s (1 restart left)");
        assert_eq!(step(1500), "is restarted in 2 s (1 restart left)");
        assert_eq!(step(600_000), "is restarted in 10 min (1 restart left)");
    }
}

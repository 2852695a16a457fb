//! Makes the view of one agent from the facts of its actor and its supervisor. Pure.

use std::time::Duration;

use mainstay_actors::agent::{AgentReport, AgentStatus};
use mainstay_actors::error::{Error, Reason};
use mainstay_runtime::journal::millis;
use mainstay_runtime::{ActorInfo, ActorStatus};

use super::next_step::{NextStepInput, next_step};
use crate::status::{AgentBudget, AgentView, ResolvedError};
use crate::time_point::TimePoint;
use crate::tree_builder::agents::RestartLimits;

/// Makes the view of one agent.
pub(super) fn view(
    report: AgentReport,
    info: &ActorInfo,
    terms: &RestartLimits,
    time_point: TimePoint,
) -> AgentView {
    let (status, since) = effective_status(info, &report);
    let gave_up = info.status == ActorStatus::Failed;
    let at = |at| time_point.format_wall_time(at);
    let (crash, resolved_error) = classify_crash(info, status, time_point);
    let last_error = report.last_error.as_ref().map(|error| error.message.clone());
    let next_step = next_step(NextStepInput {
        id: &report.id,
        status,
        gave_up,
        restart_in: info.restart_due.map(|due| due.saturating_sub(time_point.now)),
        budget_left: info.budget_left,
        misses: report.misses,
        fail_after: terms.fail_after,
    });
    AgentView {
        status,
        since: at(since),
        gave_up,
        generation: info.generation,
        restarts: info.restarts,
        budget_left: info.budget_left,
        budget: terms.budget.map(|budget| AgentBudget {
            max: budget.restarts_max,
            window_ms: millis(budget.window),
            stable_after_ms: millis(terms.stable_after),
        }),
        restart_at: info.restart_due.map(at),
        last_error: last_error.or_else(|| crash.clone()),
        error: report
            .last_error
            .map(|error| *error)
            .or_else(|| crash.map(|error| Error::new(Reason::Crashed).with_details(&error))),
        resolved_error,
        misses: report.misses,
        fail_after: terms.fail_after,
        last_check: report.last_check.map(at),
        uptime_s: report.uptime_s.filter(|_| may_be_up(status)),
        error_count: report.error_count,
        state_saved_at: report.state_saved_at.map(|at| format!("{at:.3}")),
        process: report.process,
        messages_waiting: report.messages_waiting,
        messages_in_flight: report.messages_in_flight,
        next_step,
        id: report.id,
        driver: report.driver,
    }
}

/// Returns why the last incarnation ended: as the current error, or as a resolved one if the agent was healthy since.
fn classify_crash(
    info: &ActorInfo,
    status: AgentStatus,
    time_point: TimePoint,
) -> (Option<String>, Option<ResolvedError>) {
    let Some(error) = info.last_error.clone() else { return (None, None) };
    match status {
        AgentStatus::Healthy | AgentStatus::Degraded | AgentStatus::Unknown => {
            let at = info.last_error_at.map(|at| time_point.format_wall_time(at));
            (None, at.map(|at| ResolvedError { at, message: error }))
        }
        AgentStatus::Starting | AgentStatus::Failed | AgentStatus::Restarting | AgentStatus::Stopped => {
            (Some(error), None)
        }
    }
}

/// Returns whether the agent's last report of its uptime may still hold.
fn may_be_up(status: AgentStatus) -> bool {
    match status {
        AgentStatus::Starting | AgentStatus::Healthy | AgentStatus::Degraded | AgentStatus::Unknown => true,
        AgentStatus::Failed | AgentStatus::Restarting | AgentStatus::Stopped => false,
    }
}

/// Returns the agent's state: the supervisor knows it while the actor is down, else the actor does.
fn effective_status(info: &ActorInfo, report: &AgentReport) -> (AgentStatus, Duration) {
    match info.status {
        ActorStatus::Running => (report.status, report.since),
        ActorStatus::Starting if info.generation <= 1 => (AgentStatus::Starting, info.since),
        ActorStatus::Starting | ActorStatus::Restarting => (AgentStatus::Restarting, info.since),
        ActorStatus::Stopping | ActorStatus::Stopped => (AgentStatus::Stopped, info.since),
        ActorStatus::Failed => (AgentStatus::Failed, info.since),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;
    use mainstay_actors::agent::ProcessUsage;

    use super::*;

    const NOW: TimePoint = TimePoint { now: s(100), wall: Timestamp::UNIX_EPOCH };

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn report(status: AgentStatus) -> AgentReport {
        AgentReport {
            id: "planner".to_owned(),
            driver: "process".to_owned(),
            status,
            since: s(80),
            misses: 0,
            last_check: Some(s(90)),
            last_error: None,
            uptime_s: Some(12.0),
            error_count: Some(0),
            state_saved_at: None,
            process: Some(ProcessUsage { pid: 4711, memory_bytes: None }),
            messages_waiting: 0,
            messages_in_flight: 0,
        }
    }

    fn info(status: ActorStatus) -> ActorInfo {
        ActorInfo {
            status,
            since: s(70),
            generation: 2,
            restarts: 1,
            restart_due: None,
            budget_left: Some(4),
            last_error: Some("it exited with code 1".to_owned()),
            last_error_at: Some(s(60)),
            abandoned: 0,
        }
    }

    fn view_of(actor: ActorStatus, status: AgentStatus) -> AgentView {
        let terms = RestartLimits { fail_after: 3, budget: None, stable_after: s(60) };
        view(report(status), &info(actor), &terms, NOW)
    }

    #[test]
    fn crash_is_last_error_until_healthy_then_resolved() {
        for (actor, status) in [
            (ActorStatus::Restarting, AgentStatus::Healthy),
            (ActorStatus::Failed, AgentStatus::Healthy),
            (ActorStatus::Running, AgentStatus::Starting),
        ] {
            let shown = view_of(actor, status);
            assert_eq!(shown.last_error.as_deref(), Some("it exited with code 1"), "{actor:?}");
            assert_eq!(
                (shown.error.map(|error| error.reason), shown.resolved_error),
                (Some(Reason::Crashed), None)
            );
        }
        let shown = view_of(ActorStatus::Running, AgentStatus::Healthy);
        assert_eq!((shown.last_error, shown.error), (None, None));
        let past = shown.resolved_error.unwrap();
        assert_eq!(
            (past.at.as_str(), past.message.as_str()),
            ("1969-12-31T23:59:20.000Z", "it exited with code 1")
        );
    }

    #[test]
    fn uptime_is_shown_only_while_agent_may_be_up() {
        assert_eq!(view_of(ActorStatus::Running, AgentStatus::Healthy).uptime_s, Some(12.0));
        for actor in [ActorStatus::Restarting, ActorStatus::Stopped, ActorStatus::Failed] {
            assert_eq!(view_of(actor, AgentStatus::Healthy).uptime_s, None, "{actor:?}");
        }
    }
}

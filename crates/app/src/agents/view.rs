//! Makes the view of one agent from the facts of its actor and its supervisor. Pure.

use mainstay_actors::agent::{AgentReport, AgentStatus};
use mainstay_actors::error::{Error, Reason};
use mainstay_runtime::journal::count;
use mainstay_runtime::{ActorInfo, ActorStatus};

use super::next_step::{backend_step, next_step};
use crate::status::AgentView;
use crate::supervision_report::{ResolvedError, SupervisionReport};
use crate::time_point::TimePoint;
use crate::tree_builder::agents::RestartLimits;

/// Makes the view of one agent. `awaits_backend` says that a start of its program waits for the backend.
pub(super) fn view(
    mut report: AgentReport,
    info: &ActorInfo,
    limits: &RestartLimits,
    awaits_backend: bool,
    time_point: &TimePoint,
) -> AgentView {
    if let Some(status) = status_without_actor(info) {
        (report.status, report.since) = (status, time_point.wall_time(info.since));
    }
    report.suspended &= report.process.is_some();
    if !may_be_up(report.status) {
        report.uptime_s = None;
        report.suspended = false;
        report.questions.clear();
    }
    let (crash, resolved_error) = classify_crash(info, report.status, time_point);
    let gave_up = info.status == ActorStatus::Failed;
    let crashed = match info.status {
        ActorStatus::Stopped => Error::new(Reason::Crashed).with_message(STOPPED_MESSAGE),
        _ => Error::new(Reason::Crashed),
    };
    let mut last_error = report.error.as_ref().map(|error| error.message.clone()).or_else(|| crash.clone());
    report.error =
        report.error.or_else(|| crash.as_deref().map(|crash| Box::new(crashed.with_details(crash))));
    if gave_up && info.next_step.is_none() {
        // The error is that of its last incarnation, and does not say what is so now.
        let message = give_up_message(info.attempts);
        report.error = report.error.map(|error| Box::new(error.with_message(&message)));
        last_error = Some(match crash {
            Some(crash) => format!("{message} It was: {crash}"),
            None => message,
        });
    }
    let mut view = AgentView {
        report,
        supervision: SupervisionReport::new(info, limits.budget, time_point),
        last_error,
        resolved_error,
        fail_after: limits.fail_after,
        next_step: String::new(),
        noisy: false,
        output: Vec::new(),
        output_is_old: false,
    };
    let restart_in = info.restart_at.map(|due| due.saturating_sub(time_point.now));
    view.next_step = match view.report.status {
        _ if info.status == ActorStatus::Stopping => SupervisionReport::STOPPING_STEP.to_owned(),
        AgentStatus::Starting if awaits_backend => backend_step(&view),
        _ => next_step(&view, restart_in, info.next_step.as_deref()),
    };
    view
}

/// The message for a person about an agent that is stopped, and whose last incarnation did not end in order.
const STOPPED_MESSAGE: &str =
    "The agent is stopped, and did not end in order. Look into its log before you start it again.";

/// Returns the message for a person about an agent that was given up after so many restarts.
fn give_up_message(restarts: u32) -> String {
    format!(
        "The agent was given up after {}. Look into its last error, and then reset it.",
        count(restarts, "restart")
    )
}

/// Returns why the last incarnation ended: as the current error, or as a resolved one if the agent was healthy since.
fn classify_crash(
    info: &ActorInfo,
    status: AgentStatus,
    time_point: &TimePoint,
) -> (Option<String>, Option<ResolvedError>) {
    let Some(message) = info.last_error.clone() else { return (None, None) };
    match status {
        AgentStatus::Healthy | AgentStatus::Degraded | AgentStatus::Unknown => {
            let at = info.last_error_at.map(|at| time_point.wall_time(at));
            (None, at.map(|at| ResolvedError { at, message }))
        }
        AgentStatus::Starting | AgentStatus::Failed | AgentStatus::Restarting | AgentStatus::Stopped => {
            (Some(message), None)
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

/// Returns the agent's status while its actor is down; `None` while the actor runs or stops, which then knows it.
fn status_without_actor(info: &ActorInfo) -> Option<AgentStatus> {
    match info.status {
        ActorStatus::Running | ActorStatus::Stopping => None,
        ActorStatus::Starting if info.generation <= 1 => Some(AgentStatus::Starting),
        ActorStatus::Starting | ActorStatus::Restarting => Some(AgentStatus::Restarting),
        ActorStatus::Stopped => Some(AgentStatus::Stopped),
        ActorStatus::Failed => Some(AgentStatus::Failed),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;
    use mainstay_runtime::journal::Timeline;

    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn info(status: ActorStatus) -> ActorInfo {
        ActorInfo {
            status,
            since: s(70),
            generation: 2,
            restarts: 1,
            attempts: 2,
            restart_at: None,
            budget_left: Some(4),
            last_error: Some("it exited with code 1".to_owned()),
            last_error_at: Some(s(60)),
            next_step: None,
            abandoned: 0,
        }
    }

    fn view_of(actor: ActorStatus, status: AgentStatus) -> AgentView {
        let limits = RestartLimits { fail_after: 3, budget: None };
        let questions = vec![AgentView::example_question()];
        let report = AgentReport { status, questions, ..AgentView::example().report };
        let timeline = Timeline::new(Timestamp::UNIX_EPOCH).into();
        view(report, &info(actor), &limits, true, &TimePoint { now: s(100), timeline })
    }

    #[test]
    fn agent_that_starts_says_that_it_waits_for_the_backend() {
        let step = |actor, status| view_of(actor, status).next_step;
        let waits = "waits for the backend, and starts once that is ready (4 restarts left)";
        assert_eq!(step(ActorStatus::Running, AgentStatus::Starting), waits);
        let restarts = step(ActorStatus::Restarting, AgentStatus::Starting);
        assert_eq!(restarts, "is being restarted (4 restarts left)");
    }

    #[test]
    fn crash_is_last_error_until_healthy_then_resolved() {
        for (actor, status) in
            [(ActorStatus::Restarting, AgentStatus::Healthy), (ActorStatus::Running, AgentStatus::Starting)]
        {
            let shown = view_of(actor, status);
            assert_eq!(shown.last_error.as_deref(), Some("it exited with code 1"), "{actor:?}");
            assert_eq!(shown.report.error.map(|error| error.reason), Some(Reason::Crashed));
            assert_eq!(shown.resolved_error, None);
        }
        let shown = view_of(ActorStatus::Running, AgentStatus::Healthy);
        assert_eq!((shown.last_error, shown.report.error), (None, None));
        let past = shown.resolved_error.unwrap();
        assert_eq!(past.at.to_string().as_str(), "1970-01-01T00:01:00.000Z");
        assert_eq!(past.message.as_str(), "it exited with code 1");
    }

    #[test]
    fn stopping_agent_keeps_its_status_until_it_has_ended() {
        for status in [AgentStatus::Healthy, AgentStatus::Starting] {
            let shown = view_of(ActorStatus::Stopping, status);
            assert_eq!((shown.report.status, &*shown.next_step), (status, "is being stopped"));
            assert_eq!(shown.report.since, AgentView::example().report.since, "that of its status");
        }
        let shown = view_of(ActorStatus::Stopped, AgentStatus::Healthy);
        assert_eq!(shown.report.status, AgentStatus::Stopped);
        assert_eq!(shown.next_step, "stopped; `mainstay agent start planner` starts it");
        let error = shown.report.error.unwrap();
        assert_eq!((error.reason, &*error.message), (Reason::Crashed, STOPPED_MESSAGE));
        assert_eq!(error.details.as_deref(), Some("it exited with code 1"));
    }

    #[test]
    fn given_up_agent_says_so_and_not_that_it_will_be_restarted() {
        let shown = view_of(ActorStatus::Failed, AgentStatus::Healthy);
        let message = "The agent was given up after 2 restarts. Look into its last error, and then reset it.";
        let last_error = format!("{message} It was: it exited with code 1");
        assert_eq!((shown.supervision.gave_up, shown.last_error), (true, Some(last_error)));
        let error = shown.report.error.unwrap();
        assert_eq!((error.reason, &*error.message), (Reason::Crashed, message));
        assert_eq!(error.details.as_deref(), Some("it exited with code 1"));
    }

    #[test]
    fn uptime_and_questions_are_shown_only_while_agent_may_be_up() {
        let facts = |actor| {
            let report = view_of(actor, AgentStatus::Healthy).report;
            (report.uptime_s, report.questions.len())
        };
        assert_eq!(facts(ActorStatus::Running), (Some(7300.0), 1));
        for actor in [ActorStatus::Restarting, ActorStatus::Stopped, ActorStatus::Failed] {
            assert_eq!(facts(actor), (None, 0), "{actor:?}");
        }
    }
}

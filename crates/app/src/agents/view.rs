//! One agent as it is shown: pure, from what its actor and its supervisor know.

use std::time::Duration;

use mainstay_actors::agent::{AgentReport, AgentStatus};
use mainstay_actors::error::{Error, Reason};
use mainstay_runtime::journal::millis;
use mainstay_runtime::{Status as ActorStatus, Vitals};

use super::next_step::{Prospect, next_step};
use crate::agent_factory::RestartTerms;
use crate::moment::Moment;
use crate::status::{AgentBudget, AgentView};

/// See the module.
pub(super) fn view(report: AgentReport, vitals: &Vitals, terms: &RestartTerms, moment: Moment) -> AgentView {
    let (status, since) = prevailing(vitals, &report);
    let gave_up = vitals.status == ActorStatus::Failed;
    let at = |at| moment.wall_time_of(at);
    let crash = || vitals.last_error.as_deref().map(|said| Error::new(Reason::Crashed).with_details(said));
    let last_error = report.last_error.as_ref().map(|error| error.message.clone());
    let next_step = next_step(Prospect {
        id: &report.id,
        status,
        gave_up,
        restart_in: vitals.restart_due.map(|due| due.saturating_sub(moment.now)),
        budget_left: vitals.budget_left,
        misses: report.misses,
        fail_after: terms.fail_after,
    });
    AgentView {
        status,
        since: at(since),
        gave_up,
        generation: vitals.generation,
        restarts: vitals.restarts,
        budget_left: vitals.budget_left,
        budget: terms.budget.map(|budget| AgentBudget {
            max: budget.restarts_max,
            window_ms: millis(budget.window),
            stable_after_ms: millis(terms.stable_after),
        }),
        restart_at: vitals.restart_due.map(at),
        last_error: last_error.or_else(|| vitals.last_error.clone()),
        error: report.last_error.map(|error| *error).or_else(crash),
        misses: report.misses,
        fail_after: terms.fail_after,
        last_check: report.last_check.map(at),
        uptime_s: report.uptime_s,
        error_count: report.error_count,
        state_kept_at: report.state_kept_at.map(|at| format!("{at:.3}")),
        process: report.process,
        letters_waiting: report.letters_waiting,
        letters_under_way: report.letters_under_way,
        next_step,
        id: report.id,
        driver: report.driver,
    }
}

/// While an agent's actor is down its supervisor knows how the agent is; else the actor does.
fn prevailing(vitals: &Vitals, report: &AgentReport) -> (AgentStatus, Duration) {
    match vitals.status {
        ActorStatus::Running => (report.status, report.since),
        ActorStatus::Starting if vitals.generation <= 1 => (AgentStatus::Starting, vitals.since),
        ActorStatus::Starting | ActorStatus::Restarting => (AgentStatus::Restarting, vitals.since),
        ActorStatus::Stopping | ActorStatus::Stopped => (AgentStatus::Stopped, vitals.since),
        ActorStatus::Failed => (AgentStatus::Failed, vitals.since),
    }
}

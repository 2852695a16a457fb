//! Describes an agent's next step in one sentence. Pure.

use std::time::Duration;

use mainstay_actors::agent::{AgentReport, AgentStatus};
use mainstay_actors::error::Reason;

use crate::status::AgentView;
use crate::supervision_report::SupervisionReport;

/// Returns the next step of an agent whose restart is due in `restart_in`, if one is planned. `advice` says what a
/// person does first, if no restart can help.
pub(super) fn next_step(agent: &AgentView, restart_in: Option<Duration>, advice: Option<&str>) -> String {
    let AgentView { report, supervision, fail_after, .. } = agent;
    let AgentReport { id, status, misses, error, questions, .. } = report;
    let command = |verb: &str| format!("mainstay agent {verb} {id}");
    let is_quarantined = error.as_ref().is_some_and(|error| error.reason == Reason::Quarantined);
    let left = supervision.restarts_left();
    if let Some(question) = questions.first() {
        let more = match questions.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let ask = question.ask.escape_debug();
        return format!("waits for an answer to {ask}{more}: `mainstay agent answer {id} {ask} VALUE`");
    }
    match status {
        AgentStatus::Failed if supervision.gave_up => SupervisionReport::given_up_step(advice, command),
        AgentStatus::Failed if supervision.budget_left == Some(0) => {
            "is about to be given up (0 restarts left)".to_owned()
        }
        AgentStatus::Failed => format!("is about to be restarted ({left})"),
        AgentStatus::Restarting => SupervisionReport::restarting_step(restart_in, &left),
        AgentStatus::Stopped => SupervisionReport::stopped_step(command),
        AgentStatus::Unknown => {
            "checked again when the backend can be reached; it is not restarted until then".to_owned()
        }
        AgentStatus::Degraded if is_quarantined => format!(
            "seldom checked, since the backend died over its checks; `mainstay agent restart {id}` restarts it and \
             checks it at once"
        ),
        AgentStatus::Degraded if report.suspended => suspended_step(agent, &left),
        AgentStatus::Degraded if *misses > 0 => {
            let more = match fail_after.saturating_sub(*misses) {
                0 | 1 => "the next check".to_owned(),
                more => format!("{more} more checks in a row"),
            };
            format!("restarted if it misses {more} while it is not at work ({left})")
        }
        AgentStatus::Degraded => "checked regularly; it answers, and reports trouble".to_owned(),
        AgentStatus::Starting => {
            format!("checked until it is healthy, or its startup grace is over ({left})")
        }
        AgentStatus::Healthy => "checked regularly".to_owned(),
    }
}

/// Returns the next step of an agent with a suspended process, which is restarted also while it is at work.
fn suspended_step(AgentView { report, fail_after, .. }: &AgentView, left: &str) -> String {
    let when = match fail_after.saturating_sub(report.misses) {
        0 | 1 => "is still stopped at the next check".to_owned(),
        more => format!("stays stopped for {more} more checks"),
    };
    let resume = report.process.map(|process| format!("; `kill -CONT {}` lets it continue", process.pid));
    format!("restarted if its process {when} ({left}){}", resume.unwrap_or_default())
}

/// Returns the next step of an agent whose program is started once the backend is ready.
pub(super) fn backend_step(agent: &AgentView) -> String {
    let left = agent.supervision.restarts_left();
    format!("waits for the backend, and starts once that is ready ({left})")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use mainstay_actors::agent::ProcessUsage;
    use mainstay_actors::error::Error;

    use super::*;

    fn agent(status: AgentStatus, misses: u32, budget_left: Option<u32>) -> AgentView {
        let example = AgentView::example();
        let supervision = SupervisionReport { budget_left, ..example.supervision };
        AgentView { report: AgentReport { status, misses, ..example.report }, supervision, ..example }
    }

    #[test]
    fn next_step_each_status_names_command_if_needed() {
        use AgentStatus::{Degraded, Failed, Healthy, Restarting, Starting, Stopped, Unknown};
        let mut unchecked = agent(Degraded, 0, Some(4));
        unchecked.report.error = Some(Box::new(Error::new(Reason::Quarantined)));
        let suspended = |misses| {
            let mut agent = agent(Degraded, misses, Some(4));
            agent.report.suspended = true;
            agent.report.process = Some(ProcessUsage { pid: 12, memory_bytes: None });
            agent
        };
        let given_up = |budget_left| {
            let mut agent = agent(Failed, 0, Some(budget_left));
            agent.supervision.gave_up = true;
            agent
        };
        let steps = [
            (agent(Starting, 0, Some(4)), None),
            (agent(Healthy, 0, Some(4)), None),
            (agent(Degraded, 0, Some(4)), None),
            (agent(Degraded, 1, Some(4)), None),
            (agent(Degraded, 2, Some(4)), None),
            // A busy agent may miss any number of checks.
            (agent(Degraded, 7, Some(1)), None),
            (suspended(1), None),
            (suspended(2), None),
            (unchecked, None),
            (agent(Failed, 3, Some(4)), None),
            (agent(Failed, 3, Some(0)), None),
            (given_up(0), None),
            (agent(Restarting, 0, Some(4)), Some(Duration::from_millis(4_600))),
            (agent(Restarting, 0, None), None),
            (agent(Stopped, 0, Some(4)), None),
            (agent(Unknown, 0, Some(4)), None),
        ];
        let mut texts: Vec<String> = steps.iter().map(|(agent, due)| next_step(agent, *due, None)).collect();
        texts.push(next_step(&given_up(5), None, Some("Correct its command.")));
        let mut asking = agent(Healthy, 0, Some(4));
        asking.report.questions = vec![AgentView::example_question(); 2];
        texts.push(next_step(&asking, None, None));
        expect![[r#"
            checked until it is healthy, or its startup grace is over (4 restarts left)
            checked regularly
            checked regularly; it answers, and reports trouble
            restarted if it misses 2 more checks in a row while it is not at work (4 restarts left)
            restarted if it misses the next check while it is not at work (4 restarts left)
            restarted if it misses the next check while it is not at work (1 restart left)
            restarted if its process stays stopped for 2 more checks (4 restarts left); `kill -CONT 12` lets it continue
            restarted if its process is still stopped at the next check (4 restarts left); `kill -CONT 12` lets it continue
            seldom checked, since the backend died over its checks; `mainstay agent restart planner` restarts it and checks it at once
            is about to be restarted (4 restarts left)
            is about to be given up (0 restarts left)
            given up: its restarts are used up, so it stays as it is until `mainstay agent reset planner` gives them back and starts it
            is restarted in 5 s (4 restarts left)
            is being restarted (no limit to restarts)
            stopped; `mainstay agent start planner` starts it
            checked again when the backend can be reached; it is not restarted until then
            given up, since no restart can help: Correct its command. Then `mainstay agent start planner` tries again
            waits for an answer to a1 and 1 more: `mainstay agent answer planner a1 VALUE`"#]]
        .assert_eq(&texts.join("\n"));
    }
}

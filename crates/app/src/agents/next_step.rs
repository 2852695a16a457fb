//! Describes an agent's next step in one sentence. Pure.

use std::time::Duration;

use mainstay_actors::agent::{AgentReport, AgentStatus};
use mainstay_actors::error::Reason;
use mainstay_runtime::journal::{millis, millis_text};

use crate::status::AgentView;

/// Returns the next step of an agent whose restart is due in `restart_in`, if one is planned. `advice` says what a
/// person does first, if no restart can help.
pub(super) fn next_step(agent: &AgentView, restart_in: Option<Duration>, advice: Option<&str>) -> String {
    let AgentView { report, budget_left, fail_after, .. } = agent;
    let AgentReport { id, status, misses, error, questions, .. } = report;
    let is_quarantined = error.as_ref().is_some_and(|error| error.reason == Reason::Quarantined);
    let left = match budget_left {
        Some(1) => "1 restart left".to_owned(),
        Some(left) => format!("{left} restarts left"),
        None => "no limit to restarts".to_owned(),
    };
    if let Some(question) = questions.first() {
        let more = match questions.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let ask = question.ask.escape_debug();
        return format!(
            "waits for an answer to {ask}{more} since {}: `mainstay agent answer {id} {ask} VALUE`",
            question.since
        );
    }
    match status {
        AgentStatus::Failed if agent.gave_up && advice.is_some() => format!(
            "given up, since no restart can help: {} Then `mainstay agent start {id}` tries again",
            advice.unwrap_or_default()
        ),
        AgentStatus::Failed if agent.gave_up => format!(
            "given up: its restarts are used up, so it stays as it is until `mainstay agent reset {id}` gives them \
             back and starts it"
        ),
        AgentStatus::Failed if *budget_left == Some(0) => {
            "is about to be given up (0 restarts left)".to_owned()
        }
        AgentStatus::Failed => format!("is about to be restarted ({left})"),
        AgentStatus::Restarting => match restart_in {
            Some(wait) => {
                let seconds = (millis(wait) + 500) / 1000;
                format!("is restarted in {} ({left})", millis_text(seconds * 1000))
            }
            None => format!("is being restarted ({left})"),
        },
        AgentStatus::Stopped => format!("stopped; `mainstay agent start {id}` starts it"),
        AgentStatus::Unknown => {
            "checked again when the backend can be reached; it is not restarted until then".to_owned()
        }
        AgentStatus::Degraded if is_quarantined => format!(
            "seldom checked, since the backend died over its checks; `mainstay agent restart {id}` restarts it and \
             checks it at once"
        ),
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

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use mainstay_actors::error::Error;

    use super::*;

    fn agent(status: AgentStatus, misses: u32, budget_left: Option<u32>) -> AgentView {
        let example = AgentView::example();
        AgentView { report: AgentReport { status, misses, ..example.report }, budget_left, ..example }
    }

    #[test]
    fn next_step_each_status_names_command_if_needed() {
        use AgentStatus::{Degraded, Failed, Healthy, Restarting, Starting, Stopped, Unknown};
        let mut unchecked = agent(Degraded, 0, Some(4));
        unchecked.report.error = Some(Box::new(Error::new(Reason::Quarantined)));
        let given_up = AgentView { gave_up: true, ..agent(Failed, 0, Some(0)) };
        let steps = [
            (agent(Starting, 0, Some(4)), None),
            (agent(Healthy, 0, Some(4)), None),
            (agent(Degraded, 0, Some(4)), None),
            (agent(Degraded, 1, Some(4)), None),
            (agent(Degraded, 2, Some(4)), None),
            // A busy agent may miss any number of checks.
            (agent(Degraded, 7, Some(1)), None),
            (unchecked, None),
            (agent(Failed, 3, Some(4)), None),
            (agent(Failed, 3, Some(0)), None),
            (given_up, None),
            (agent(Restarting, 0, Some(4)), Some(Duration::from_millis(4_600))),
            (agent(Restarting, 0, None), None),
            (agent(Stopped, 0, Some(4)), None),
            (agent(Unknown, 0, Some(4)), None),
        ];
        let mut texts: Vec<String> = steps.iter().map(|(agent, due)| next_step(agent, *due, None)).collect();
        let given_up = AgentView { gave_up: true, ..agent(Failed, 0, Some(5)) };
        texts.push(next_step(&given_up, None, Some("Correct its command.")));
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
            seldom checked, since the backend died over its checks; `mainstay agent restart planner` restarts it and checks it at once
            is about to be restarted (4 restarts left)
            is about to be given up (0 restarts left)
            given up: its restarts are used up, so it stays as it is until `mainstay agent reset planner` gives them back and starts it
            is restarted in 5 s (4 restarts left)
            is being restarted (no limit to restarts)
            stopped; `mainstay agent start planner` starts it
            checked again when the backend can be reached; it is not restarted until then
            given up, since no restart can help: Correct its command. Then `mainstay agent start planner` tries again
            waits for an answer to a1 and 1 more since 2026-03-01T11:58:00.000Z: `mainstay agent answer planner a1 VALUE`"#]]
        .assert_eq(&texts.join("\n"));
    }
}

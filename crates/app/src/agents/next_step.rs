//! Describes an agent's next step in one sentence. Pure.

use std::time::Duration;

use mainstay_actors::agent::AgentStatus;

/// The facts that decide an agent's next step.
#[derive(Debug, Clone, Copy)]
pub(super) struct NextStepInput<'a> {
    pub(super) id: &'a str,
    pub(super) status: AgentStatus,
    /// True once the supervisor has given the agent up until a reset.
    pub(super) gave_up: bool,
    /// The time until its restart, if one is planned.
    pub(super) restart_in: Option<Duration>,
    /// `None` if there is no limit.
    pub(super) budget_left: Option<u32>,
    pub(super) misses: u32,
    pub(super) fail_after: u32,
}

/// Returns the agent's next step as a sentence.
pub(super) fn next_step(prospect: NextStepInput<'_>) -> String {
    let NextStepInput { id, status, gave_up, restart_in, budget_left, misses, fail_after } = prospect;
    let left = match budget_left {
        Some(1) => "1 restart left".to_owned(),
        Some(left) => format!("{left} restarts left"),
        None => "no limit to restarts".to_owned(),
    };
    match status {
        AgentStatus::Failed if gave_up => format!(
            "given up: its restarts are used up, so it stays as it is until `mainstay agent reset {id}` gives them \
             back and starts it"
        ),
        AgentStatus::Failed if budget_left == Some(0) => {
            "is about to be given up (0 restarts left)".to_owned()
        }
        AgentStatus::Failed => format!("is about to be restarted ({left})"),
        AgentStatus::Restarting => match restart_in {
            Some(wait) => format!("is restarted in {:.0} s ({left})", wait.as_secs_f64()),
            None => format!("is being restarted ({left})"),
        },
        AgentStatus::Stopped => format!("stopped; `mainstay agent start {id}` starts it"),
        AgentStatus::Unknown => {
            "checked again when the backend can be reached; it is not restarted until then".to_owned()
        }
        AgentStatus::Degraded if misses > 0 => {
            let more = match fail_after.saturating_sub(misses) {
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

    use super::*;

    const INPUT: NextStepInput<'_> = NextStepInput {
        id: "planner",
        status: AgentStatus::Healthy,
        gave_up: false,
        restart_in: None,
        budget_left: Some(4),
        misses: 0,
        fail_after: 3,
    };

    #[test]
    fn next_step_each_status_names_command_if_needed() {
        let prospects = [
            NextStepInput { status: AgentStatus::Starting, ..INPUT },
            INPUT,
            NextStepInput { status: AgentStatus::Degraded, ..INPUT },
            NextStepInput { status: AgentStatus::Degraded, misses: 1, ..INPUT },
            NextStepInput { status: AgentStatus::Degraded, misses: 2, ..INPUT },
            // A busy agent may miss any number of checks.
            NextStepInput { status: AgentStatus::Degraded, misses: 7, budget_left: Some(1), ..INPUT },
            NextStepInput { status: AgentStatus::Failed, misses: 3, ..INPUT },
            NextStepInput { status: AgentStatus::Failed, misses: 3, budget_left: Some(0), ..INPUT },
            NextStepInput { status: AgentStatus::Failed, gave_up: true, budget_left: Some(0), ..INPUT },
            NextStepInput {
                status: AgentStatus::Restarting,
                restart_in: Some(Duration::from_millis(4_600)),
                ..INPUT
            },
            NextStepInput { status: AgentStatus::Restarting, budget_left: None, ..INPUT },
            NextStepInput { status: AgentStatus::Stopped, ..INPUT },
            NextStepInput { status: AgentStatus::Unknown, ..INPUT },
        ];
        let steps: Vec<String> = prospects.into_iter().map(next_step).collect();
        expect![[r#"
            checked until it is healthy, or its startup grace is over (4 restarts left)
            checked regularly
            checked regularly; it answers, and reports trouble
            restarted if it misses 2 more checks in a row while it is not at work (4 restarts left)
            restarted if it misses the next check while it is not at work (4 restarts left)
            restarted if it misses the next check while it is not at work (1 restart left)
            is about to be restarted (4 restarts left)
            is about to be given up (0 restarts left)
            given up: its restarts are used up, so it stays as it is until `mainstay agent reset planner` gives them back and starts it
            is restarted in 5 s (4 restarts left)
            is being restarted (no limit to restarts)
            stopped; `mainstay agent start planner` starts it
            checked again when the backend can be reached; it is not restarted until then"#]]
        .assert_eq(&steps.join("\n"));
    }
}

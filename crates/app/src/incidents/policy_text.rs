//! The policy behind a decision, in words. Pure.

use std::time::Duration;

use mainstay_runtime::journal::{count, millis, millis_text};
use mainstay_runtime::policy::{Delay, OnBudgetExhausted, RestartType, Strategy};

use crate::events::Decided;

/// Returns the policy by which a supervisor has decided: which exits it restarts, how soon, and how often.
pub(super) fn policy_text(decided: &Decided) -> String {
    let (child, supervisor) = (&decided.inputs.child, &decided.inputs.supervisor);
    let restarts = match child.restart {
        RestartType::Permanent => "restart after each exit",
        RestartType::Transient => "restart after a failure",
        RestartType::Temporary => return "never restart".to_owned(),
    };
    let group = match supervisor.strategy {
        Strategy::OneForOne => "",
        Strategy::OneForAll => " with all its siblings",
        Strategy::RestForOne => " with the siblings after it",
    };
    let exhausted = match child.exhausted {
        OnBudgetExhausted::GiveUp => "give up",
        OnBudgetExhausted::Escalate => "let the parent supervisor decide",
    };
    if child.budget.is_some_and(|budget| budget.restarts_max == 0) {
        return format!("no restart: {exhausted} at once");
    }
    let budget = child.budget.map_or_else(
        || "without a limit".to_owned(),
        |budget| {
            let restarts = count(budget.restarts_max, "restart");
            format!("at most {restarts} in {}, then {exhausted}", text(budget.window))
        },
    );
    format!("{restarts}{group}, {}, {budget}", delay_text(&child.delay))
}

fn delay_text(delay: &Delay) -> String {
    match *delay {
        Delay::Fixed { delay: Duration::ZERO } => "at once".to_owned(),
        Delay::Fixed { delay } => format!("each {} later", text(delay)),
        Delay::Exponential { min, max, jitter: false, .. } if min == max => {
            format!("each {} later", text(min))
        }
        Delay::Exponential { min, max, factor, jitter } => {
            let random = if jitter { " at random" } else { "" };
            format!("the first {} later, then up to {}{random} (factor {factor})", text(min), text(max))
        }
        Delay::FirstAtOnce { min, max, factor } => {
            format!(
                "the first at once, the second {} later, then up to {} (factor {factor})",
                text(min),
                text(max)
            )
        }
    }
}

fn text(duration: Duration) -> String {
    millis_text(millis(duration))
}

//! Shows agents to a person: all of them as a table, one with everything that is known of it.

use std::time::Duration;

use anstyle::Style;
use jiff::Timestamp;
use mainstay_actors::agent::AgentStatus;
use mainstay_runtime::clock::{Clock, SystemClock, WallTime};
use mainstay_runtime::journal::{count, escape_controls, millis, millis_text};

use super::error::{CliError, describe};
use super::event_format::{self, print_output};
use super::output::{self, Output};
use super::time::TimeFormat;
use super::units::bytes_text;
use crate::bridge::AgentDetails;
use crate::status::AgentView;
use crate::supervision_report::SupervisionReport;

/// The most agents whose next step is printed below the table.
const NOTES_MAX: usize = 10;

/// Prints all agents: what they are in a table, and below it the next step of each that needs attention. Wide, the table has
/// everything.
pub(super) fn list(out: &mut Output, agents: &[AgentView]) -> Result<(), CliError> {
    if agents.is_empty() {
        return out.line("no agents: the configuration has no [[agent]], and none was added");
    }
    let now = SystemClock.now();
    let mut header = vec!["agent", "driver", "status", "for", "restarts", "left", "messages"];
    if out.is_wide() {
        header.extend(["next", "last error"]);
    }
    let rows: Vec<_> = agents
        .iter()
        .map(|agent| {
            let mut row = row(agent, now);
            row.truncate(header.len());
            row
        })
        .collect();
    out.table(&header, &rows)?;
    if out.is_wide() {
        return Ok(());
    }
    let mut notes = agents.iter().filter(|agent| needs_attention(agent)).peekable();
    if notes.peek().is_some() {
        out.line("")?;
    }
    for agent in notes.by_ref().take(NOTES_MAX) {
        let id = out.paint(&escape_controls(&agent.report.id), status(agent).1);
        out.paragraph(&format!("{id}: "), &escape_controls(&note(agent)), 2)?;
    }
    match notes.count() {
        0 => Ok(()),
        more => out.line(&format!("and {more} more that need attention: -o wide shows all")),
    }
}

/// Returns whether the agent is more than a row of the table.
fn needs_attention(agent: &AgentView) -> bool {
    !matches!(agent.report.status, AgentStatus::Healthy | AgentStatus::Starting)
        || agent.report.error.is_some()
        || agent.last_error.is_some()
        || !agent.report.questions.is_empty()
        || agent.next_step == SupervisionReport::STOPPING_STEP
}

/// Returns the agent's next step, and its error.
fn note(agent: &AgentView) -> String {
    match current_error(agent) {
        Some(error) => format!("{}. {error}", agent.next_step),
        None => agent.next_step.clone(),
    }
}

/// Returns the agent's error with its cause, without what the next step says already: of a given-up agent the cause alone.
fn current_error(agent: &AgentView) -> Option<String> {
    match agent.report.error.as_deref() {
        Some(error) if agent.supervision.gave_up && error.details.is_some() => error.details.clone(),
        Some(error) if agent.next_step.contains(&error.message) => error.details.clone(),
        Some(error) => Some(describe(error)),
        None => agent.last_error.clone(),
    }
}

fn row(agent: &AgentView, now: Timestamp) -> Vec<(String, Style)> {
    let report = &agent.report;
    let plain = |text: String| (text, output::PLAIN);
    let mut messages = match (report.messages_waiting, report.messages_in_flight) {
        (0, 0) => "none".to_owned(),
        (0, in_flight) => format!("{in_flight} in flight"),
        (waiting, 0) => format!("{waiting} waiting"),
        (waiting, in_flight) => format!("{in_flight} in flight, {waiting} waiting"),
    };
    if !report.questions.is_empty() {
        messages.push_str(&format!(", {}", count(report.questions.len(), "question")));
    }
    vec![
        plain(report.id.clone()),
        plain(report.driver.clone()),
        status(agent),
        plain(age(report.since, now)),
        plain(agent.supervision.restarts.to_string()),
        plain(restarts_left(&agent.supervision)),
        plain(messages),
        plain(agent.next_step.clone()),
        (current_error(agent).unwrap_or_default(), output::DIM),
    ]
}

/// Prints one agent with all its facts, and its last events.
pub(super) fn show(out: &mut Output, details: &AgentDetails) -> Result<(), CliError> {
    let AgentDetails { agent, events } = details;
    let (name, style) = status(agent);
    for (fact, value) in facts(agent, SystemClock.now(), &out.options().times) {
        let value = escape_controls(&value);
        let value = match fact {
            "status" => value.replacen(&name, &out.paint(&name, style), 1),
            _ => value,
        };
        out.fact(fact, &value)?;
    }
    if !agent.output.is_empty() {
        out.fact("output", &output_heading(agent))?;
        print_output(out, &agent.output)?;
    }
    if events.is_empty() {
        return Ok(());
    }
    out.line("")?;
    out.line(&out.paint(&format!("last {}", count(events.len(), "event")), output::DIM))?;
    event_format::print_last(out, events)
}

/// Says of which process the last lines are.
fn output_heading(agent: &AgentView) -> String {
    match (agent.report.process, agent.output_is_old) {
        (Some(process), false) => format!("the last lines of process {}:", process.pid),
        (Some(process), true) => {
            format!("the last lines of the process before {}, which has printed none yet:", process.pid)
        }
        (None, _) => "the last lines of the process that has ended:".to_owned(),
    }
}

fn facts(agent: &AgentView, now: Timestamp, times: &TimeFormat) -> Vec<(&'static str, String)> {
    let report = &agent.report;
    let none = || "none".to_owned();
    let ago = |at: WallTime| format!("{} ago ({})", age(at, now), times.moment(at.0, now));
    let mut facts = vec![
        ("agent", report.id.clone()),
        ("driver", report.driver.clone()),
        (
            "status",
            format!(
                "{} for {}, since {}",
                status(agent).0,
                age(report.since, now),
                times.moment(report.since.0, now)
            ),
        ),
        ("next", agent.next_step.clone()),
    ];
    if let Some(process) = report.process {
        let memory = process.memory_bytes.map(|bytes| format!(", {} of memory", bytes_text(bytes)));
        facts.push(("process", format!("{}{}", process.pid, memory.unwrap_or_default())));
    }
    let error = current_error(agent).map(|error| event_format::without_shown_line(&error, &agent.output));
    // The drivers of programs count for them.
    let is_reporting = report.driver == "http";
    let past = agent.resolved_error.as_ref();
    let past = past.map(|past| format!("none now; {} it was: {}", ago(past.at), past.message));
    for question in &report.questions {
        let about = question.message_id.map(|id| format!(" (message {id})")).unwrap_or_default();
        let ask = question.ask.escape_debug();
        facts.push((
            "question",
            format!("{ask}{about}, open for {}: {}", age(question.since, now), question.body),
        ));
    }
    facts.extend([
        ("generation", agent.supervision.generation.to_string()),
        ("restarts", restarts(&agent.supervision)),
        ("misses", format!("{} in a row; {} fail it", report.misses, agent.fail_after)),
        ("last check", report.last_check.map_or_else(none, ago)),
        ("last error", error.or(past).unwrap_or_else(none)),
        ("messages", format!("{} in flight, {} waiting", report.messages_in_flight, report.messages_waiting)),
        ("state kept", report.state_saved_at.map_or_else(none, |at| format!("read {}", ago(at)))),
        (
            "uptime",
            agent.report.uptime_s.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).map_or_else(
                none,
                |uptime| match is_reporting {
                    true => format!("{}, by its own report", format_elapsed(uptime)),
                    false => format!("{}, of its process", format_elapsed(uptime)),
                },
            ),
        ),
        (
            "errors",
            report.error_count.map_or_else(none, |errors| match is_reporting {
                true => format!("{errors}, by its own report"),
                false => format!("{} that could not be read", count(errors, "line")),
            }),
        ),
    ]);
    facts
}

/// Describes the restarts so far and those that are left.
pub(super) fn restarts(supervision: &SupervisionReport) -> String {
    if is_beyond_help(supervision) {
        return format!("{} so far; it was given up, since no restart can help", supervision.restarts);
    }
    let terms = supervision.budget.map(|budget| {
        let [window, stable_after] = [budget.window_ms, budget.stable_after_ms].map(millis_text);
        format!("; each counts for {window}, and all are earned back once it has been up for {stable_after}")
    });
    format!(
        "{} so far, {} left{}",
        supervision.restarts,
        restarts_left(supervision),
        terms.unwrap_or_default()
    )
}

fn restarts_left(supervision: &SupervisionReport) -> String {
    match (supervision.budget_left, supervision.budget) {
        _ if is_beyond_help(supervision) => "none".to_owned(),
        (Some(left), Some(budget)) => format!("{left} of {}", budget.max),
        (Some(left), None) => left.to_string(),
        (None, _) => "no limit".to_owned(),
    }
}

/// Returns whether it was given up with a budget that cannot be used up: it was restarted fewer times.
fn is_beyond_help(supervision: &SupervisionReport) -> bool {
    let budget = supervision.budget;
    supervision.gave_up && budget.is_none_or(|budget| supervision.restarts < u64::from(budget.max))
}

/// Returns an agent's status as a word, with its style.
pub(super) fn status(agent: &AgentView) -> (String, Style) {
    let (name, style) = match agent.report.status {
        AgentStatus::Starting => ("starting", output::WARNING),
        AgentStatus::Healthy => ("healthy", output::SUCCESS),
        AgentStatus::Degraded => ("degraded", output::WARNING),
        AgentStatus::Failed if agent.supervision.gave_up => ("failed (given up)", output::ERROR),
        AgentStatus::Failed => ("failed", output::ERROR),
        AgentStatus::Restarting => ("restarting", output::WARNING),
        AgentStatus::Stopped => ("stopped", output::DIM),
        AgentStatus::Unknown => ("unknown", output::WARNING),
    };
    let suspended = if agent.report.suspended { ", suspended" } else { "" };
    let noisy = if agent.noisy { ", noisy" } else { "" };
    (format!("{name}{suspended}{noisy}"), style)
}

// === times ===

/// Formats the time since then.
pub(super) fn age(at: WallTime, now: Timestamp) -> String {
    format_elapsed(now.duration_since(at.0).try_into().unwrap_or_default())
}

/// Formats a time that has passed, in whole seconds from the first one on.
fn format_elapsed(elapsed: Duration) -> String {
    millis_text(if elapsed < Duration::from_secs(1) { millis(elapsed) } else { elapsed.as_secs() * 1000 })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use mainstay_actors::agent::{AgentReport, ProcessUsage};

    use super::*;
    use crate::supervision_report::ResolvedError;
    use crate::{Error, Reason};

    fn facts_text(agent: &AgentView) -> String {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let lines = facts(agent, now, &TimeFormat::utc())
            .into_iter()
            .map(|(fact, value)| format!("{fact:<12}{value}"));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn agent_is_shown_with_everything_that_is_known_of_it() {
        expect![[r#"
            agent       planner
            driver      http
            status      healthy for 3 min, since 11:57:00Z
            next        checked regularly
            generation  1
            restarts    0 so far, 5 of 5 left; each counts for 10 min, and all are earned back once it has been up for 1 min
            misses      0 in a row; 3 fail it
            last check  12 s ago (11:59:47Z)
            last error  none
            messages    1 in flight, 0 waiting
            state kept  read 12 s ago (11:59:47Z)
            uptime      2 h 1 min, by its own report
            errors      0, by its own report"#]].assert_eq(&facts_text(&AgentView::example()));
    }

    #[test]
    fn given_up_agent_shows_its_error() {
        let error = Error::new(Reason::AgentUnhealthy).with_details("the agent reports that it failed");
        let healthy = AgentView::example();
        let agent = AgentView {
            supervision: SupervisionReport {
                gave_up: true,
                generation: 6,
                restarts: 5,
                budget_left: Some(0),
                ..healthy.supervision
            },
            last_error: Some(error.message.clone()),
            next_step: "given up".to_owned(),
            report: AgentReport {
                status: AgentStatus::Failed,
                error: Some(Box::new(error)),
                misses: 3,
                last_check: None,
                uptime_s: None,
                error_count: None,
                state_saved_at: None,
                process: Some(ProcessUsage { pid: 4711, memory_bytes: Some(35 << 20) }),
                ..healthy.report
            },
            ..healthy
        };
        expect![[r#"
            agent       planner
            driver      http
            status      failed (given up) for 3 min, since 11:57:00Z
            next        given up
            process     4711, 35 MiB of memory
            generation  6
            restarts    5 so far, 0 of 5 left; each counts for 10 min, and all are earned back once it has been up for 1 min
            misses      3 in a row; 3 fail it
            last check  none
            last error  the agent reports that it failed
            messages    1 in flight, 0 waiting
            state kept  none
            uptime      none
            errors      none"#]].assert_eq(&facts_text(&agent));
        let row = row(&agent, "2026-03-01T12:00:00Z".parse().unwrap());
        let cells: Vec<String> = row.into_iter().map(|(text, _)| text).collect();
        expect!["planner | http | failed (given up) | 3 min | 5 | 0 of 5 | 1 in flight | given up | the agent reports that it failed"].assert_eq(&cells.join(" | "));
    }

    #[test]
    fn agent_given_up_without_restart_has_not_used_them_up() {
        let example = AgentView::example().supervision;
        let given_up =
            |restarts| SupervisionReport { gave_up: true, budget_left: Some(0), restarts, ..example.clone() };
        assert_eq!(restarts(&given_up(0)), "0 so far; it was given up, since no restart can help");
        assert_eq!(
            (restarts_left(&given_up(0)), restarts_left(&given_up(5))),
            ("none".to_owned(), "0 of 5".to_owned())
        );
    }

    #[test]
    fn note_has_the_cause_and_each_sentence_once() {
        let note = |error: Error, next_step: &str| {
            let mut agent = AgentView { next_step: next_step.to_owned(), ..AgentView::example() };
            agent.report.error = Some(Box::new(error));
            note(&agent)
        };
        let crashed = Error::new(Reason::Crashed).with_details("it exited with code 1");
        let cause = "SERVER_ERROR crashed: The part that handled this crashed";
        let text = note(crashed, "is restarted in 5 s");
        assert!(text.starts_with(&format!("is restarted in 5 s. {cause}")), "{text}");
        assert!(text.ends_with("(it exited with code 1)"), "{text}");
        let message = "Correct its command.";
        let missing = Error::new(Reason::AgentFailed).with_message(message).with_details("looked in /bin");
        assert_eq!(
            note(missing, &format!("given up: {message} Then start it")),
            "given up: Correct its command. Then start it. looked in /bin"
        );
        // Its message says to reset it, as the next step does.
        let mut given_up =
            AgentView { next_step: "given up until `reset`".to_owned(), ..AgentView::example() };
        given_up.supervision.gave_up = true;
        let error = Error::new(Reason::AgentFailed)
            .with_message("It was given up. Look into its log, and then reset it.");
        given_up.report.error = Some(Box::new(error.with_details("it exited with code 4")));
        assert_eq!(super::note(&given_up), "given up until `reset`. it exited with code 4");
    }

    #[test]
    fn open_question_is_shown_with_its_age() {
        let mut agent = AgentView::example();
        agent.report.questions = vec![AgentView::example_question()];
        let text = facts_text(&agent);
        let line = text.lines().find(|line| line.starts_with("question")).unwrap();
        assert_eq!(line, "question    a1 (message 7), open for 2 min: \"May I?\"");
        let row = row(&agent, "2026-03-01T12:00:00Z".parse().unwrap());
        assert_eq!(row[6].0, "1 in flight, 1 question");
    }

    #[test]
    fn agent_that_is_being_stopped_is_noted_below_the_table() {
        let healthy = AgentView::example();
        assert!(!needs_attention(&healthy));
        let next_step = SupervisionReport::STOPPING_STEP.to_owned();
        assert!(needs_attention(&AgentView { next_step, ..healthy }));
    }

    #[test]
    fn resolved_error_is_shown_with_time_but_not_listed() {
        let past = ResolvedError {
            at: WallTime("2026-03-01T11:55:00Z".parse().unwrap()),
            message: "its process ended: it exited with code 1".to_owned(),
        };
        let agent = AgentView { resolved_error: Some(past), ..AgentView::example() };
        let text = facts_text(&agent);
        let line = text.lines().find(|line| line.starts_with("last error")).unwrap();
        assert_eq!(
            line,
            "last error  none now; 5 min ago (11:55:00Z) it was: its process ended: it exited with code 1"
        );
        let row = row(&agent, "2026-03-01T12:00:00Z".parse().unwrap());
        assert_eq!(row.last().unwrap().0, "");
    }

    #[test]
    fn elapsed_time_is_shown_in_whole_seconds() {
        let spans = [250, 1900, 59_999, 633_900].map(Duration::from_millis).map(format_elapsed);
        assert_eq!(spans, ["250 ms", "1 s", "59 s", "10 min 33 s"]);
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let later = WallTime("2026-03-01T12:00:05Z".parse().unwrap());
        assert_eq!(age(later, now), "0 ms", "clocks differ a little");
    }
}

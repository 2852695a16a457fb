//! An event as a sentence.

use mainstay_runtime::journal::Record;
use serde_json::Value;

use super::error::CliError;
use super::output::{Output, Style};

/// Prints one event: time, actor, what happened.
pub(super) fn print(out: &mut Output, record: &Record) -> Result<(), CliError> {
    let time = record.at.get(11..23).unwrap_or(&record.at);
    let (sentence, tone) = summary(record);
    let line = format!("{} {:<24} {}", out.paint(time, Style::Dim), record.actor, out.paint(&sentence, tone));
    out.line(line.trim_end())
}

/// What happened, in words, and how it is meant.
fn summary(record: &Record) -> (String, Style) {
    let fields = EventFields(record);
    match record.kind.as_str() {
        "runtime_started" => {
            (format!("the runtime has started, process {}", fields.show("pid")), Style::Plain)
        }
        "run_interrupted" => (
            format!("the previous run ended without notice after event {}", fields.show("last_event")),
            Style::Plain,
        ),
        "runtime_stopping" => ("the runtime is stopping".to_owned(), Style::Plain),
        "runtime_stopped" => ("the runtime has stopped".to_owned(), Style::Plain),
        "actor_started" => (format!("incarnation {} is starting", record.generation), Style::Dim),
        "actor_ready" => (format!("incarnation {} is ready", record.generation), Style::Success),
        "actor_exited" => exited(&fields),
        "decision" => decision(&fields),
        "actor_restarted" => (
            format!(
                "restarted after {} with its state {}, {} messages waited",
                fields.millis("downtime_ms"),
                fields.show("state"),
                fields.show("backlog")
            ),
            Style::Success,
        ),
        "gave_up" => (
            format!("given up after {} restarts: {}", fields.show("restarts"), fields.show("next_step")),
            Style::Error,
        ),
        "budget_reset" => ("its whole budget was given back by hand".to_owned(), Style::Plain),
        "start_ordered" => (format!("told by hand to {}", fields.show("order")), Style::Plain),
        "dead_letter" => (
            format!("message {} not handled: {}", fields.show("label"), fields.show("reason")),
            Style::Warning,
        ),
        "connection_state" => connection(&fields),
        "agent_health" => health(&fields),
        "agent_stuck" => (
            format!(
                "hangs: at work on {} for {} without progress, and at most {} are allowed; it is restarted",
                fields.count("in_flight", "request"),
                fields.millis("quiet_ms"),
                fields.millis("progress_timeout_ms")
            ),
            Style::Error,
        ),
        "agent_session_lost" => (
            format!(
                "lost its conversation {}, and has begun another one: {}",
                fields.show("id"),
                fields.show("why")
            ),
            Style::Error,
        ),
        "agent_state_set_aside" => (
            format!(
                "ended each time that it was given its state back ({} bytes, read {}): it starts without, and the state \
                 is kept aside",
                fields.show("bytes"),
                fields.show("read_at")
            ),
            Style::Error,
        ),
        "letter_failed" => message_failed(&fields),
        "letter_again" => (
            format!(
                "letter {} broke off on its way and is handed over again, as its sender allowed ({} of {} times so far)",
                fields.show("letter"),
                fields.show("attempts"),
                fields.show("attempts_max")
            ),
            Style::Warning,
        ),
        "queue_held" => (
            format!(
                "holding {} requests, next trial in {}: {}",
                fields.show("waiting"),
                fields.millis("next_trial_in_ms"),
                fields.show("reason")
            ),
            Style::Warning,
        ),
        "queue_released" => (
            format!(
                "requests go out again after {}, {} waited",
                fields.millis("held_ms"),
                fields.show("waiting")
            ),
            Style::Success,
        ),
        "request_retry" => (
            format!(
                "request {} is tried again in {}, attempt {}: {}",
                fields.show("request_id"),
                fields.millis("delay_ms"),
                fields.show("attempt"),
                fields.show("reason")
            ),
            Style::Warning,
        ),
        _ => (other(record), Style::Plain),
    }
}

fn exited(fields: &EventFields<'_>) -> (String, Style) {
    let cause = fields.show("cause");
    let said = match (fields.text("message"), fields.text("location")) {
        (Some(message), Some(location)) => format!(": {message} (at {location})"),
        (Some(message), None) => format!(": {message}"),
        (None, _) => String::new(),
    };
    let tone = if cause == "normal" { Style::Dim } else { Style::Error };
    (format!("ended, cause {cause}{said}"), tone)
}

fn decision(fields: &EventFields<'_>) -> (String, Style) {
    let budget = match fields.0.fields.get("budget") {
        Some(Value::Object(budget)) => {
            let show = |name: &str| budget.get(name).map_or_else(String::new, ToString::to_string);
            format!(" ({} of {} restarts used)", show("used"), show("max"))
        }
        _ => String::new(),
    };
    match fields.text("decision") {
        Some("restart") => (
            format!(
                "decided: restart in {}, attempt {}{budget}",
                fields.millis("delay_ms"),
                fields.show("attempt")
            ),
            Style::Warning,
        ),
        Some("abandon") => (format!("decided: give up, the budget is spent{budget}"), Style::Error),
        Some("escalate") => (format!("decided: leave it to the parent supervisor{budget}"), Style::Error),
        _ => ("decided: leave it stopped".to_owned(), Style::Dim),
    }
}

fn connection(fields: &EventFields<'_>) -> (String, Style) {
    let to = fields.show("to");
    let mut sentence = format!("{} -> {to}", fields.show("from"));
    if to != "connected" && to != "disconnected" {
        sentence.push_str(&format!(", attempt {} of {}", fields.show("attempt"), fields.show("max")));
    }
    if let Some(Value::Number(_)) = fields.0.fields.get("next_attempt_in_ms") {
        let at = fields.text("next_attempt_at").and_then(|at| at.get(11..23)).unwrap_or_default();
        sentence.push_str(&format!(", next at {at} (in {})", fields.millis("next_attempt_in_ms")));
    }
    let error = fields.0.fields.get("error").and_then(|error| error.get("message")).and_then(Value::as_str);
    if let Some(error) = error {
        sentence.push_str(&format!(": {error}"));
    }
    let tone = match to.as_str() {
        "connected" => Style::Success,
        "failed" => Style::Error,
        _ => Style::Warning,
    };
    (sentence, tone)
}

fn health(fields: &EventFields<'_>) -> (String, Style) {
    let to = fields.show("to");
    let why = fields.text("reason").map(|reason| format!(": {reason}")).unwrap_or_default();
    let tone = match to.as_str() {
        "healthy" => Style::Success,
        "failed" => Style::Error,
        _ => Style::Warning,
    };
    (format!("{} -> {to}{why}", fields.show("from")), tone)
}

fn message_failed(fields: &EventFields<'_>) -> (String, Style) {
    let (letter, reason) = (fields.show("letter"), fields.show("reason"));
    let sentence = match reason.as_str() {
        "outcome_unknown" => format!(
            "letter {letter} broke off on its way: the agent may have acted on it, so it is not handed over again \
             ({reason})"
        ),
        "cancelled" => format!("letter {letter} was called off"),
        "quarantined" => format!(
            "letter {letter} is quarantined: the agent or the backend died each time it had it, {} times ({reason})",
            fields.show("attempts")
        ),
        _ if fields.show("attempts") == "0" => {
            format!("letter {letter} was not handed over: {}, {reason}", fields.show("code"))
        }
        _ => format!("letter {letter} has failed: {}, {reason}", fields.show("code")),
    };
    (sentence, Style::Warning)
}

/// A kind that has no sentence of its own.
fn other(record: &Record) -> String {
    let fields = record.fields.iter().map(|(name, value)| match value {
        Value::String(text) => format!("{name}={text}"),
        value => format!("{name}={value}"),
    });
    let fields = fields.collect::<Vec<_>>().join(" ");
    format!("{} {fields}", record.kind)
}

/// A record's own fields, ready to be shown.
struct EventFields<'a>(&'a Record);

impl EventFields<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.fields.get(name).and_then(Value::as_str)
    }

    fn show(&self, name: &str) -> String {
        match self.0.fields.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => "?".to_owned(),
            Some(value) => value.to_string(),
        }
    }

    fn count(&self, name: &str, one: &str) -> String {
        match self.show(name) {
            number if number == "1" => format!("1 {one}"),
            number => format!("{number} {one}s"),
        }
    }

    fn millis(&self, name: &str) -> String {
        match self.0.fields.get(name).and_then(Value::as_u64) {
            Some(ms) if ms < 1000 => format!("{ms} ms"),
            Some(ms) => format!("{:.1} s", std::time::Duration::from_millis(ms).as_secs_f64()),
            None => "?".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    fn summary_of(kind: &str, fields: Value) -> String {
        let mut line = json!({
            "run": 1, "seq": 1, "at": "2026-03-01T12:00:00.000Z", "mono_ms": 1, "actor": "root/agents/planner",
            "generation": 1, "kind": kind,
        });
        line.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        summary(&serde_json::from_value(line).unwrap()).0
    }

    #[test]
    fn a_run_that_ended_without_notice_is_told_in_one_line() {
        let summary_of = summary_of("run_interrupted", json!({"last_event": "3.17"}));
        expect!["the previous run ended without notice after event 3.17"].assert_eq(&summary_of);
    }

    #[test]
    fn agent_and_message_events_have_summaries() {
        let failed = |reason: &str, code: &str, attempts: u32| {
            summary_of(
                "letter_failed",
                json!({"letter": 7, "attempts": attempts, "code": code, "reason": reason}),
            )
        };
        let told = [
            summary_of(
                "agent_stuck",
                json!({"quiet_ms": 100_000, "progress_timeout_ms": 90_000, "in_flight": 1}),
            ),
            summary_of("agent_stuck", json!({"quiet_ms": 500, "progress_timeout_ms": 400, "in_flight": 2})),
            summary_of("agent_state_set_aside", json!({"read_at": "2026-03-01T11:00:00Z", "bytes": 1234})),
            summary_of("agent_session_lost", json!({"id": "s1", "why": "it was about another folder"})),
            summary_of("letter_again", json!({"letter": 7, "attempts": 1, "attempts_max": 3})),
            failed("outcome_unknown", "SERVER_ERROR", 1),
            failed("cancelled", "TIMEOUT", 1),
            failed("quarantined", "SERVER_ERROR", 2),
            failed("expired", "TIMEOUT", 0),
            failed("bad_response", "SERVER_ERROR", 1),
        ];
        expect![[r#"
            hangs: at work on 1 request for 100.0 s without progress, and at most 90.0 s are allowed; it is restarted
            hangs: at work on 2 requests for 500 ms without progress, and at most 400 ms are allowed; it is restarted
            ended each time that it was given its state back (1234 bytes, read 2026-03-01T11:00:00Z): it starts without, and the state is kept aside
            lost its conversation s1, and has begun another one: it was about another folder
            letter 7 broke off on its way and is handed over again, as its sender allowed (1 of 3 times so far)
            letter 7 broke off on its way: the agent may have acted on it, so it is not handed over again (outcome_unknown)
            letter 7 was called off
            letter 7 is quarantined: the agent or the backend died each time it had it, 2 times (quarantined)
            letter 7 was not handed over: TIMEOUT, expired
            letter 7 has failed: SERVER_ERROR, bad_response"#]].assert_eq(&told.join("\n"));
    }
}

use expect_test::expect;
use jiff::tz::TimeZone;
use mainstay_actors::connection::status::ConnectionState;
use mainstay_runtime::clock::WallTime;

use super::Verdict;
use super::facts::{ChildCondition, ChildFacts, ConnectionFacts, OutageFacts, StoppingFacts, VerdictFacts};
use crate::supervision_report::RestartAttempt;

fn at(time: &str) -> WallTime {
    WallTime(format!("2026-03-01T{time}Z").parse().unwrap())
}

fn child(name: &str, state: ChildCondition) -> ChildFacts {
    ChildFacts {
        name: name.to_owned(),
        state,
        since: at("11:58:00"),
        restart_at: None,
        attempt: Some(RestartAttempt { number: 2, max: 5 }),
        is_unrecoverable: false,
        awaits: None,
        last_line: None,
    }
}

fn verdict(facts: &VerdictFacts) -> Verdict {
    Verdict::of(facts, at("12:00:00").0, &TimeZone::UTC)
}

/// Returns the level, the sentence and the command of a verdict as one line.
fn line(facts: &VerdictFacts) -> String {
    let Verdict { level, text, action, .. } = verdict(facts);
    let command = action.map(|action| format!(" [{}]", action.command())).unwrap_or_default();
    format!("{level:?}: {text}{command}")
}

/// Adds one thing that is not well.
type FactsChange = fn(&mut VerdictFacts);

/// Everything that can be not well, the worst first.
const CHANGES: &[FactsChange] = &[
    |facts| {
        let running = ["planner", "backend"].map(str::to_owned).to_vec();
        facts.stopping = Some(StoppingFacts { since: at("11:59:58"), stopping: running });
    },
    |facts| facts.storage.push(("journal", "no space left".to_owned())),
    |facts| facts.agents.extend(["a", "b", "c", "d", "e"].map(|name| child(name, ChildCondition::GivenUp))),
    |facts| facts.backend = Some(child("backend", ChildCondition::Suspended)),
    |facts| {
        let restart_at = Some(at("12:00:04.4"));
        facts.backend = Some(ChildFacts { restart_at, ..child("backend", ChildCondition::Restarting) });
    },
    |facts| facts.backend = Some(child("backend", ChildCondition::Starting)),
    |facts| facts.backend = Some(child("backend", ChildCondition::Stopped)),
    |facts| facts.outage = Some(OutageFacts { since: at("11:02:00"), next_probe_at: None }),
    |facts| facts.connection = Some(connection(ConnectionState::Failed)),
    |facts| {
        facts.agents.push(child("coder", ChildCondition::Restarting));
        let restart_at = Some(at("12:00:00.250"));
        facts.agents.push(ChildFacts {
            restart_at,
            attempt: None,
            ..child("planner", ChildCondition::Restarting)
        });
    },
    |facts| facts.agents.push(child("planner", ChildCondition::Suspended)),
    |facts| facts.agents.extend(["planner", "coder"].map(|name| child(name, ChildCondition::Unwell))),
    |facts| facts.connection = Some(connection(ConnectionState::Reconnecting)),
    |facts| {
        let status_without_websocket = Some(404);
        let failed = connection(ConnectionState::Failed);
        facts.connection = Some(ConnectionFacts { status_without_websocket, ..failed });
    },
    |facts| facts.agents.extend(["planner", "coder"].map(|name| child(name, ChildCondition::Unknown))),
    |facts| facts.storage.push(("logs", "read-only file system".to_owned())),
    |facts| facts.unwatched.push("/home/me/project".to_owned()),
    |facts| facts.questions.extend(["a1", "a2"].map(|ask| ("planner".to_owned(), ask.to_owned()))),
    |facts| facts.agents.push(child("planner", ChildCondition::Stopped)),
    |facts| facts.connection = Some(connection(ConnectionState::Disconnected)),
    |facts| facts.agents.push(child("planner", ChildCondition::Starting)),
    |_| {},
];

fn connection(state: ConnectionState) -> ConnectionFacts {
    ConnectionFacts {
        state,
        since: at("11:59:00"),
        attempt: 3,
        max: 10,
        next_attempt_at: None,
        status_without_websocket: None,
    }
}

#[test]
fn verdict_names_each_thing_with_the_command_that_helps() {
    let lines: Vec<String> = CHANGES
        .iter()
        .map(|change| {
            let mut facts = VerdictFacts { requests_waiting: 3, ..VerdictFacts::default() };
            change(&mut facts);
            line(&facts)
        })
        .collect();
    expect![[r#"
        Notice: Mainstay is stopping since 11:59, and waits for planner and the backend
        Error: The journal cannot be written: no space left
        Error: a, b, c and 2 more are given up [mainstay agent reset a]
        Warning: The backend's process is stopped by a signal or a debugger since 11:58; 3 requests wait
        Warning: The backend restarts in 4 s (attempt 2 of 5); 3 requests wait [mainstay backend restart]
        Notice: The backend is starting since 11:58; 3 requests wait
        Notice: The backend is stopped; 3 requests wait [mainstay backend start]
        Warning: The backend is away since 11:02; 3 requests wait
        Error: The connection is lost since 11:59 (attempts go on slowly) [mainstay reconnect]
        Warning: coder is being restarted (attempt 2 of 5), and 1 more
        Warning: planner's process is stopped by a signal or a debugger since 11:58
        Warning: planner and coder are not well
        Warning: The connection is lost since 11:59 (attempt 3 of 10) [mainstay reconnect]
        Warning: The backend has answered by HTTP (404) where its WebSocket should be: if it has none, set [connection] enabled = false
        Warning: The backend of planner and coder cannot be reached
        Error: The logs cannot be written: read-only file system
        Warning: The folder /home/me/project is not watched
        Notice: planner waits for your answer (1 question more) [mainstay agent answer planner a1 VALUE]
        Notice: planner is stopped [mainstay agent start planner]
        Notice: The connection is closed since 11:59 [mainstay reconnect]
        Notice: planner is starting since 11:58
        Ok: All is well"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn given_up_child_is_reset_or_started_as_its_next_step_says() {
    let command = |name: &str, is_unrecoverable| {
        let child = ChildFacts { is_unrecoverable, ..child(name, ChildCondition::GivenUp) };
        let mut facts = VerdictFacts::default();
        match name {
            "backend" => facts.backend = Some(child),
            _ => facts.agents.extend([child, self::child("other", ChildCondition::GivenUp)]),
        }
        verdict(&facts).action.unwrap().command()
    };
    assert_eq!(command("planner", false), "mainstay agent reset planner");
    assert_eq!(command("planner", true), "mainstay agent start planner");
    assert_eq!(command("backend", false), "mainstay backend reset");
    assert_eq!(command("backend", true), "mainstay backend start");
}

#[test]
fn start_of_the_backend_says_what_it_waits_for() {
    let line = format!("Uvicorn running on {}", "x".repeat(200));
    let backend = ChildFacts {
        awaits: Some("it prints \"listening on {url}\"".to_owned()),
        last_line: Some(line.clone()),
        ..child("backend", ChildCondition::Starting)
    };
    let facts = VerdictFacts { backend: Some(backend), ..VerdictFacts::default() };
    let expected = format!(
        "The backend is starting since 11:58: it is ready when it prints \"listening on {{url}}\"; \
         its last line: {}…",
        &line[..100]
    );
    assert_eq!(verdict(&facts).text, expected);
}

#[test]
fn stop_without_running_actors_names_none() {
    let stopping = Some(StoppingFacts { since: at("11:59:58"), stopping: Vec::new() });
    let facts = VerdictFacts { stopping, ..VerdictFacts::default() };
    assert_eq!(verdict(&facts).text, "Mainstay is stopping since 11:59");
}

#[test]
fn worse_of_two_things_is_named() {
    for (index, worse) in CHANGES.iter().enumerate() {
        for better in &CHANGES[index + 1..] {
            let (mut alone, mut both) = (VerdictFacts::default(), VerdictFacts::default());
            worse(&mut alone);
            better(&mut both);
            // Of the backend and of the connection there is one only: the worse state takes the place of the better one.
            worse(&mut both);
            let (alone, both) = (verdict(&alone), verdict(&both));
            assert_eq!(
                std::mem::discriminant(&alone.finding),
                std::mem::discriminant(&both.finding),
                "{} and not {}",
                alone.text,
                both.text
            );
        }
    }
}

#[test]
fn requests_that_wait_for_no_backend_are_not_named() {
    let mut facts = VerdictFacts { requests_waiting: 1, ..VerdictFacts::default() };
    assert_eq!((verdict(&facts).text.as_str(), verdict(&facts).requests_waiting), ("All is well", 0));
    facts.outage = Some(OutageFacts { since: at("11:02:00"), next_probe_at: None });
    assert_eq!(verdict(&facts).text, "The backend is away since 11:02; 1 request waits");
    facts.outage =
        Some(OutageFacts { since: WallTime("2026-02-28T23:59:59Z".parse().unwrap()), next_probe_at: None });
    assert_eq!(verdict(&facts).text, "The backend is away since 2026-02-28 23:59; 1 request waits");
}

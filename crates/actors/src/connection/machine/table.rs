//! The transition table and the diagram of docs/connection-table.md: both are what real machines do, and the file must
//! say the same.
//!
//! Each row is an event that was put to a machine in that state. Where the answer hangs on more than the state, machines
//! are asked that differ in it, and the row says on what.

mod questions;
mod rows;
mod subjects;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use expect_test::expect_file;

use self::rows::{Outcome, Row, Section, section};
use super::*;

const HEAD: &str = "\
# The connection's transitions

Generated from the code: a test puts every event to machines in every state and compares this file with what they do. After
a change, `UPDATE_EXPECT=1 cargo test -p mainstay-actors --lib connection::machine::table` writes it anew. What the words
mean stands in [connection.md](connection.md).

- **Attempts** counts the dials since somebody asked or since the last connection proved stable; probes are not counted.
- **Record** writes the change of state, attempt or next attempt into the journal.
- A fault is *final* if it means \"do not come back\"; all others lead to another attempt.
- *Older* events are of a dial or socket before the latest one. *Late* is more than 5 s after the time that was waited for.
  *Stable*: by that the peer has been seen alive for `stable_after`.
- Signs of life put off the next ping also where they change nothing that these tables tell.

## As a diagram

Without what leads back to where it came from, and without the conditions: the tables have both.

";

/// The state's name in the diagram, which does not tell everything apart.
fn node(state: &str) -> &'static str {
    match state {
        "disconnected" | "disconnected, closing" => "disconnected",
        "connecting" => "connecting",
        "connected" | "connected, pinged" | "connected, doubted" => "connected",
        "reconnecting, waiting" => "waiting",
        "reconnecting, dialling" => "dialling",
        "failed" => "failed",
        "failed, probe planned" => "planned",
        "failed, probing" => "probing",
        other => panic!("{other} has no place in the diagram"),
    }
}

/// Whether what an event tells can come about there: a machine answers in any case.
fn is_possible(event: &str, from: &str) -> bool {
    match event {
        "DialFailed" => ["connecting", "dialling", "probing"].contains(&from),
        "Closed" | "SendFailed" => from == "connected",
        _ => true,
    }
}

fn diagram(rows: &[Row]) -> String {
    let mut edges: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for row in rows {
        let (from, to) = (node(row.state), node(row.outcome.next));
        let events = row.events.iter().filter_map(|title| title.split('`').nth(1));
        edges.entry((from, to)).or_default().extend(events.filter(|event| is_possible(event, from)));
    }
    let mut text = String::from("```mermaid\nstateDiagram-v2\n");
    text.push_str("    waiting: reconnecting, waiting\n    dialling: reconnecting, dialling\n");
    text.push_str("    planned: failed, probe planned\n    probing: failed, probing\n");
    text.push_str("    [*] --> disconnected\n");
    for ((from, to), events) in
        edges.into_iter().filter(|((from, to), events)| from != to && !events.is_empty())
    {
        let events: Vec<_> = events.into_iter().collect();
        writeln!(text, "    {from} --> {to}: {}", events.join(", ")).unwrap();
    }
    text.push_str("```\n");
    text
}

fn document() -> String {
    let (mut all, mut tables) = (Vec::new(), String::new());
    for subjects in subjects::states() {
        let Section { state, rows, ignored } = section(&subjects);
        write!(tables, "\n### {state}\n\n").unwrap();
        tables.push_str("| event | if | next state | attempts | actions |\n|---|---|---|---|---|\n");
        for Row { events, condition, outcome: Outcome { next, attempts, actions }, .. } in &rows {
            let next = if *next == state { "unchanged" } else { next };
            writeln!(tables, "| {} | {condition} | {next} | {attempts} | {actions} |", events.join(" · "))
                .unwrap();
        }
        writeln!(tables, "\nThese change nothing: {}.", ignored.join(" · ")).unwrap();
        all.extend(rows);
    }
    format!("{HEAD}{}\n## As tables\n{tables}", diagram(&all))
}

#[test]
fn the_transition_table_and_the_diagram_in_the_docs_are_what_the_machine_does() {
    expect_file!["../../../../../docs/connection-table.md"].assert_eq(&document());
}

#[test]
fn the_table_has_every_state_and_every_event() {
    let states: BTreeSet<_> =
        subjects::states().iter().map(|subjects| subjects::name(&subjects[0].machine)).collect();
    // One for each arm of `name`, which the compiler keeps complete.
    assert_eq!(states.len(), 11, "{states:?}");
    let connected =
        subjects::Subject::new(3, AfterFailed::Wait).then(Event::Connect).opened().then(Event::Woke);
    let asked: BTreeSet<_> = questions::questions()
        .iter()
        .filter_map(|question| (question.ask)(&mut connected.clone()))
        .map(kind)
        .collect();
    assert_eq!(asked.len(), 12, "{asked:?}");
}

/// Without a wildcard, so that a new event is not forgotten here.
fn kind(event: Event) -> u8 {
    match event {
        Event::Connect => 0,
        Event::Disconnect => 1,
        Event::Opened { .. } => 2,
        Event::DialFailed { .. } => 3,
        Event::Received { .. } => 4,
        Event::Moved { .. } => 5,
        Event::Ponged { .. } => 6,
        Event::Closed { .. } => 7,
        Event::SendFailed { .. } => 8,
        Event::Tick => 9,
        Event::BackendSeen => 10,
        Event::Woke => 11,
    }
}

//! Generates the transition table and the diagram of docs/conformance/connection-table.md from what machines do.
//!
//! Each row puts an event to a machine in that state. Where the result depends on more than the state, the table asks
//! several machines, and the row names the condition.

mod event_cases;
mod machine_cases;
mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use expect_test::expect_file;

use self::rows::{Outcome, StateSection, TransitionRow, section};
use crate::connection::machine::*;

const HEAD: &str = "\
# The connection's transitions

A test generates this page: it puts every event to machines in every state and writes down the result. After a change,
`UPDATE_EXPECT=1 cargo test -p mainstay-actors --lib connection::machine::tests::table` updates it. [The
connection](../connection.md) explains the words.

- **Attempts** counts the dials since a command or since the last stable connection. Probes are not counted, and neither
  are early dials on a hint, unless they outlast the delay.
- **Record** writes the change of state, attempt or next attempt into the journal.
- An error is *final* if it means \"do not come back\"; all others lead to another attempt.
- *Older* events belong to a dial or socket before the latest one. *Late* is more than 5 s after the due time. *Stable*
  means that the peer has been seen alive for `stable_after`.
- Activity postpones the next ping, also where these tables show no change.

## Diagram

The diagram leaves out the conditions, and transitions from a state to itself. The tables have both.

";

/// Returns the state's node in the diagram, which merges some states.
fn diagram_node(state: &str) -> &'static str {
    match state {
        "disconnected" | "disconnected, closing" => "disconnected",
        "connecting" => "connecting",
        "connected" | "connected, pinged" | "connected, verifying" => "connected",
        "reconnecting, waiting" => "waiting",
        "reconnecting, dialling" | "reconnecting, dialling early" => "dialling",
        "failed" => "failed",
        "failed, probe planned" => "planned",
        "failed, probing" => "probing",
        other => panic!("{other} has no place in the diagram"),
    }
}

/// Returns whether an event can occur in a state; a machine answers in any case.
fn is_possible(event: &str, from: &str) -> bool {
    match event {
        "DialFailed" => ["connecting", "dialling", "probing"].contains(&from),
        "Closed" | "SendFailed" => from == "connected",
        _ => true,
    }
}

fn diagram(rows: &[TransitionRow]) -> String {
    let mut edges: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for row in rows {
        let (from, to) = (diagram_node(row.state), diagram_node(row.outcome.next));
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
    for cases in machine_cases::states() {
        let StateSection { state, rows, ignored } = section(&cases);
        write!(tables, "\n### {state}\n\n").unwrap();
        tables.push_str("| event | if | next state | attempts | actions |\n|---|---|---|---|---|\n");
        for TransitionRow { events, condition, outcome: Outcome { next, attempts, actions }, .. } in &rows {
            let next = if *next == state { "unchanged" } else { next };
            writeln!(tables, "| {} | {condition} | {next} | {attempts} | {actions} |", events.join(" · "))
                .unwrap();
        }
        writeln!(tables, "\nThese change nothing: {}.", ignored.join(" · ")).unwrap();
        all.extend(rows);
    }
    format!("{HEAD}{}\n## Tables\n{tables}", diagram(&all))
}

#[test]
fn docs_table_and_diagram_match_the_machine() {
    expect_file!["../../../../../../docs/conformance/connection-table.md"].assert_eq(&document());
}

#[test]
fn docs_table_covers_every_state_and_event() {
    let states: BTreeSet<_> =
        machine_cases::states().iter().map(|cases| machine_cases::state_name(&cases[0].machine)).collect();
    // One for each arm of `name`, which the compiler keeps complete.
    assert_eq!(states.len(), 13, "{states:?}");
    let connected = machine_cases::MachineCase::new(3, AfterFailed::Wait)
        .then(MachineEvent::Connect)
        .opened()
        .then(MachineEvent::SystemResumed);
    let asked: BTreeSet<_> = event_cases::event_cases()
        .iter()
        .filter_map(|case| (case.make)(&mut connected.clone()))
        .map(event_index)
        .collect();
    assert_eq!(asked.len(), 15, "{asked:?}");
}

/// Without a wildcard, so that a new event is not forgotten here.
fn event_index(event: MachineEvent) -> u8 {
    match event {
        MachineEvent::Connect => 0,
        MachineEvent::Disconnect => 1,
        MachineEvent::Opened { .. } => 2,
        MachineEvent::DialFailed { .. } => 3,
        MachineEvent::FrameReceived { .. } => 4,
        MachineEvent::BytesMoved { .. } => 5,
        MachineEvent::PongReceived { .. } => 6,
        MachineEvent::Closed { .. } => 7,
        MachineEvent::SendFailed { .. } => 8,
        MachineEvent::Tick => 9,
        MachineEvent::BackendSeen => 10,
        MachineEvent::SystemResumed => 11,
        MachineEvent::BackendStarted => 12,
        MachineEvent::CredentialsChanged => 13,
        MachineEvent::NetworkChanged => 14,
    }
}

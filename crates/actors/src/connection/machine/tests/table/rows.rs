//! Computes the rows of the table.

use std::collections::{BTreeMap, BTreeSet};

use super::event_cases::{EventCase, event_cases};
use super::machine_cases::{CaseCondition, MachineCase, state_name};
use super::*;

/// The time at which each event comes, unless it matters: no timer is due.
const EVENT_DELAY: Duration = Duration::from_millis(500);

/// The result of an event.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Outcome {
    pub(super) next: &'static str,
    pub(super) attempts: String,
    pub(super) actions: String,
}

fn outcome(case: &MachineCase, make: fn(&mut MachineCase) -> Option<MachineEvent>) -> Option<Outcome> {
    let mut case = case.clone().after(EVENT_DELAY);
    let event = make(&mut case)?;
    let before = (state_name(&case.machine), case.machine.attempts, case.machine.generation);
    let actions = case.apply(event);
    let (next, attempts) = (state_name(&case.machine), case.machine.attempts);
    let attempts = match attempts {
        same if same == before.1 => String::new(),
        next if next == before.1 + 1 && before.1 > 0 => "+ 1".to_owned(),
        other => other.to_string(),
    };
    let actions: Vec<_> = actions.iter().map(|action| text(action, before.2)).collect();
    Some(Outcome { next, attempts, actions: actions.join(", ") })
}

fn text(action: &MachineAction, latest: u64) -> String {
    let of = |generation: u64| if generation < latest { " the older one" } else { "" };
    match action {
        MachineAction::Changed(_) => "record".to_owned(),
        MachineAction::Dial { .. } => "dial".to_owned(),
        MachineAction::Drop { generation } => format!("drop{}", of(*generation)),
        MachineAction::SendCloseCode { code, .. } => format!("send close code ({code})"),
        MachineAction::CloseGracefully { .. } => "close gracefully".to_owned(),
        MachineAction::SendPing { .. } => "ping".to_owned(),
        MachineAction::Resume { .. } => "resume".to_owned(),
        MachineAction::FlushOutbound { .. } => "flush".to_owned(),
    }
}

/// A line of the table.
#[derive(Debug)]
pub(super) struct TransitionRow {
    pub(super) state: &'static str,
    pub(super) events: Vec<&'static str>,
    /// The condition beside the state.
    pub(super) condition: String,
    pub(super) outcome: Outcome,
}

/// The rows of one state.
pub(super) struct StateSection {
    pub(super) state: &'static str,
    pub(super) rows: Vec<TransitionRow>,
    /// The events that change nothing.
    pub(super) ignored: Vec<String>,
}

/// Returns the rows of the state that all `cases` are in.
pub(super) fn section(cases: &[MachineCase]) -> StateSection {
    let state = state_name(&cases[0].machine);
    let nothing = Outcome { next: state, attempts: String::new(), actions: String::new() };
    let (mut rows, mut ignored) = (Vec::<TransitionRow>::new(), Vec::new());
    for EventCase { title, make } in event_cases() {
        let mut outcomes: BTreeMap<Outcome, Vec<&MachineCase>> = BTreeMap::new();
        for case in cases {
            assert_eq!(state_name(&case.machine), state, "all of these are to be in one state");
            if let Some(outcome) = outcome(case, make) {
                outcomes.entry(outcome).or_default().push(case);
            }
        }
        let is_one = outcomes.len() == 1;
        for (outcome, those) in outcomes {
            let texts = if is_one { vec![String::new()] } else { conditions(&those, cases, 0) };
            for condition in texts {
                if outcome == nothing {
                    let of = if condition.is_empty() { "" } else { " if " };
                    ignored.push(format!("{title}{of}{condition}"));
                    continue;
                }
                let same = rows.iter_mut().find(|row| row.outcome == outcome && row.condition == condition);
                match same {
                    Some(row) => row.events.push(title),
                    None => rows.push(TransitionRow {
                        state,
                        events: vec![title],
                        condition,
                        outcome: outcome.clone(),
                    }),
                }
            }
        }
    }
    StateSection { state, rows, ignored }
}

/// Returns the conditions that select `those` from `all`: one text, or several if no single one selects exactly
/// these. They are then split by the condition at `split`, and so on.
fn conditions(those: &[&MachineCase], all: &[MachineCase], split: usize) -> Vec<String> {
    let column = |cases: &[&MachineCase], index: usize| {
        cases.iter().map(|case| case.conditions[index]).collect::<BTreeSet<_>>()
    };
    let all_cases: Vec<_> = all.iter().collect();
    let here: Vec<_> = (0..all[0].conditions.len()).map(|index| column(those, index)).collect();
    if here.iter().map(BTreeSet::len).product::<usize>() != those.len() {
        let part = |condition: &CaseCondition| {
            let is_in = |case: &&&MachineCase| case.conditions[split] == *condition;
            conditions(&those.iter().filter(is_in).copied().collect::<Vec<_>>(), all, split + 1)
        };
        return here[split].iter().flat_map(part).collect();
    }
    let differing = here.into_iter().enumerate().filter(|(index, here)| *here != column(&all_cases, *index));
    let texts: Vec<_> = differing.flat_map(|(_, here)| here).map(CaseCondition::text).collect();
    vec![texts.join(", ")]
}

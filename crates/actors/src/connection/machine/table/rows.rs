//! What the events lead to, row by row.

use std::collections::{BTreeMap, BTreeSet};

use super::event_cases::{EventCase, event_cases};
use super::machine_cases::{CaseCondition, MachineCase, state_name};
use super::*;

/// When each machine is asked, unless time matters: nothing that it waits for is due.
const EVENT_DELAY: Duration = Duration::from_millis(500);

/// What an event led to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Outcome {
    pub(super) next: &'static str,
    pub(super) attempts: String,
    pub(super) actions: String,
}

fn outcome(subject: &MachineCase, ask: fn(&mut MachineCase) -> Option<MachineEvent>) -> Option<Outcome> {
    let mut subject = subject.clone().after(EVENT_DELAY);
    let event = ask(&mut subject)?;
    let before = (state_name(&subject.machine), subject.machine.attempts, subject.machine.generation);
    let actions = subject.apply(event);
    let (next, attempts) = (state_name(&subject.machine), subject.machine.attempts);
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
        MachineAction::SendCloseCode { code, .. } => format!("say why ({code})"),
        MachineAction::CloseGracefully { .. } => "close gracefully".to_owned(),
        MachineAction::SendPing { .. } => "ping".to_owned(),
        MachineAction::Resume { .. } => "resume".to_owned(),
        MachineAction::FlushOutbound { .. } => "flush".to_owned(),
    }
}

/// One line of the table.
#[derive(Debug)]
pub(super) struct TransitionRow {
    pub(super) state: &'static str,
    pub(super) events: Vec<&'static str>,
    /// What else it hangs on.
    pub(super) condition: String,
    pub(super) outcome: Outcome,
}

/// What is told of one state.
pub(super) struct StateSection {
    pub(super) state: &'static str,
    pub(super) rows: Vec<TransitionRow>,
    /// The events that change nothing.
    pub(super) ignored: Vec<String>,
}

/// What is told of the state that all of `subjects` are in.
pub(super) fn section(subjects: &[MachineCase]) -> StateSection {
    let state = state_name(&subjects[0].machine);
    let nothing = Outcome { next: state, attempts: String::new(), actions: String::new() };
    let (mut rows, mut ignored) = (Vec::<TransitionRow>::new(), Vec::new());
    for EventCase { title, make: ask } in event_cases() {
        let mut outcomes: BTreeMap<Outcome, Vec<&MachineCase>> = BTreeMap::new();
        for subject in subjects {
            assert_eq!(state_name(&subject.machine), state, "all of these are to be in one state");
            if let Some(outcome) = outcome(subject, ask) {
                outcomes.entry(outcome).or_default().push(subject);
            }
        }
        let is_one = outcomes.len() == 1;
        for (outcome, those) in outcomes {
            let told = if is_one { vec![String::new()] } else { conditions(&those, subjects, 0) };
            for condition in told {
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

/// What `those` have in common that sets them apart from the rest of `all`: one text, or several where no single one
/// holds for these and for no other. They are then told apart by the condition at `split`, and by the next.
fn conditions(those: &[&MachineCase], all: &[MachineCase], split: usize) -> Vec<String> {
    let column = |subjects: &[&MachineCase], index: usize| {
        subjects.iter().map(|subject| subject.conditions[index]).collect::<BTreeSet<_>>()
    };
    let everyone: Vec<_> = all.iter().collect();
    let here: Vec<_> = (0..all[0].conditions.len()).map(|index| column(those, index)).collect();
    if here.iter().map(BTreeSet::len).product::<usize>() != those.len() {
        let part = |condition: &CaseCondition| {
            let is_in = |subject: &&&MachineCase| subject.conditions[split] == *condition;
            conditions(&those.iter().filter(is_in).copied().collect::<Vec<_>>(), all, split + 1)
        };
        return here[split].iter().flat_map(part).collect();
    }
    let differing = here.into_iter().enumerate().filter(|(index, here)| *here != column(&everyone, *index));
    let told: Vec<_> = differing.flat_map(|(_, here)| here).map(CaseCondition::text).collect();
    vec![told.join(", ")]
}

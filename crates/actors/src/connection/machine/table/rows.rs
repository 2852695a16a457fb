//! What the events lead to, row by row.

use std::collections::{BTreeMap, BTreeSet};

use super::questions::{Question, questions};
use super::subjects::{Condition, Subject, name};
use super::*;

/// When each machine is asked, unless time matters: nothing that it waits for is due.
const ASKED_AFTER: Duration = Duration::from_millis(500);

/// What an event led to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Outcome {
    pub(super) next: &'static str,
    pub(super) attempts: String,
    pub(super) actions: String,
}

fn outcome(subject: &Subject, ask: fn(&mut Subject) -> Option<Event>) -> Option<Outcome> {
    let mut subject = subject.clone().after(ASKED_AFTER);
    let event = ask(&mut subject)?;
    let before = (name(&subject.machine), subject.machine.attempts, subject.machine.generation);
    let actions = subject.put(event);
    let (next, attempts) = (name(&subject.machine), subject.machine.attempts);
    let attempts = match attempts {
        same if same == before.1 => String::new(),
        next if next == before.1 + 1 && before.1 > 0 => "+ 1".to_owned(),
        other => other.to_string(),
    };
    let actions: Vec<_> = actions.iter().map(|action| text(action, before.2)).collect();
    Some(Outcome { next, attempts, actions: actions.join(", ") })
}

fn text(action: &Action, latest: u64) -> String {
    let of = |generation: u64| if generation < latest { " the older one" } else { "" };
    match action {
        Action::Changed(_) => "record".to_owned(),
        Action::Dial { .. } => "dial".to_owned(),
        Action::Drop { generation } => format!("drop{}", of(*generation)),
        Action::SayWhy { code, .. } => format!("say why ({code})"),
        Action::CloseGracefully { .. } => "close gracefully".to_owned(),
        Action::SendPing { .. } => "ping".to_owned(),
        Action::Resume { .. } => "resume".to_owned(),
        Action::FlushOutbound { .. } => "flush".to_owned(),
    }
}

/// One line of the table.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) state: &'static str,
    pub(super) events: Vec<&'static str>,
    /// What else it hangs on.
    pub(super) condition: String,
    pub(super) outcome: Outcome,
}

/// What is told of one state.
pub(super) struct Section {
    pub(super) state: &'static str,
    pub(super) rows: Vec<Row>,
    /// The events that change nothing.
    pub(super) ignored: Vec<String>,
}

/// What is told of the state that all of `subjects` are in.
pub(super) fn section(subjects: &[Subject]) -> Section {
    let state = name(&subjects[0].machine);
    let nothing = Outcome { next: state, attempts: String::new(), actions: String::new() };
    let (mut rows, mut ignored) = (Vec::<Row>::new(), Vec::new());
    for Question { title, ask } in questions() {
        let mut outcomes: BTreeMap<Outcome, Vec<&Subject>> = BTreeMap::new();
        for subject in subjects {
            assert_eq!(name(&subject.machine), state, "all of these are to be in one state");
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
                    None => {
                        rows.push(Row { state, events: vec![title], condition, outcome: outcome.clone() })
                    }
                }
            }
        }
    }
    Section { state, rows, ignored }
}

/// What `those` have in common that sets them apart from the rest of `all`: one text, or several where no single one
/// holds for these and for no other. They are then told apart by the condition at `split`, and by the next.
fn conditions(those: &[&Subject], all: &[Subject], split: usize) -> Vec<String> {
    let column = |subjects: &[&Subject], index: usize| {
        subjects.iter().map(|subject| subject.conditions[index]).collect::<BTreeSet<_>>()
    };
    let everyone: Vec<_> = all.iter().collect();
    let here: Vec<_> = (0..all[0].conditions.len()).map(|index| column(those, index)).collect();
    if here.iter().map(BTreeSet::len).product::<usize>() != those.len() {
        let part = |condition: &Condition| {
            let is_in = |subject: &&&Subject| subject.conditions[split] == *condition;
            conditions(&those.iter().filter(is_in).copied().collect::<Vec<_>>(), all, split + 1)
        };
        return here[split].iter().flat_map(part).collect();
    }
    let differing = here.into_iter().enumerate().filter(|(index, here)| *here != column(&everyone, *index));
    let told: Vec<_> = differing.flat_map(|(_, here)| here).map(Condition::text).collect();
    vec![told.join(", ")]
}

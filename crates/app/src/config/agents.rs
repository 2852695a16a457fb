//! What must hold among the agents of a file, and between the keys of one.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use toml::de::DeTable;

use super::choice::Driver;
use super::fault::{Fault, item, member};
use super::rule::quantity::choice;
use super::rule::text::agent_id;

/// The most agents of one runtime.
pub(crate) const AGENTS_MAX: usize = 256;

/// Agents without an id, with the id of another, or without the program that their driver starts.
pub(crate) fn faults(text: &str, document: &DeTable<'_>) -> Vec<Fault> {
    let agents = document.get("agent").and_then(|agents| agents.get_ref().as_array());
    let mut owners = BTreeMap::new();
    let mut faults = Vec::new();
    for (index, agent) in agents.into_iter().flat_map(|agents| agents.iter()).take(AGENTS_MAX).enumerate() {
        let Some(table) = agent.get_ref().as_table() else {
            continue;
        };
        let found = [id_fault(text, table, &mut owners), command_fault(table)];
        let step = format!("{}{}", member("agent"), item(index));
        faults.extend(found.into_iter().flatten().map(|fault| fault.within(&step, agent.span().start)));
    }
    faults
}

/// `owners` has the line of each id so far.
fn id_fault(text: &str, agent: &DeTable<'_>, owners: &mut BTreeMap<String, usize>) -> Option<Fault> {
    let Some(value) = agent.get("id") else {
        return Some(Fault::new("needs an id of its own, as in id = \"planner\""));
    };
    let at = value.span().start;
    let line = 1 + text.get(..at).map_or(0, |before| before.matches('\n').count());
    match owners.entry(agent_id(value).ok()?) {
        Entry::Vacant(free) => {
            free.insert(line);
            None
        }
        Entry::Occupied(owner) => {
            let first = owner.get();
            let predicate =
                format!("on line {line} repeats that of line {first}; every agent needs an id of its own");
            Some(Fault::new(predicate).within(&member("id"), at))
        }
    }
}

fn command_fault(agent: &DeTable<'_>) -> Option<Fault> {
    let driver = agent.get("driver")?;
    let command = agent.get("command");
    // A command of the wrong type has its fault already.
    let absent =
        command.is_none_or(|command| command.get_ref().as_array().is_some_and(|words| words.is_empty()));
    if choice::<Driver>(driver).ok()? == Driver::Http || !absent {
        return None;
    }
    let predicate = "must name the program that this driver starts, as in [\"planner\", \"--stdio\"]";
    Some(Fault::new(predicate).within(&member("command"), command.unwrap_or(driver).span().start))
}

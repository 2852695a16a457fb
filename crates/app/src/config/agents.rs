//! Checks the rules among the agents of a file and between the keys of one, and reads one agent by itself.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde_json::{Value, json};
use toml::de::DeTable;

use super::choice::DriverKind;
use super::error::{ConfigError, ConfigProblem};
use super::fault::{ConfigFault, index_step, key_step};
use super::parser::quantity::choice;
use super::parser::text::agent_id;
use super::schema::{AgentConfig, AgentsConfig};
use super::table::TableReader;
use super::{ConfigSource, FILE_BYTES_MAX, syntax_error, too_large};

/// The most agents of one file.
pub const AGENTS_MAX: usize = 10_000;

/// The path of an agent that is read by itself.
const SINGLE_AGENT_KEY: &str = "agent[0]";

impl AgentConfig {
    /// Reads one agent, an object with the keys of an `[[agent]]` block. The keys of `[agents]` that
    /// it does not set have the values of `usual`, which counts for the rules among keys.
    ///
    /// # Errors
    /// Each problem of it, with its key and without a line.
    pub fn from_json(block: &Value, usual: &AgentsConfig) -> Result<Self, ConfigError> {
        let whole = |message: &str| ConfigError::new(vec![ConfigProblem::whole(message)]);
        if !block.is_object() {
            return Err(whole("an agent must be an object with the keys of an [[agent]] block"));
        }
        if let Some(step) = path_to_null(block) {
            let fault = ConfigFault::new("must not be null; leave it out for its default").within(&step, 0);
            return Err(whole(&fault.message()));
        }
        let text = toml::to_string(&json!({ "agent": [block] }))
            .map_err(|error| whole(&format!("an agent must be what TOML can hold: {error}")))?;
        if text.len() > FILE_BYTES_MAX {
            return Err(ConfigError::new(vec![too_large()]));
        }
        let document = DeTable::parse(&text).map_err(|error| syntax_error(&text, &error))?;
        let document = document.get_ref();
        let mut root = TableReader::new(document);
        let base = Self { supervision: usual.clone().into(), ..Self::default() };
        let agent = root.sections(&base, 1).pop();
        let mut found = root.finish();
        found.extend(find_faults(&text, ConfigSource::Code, document));
        match agent {
            Some(agent) if found.is_empty() => Ok(agent),
            _ => Err(ConfigError::new(
                ConfigProblem::locate(&text, found).into_iter().map(without_agent_key).collect(),
            )),
        }
    }
}

/// Returns the path of the first null in a value: TOML has none.
fn path_to_null(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, value)| Some(format!("{}{}", index_step(index), path_to_null(value)?))),
        Value::Object(keys) => {
            keys.iter().find_map(|(key, value)| Some(format!("{}{}", key_step(key), path_to_null(value)?)))
        }
        _ => None,
    }
}

/// Returns the single `[[agent]]` block of a file, as [`AgentConfig::from_json`] takes it. Values are not checked.
#[cfg(feature = "cli")]
pub(crate) fn parse_agent_block(text: &str) -> Result<Value, ConfigError> {
    let table: toml::Table = toml::from_str(text).map_err(|error| syntax_error(text, &error))?;
    let mut agents = match table.get("agent") {
        Some(toml::Value::Array(agents)) if table.len() == 1 => agents.iter(),
        _ => [].iter(),
    };
    let block = match (agents.next(), agents.next()) {
        (Some(block @ toml::Value::Table(_)), None) => serde_json::to_value(block).ok(),
        _ => None,
    };
    let wrong = || {
        ConfigProblem::whole("must hold one agent and nothing else: a line [[agent]] and its keys below it")
    };
    block.ok_or_else(|| ConfigError::new(vec![wrong()]))
}

/// Removes the array's name from a problem of a single agent.
fn without_agent_key(problem: ConfigProblem) -> ConfigProblem {
    let key = problem.key.strip_prefix(SINGLE_AGENT_KEY).map(|key| key.trim_start_matches('.'));
    let message =
        problem.message.replace(&format!("\"{SINGLE_AGENT_KEY}."), "\"").replace(SINGLE_AGENT_KEY, "agent");
    ConfigProblem { key: key.unwrap_or_default().to_owned(), ..ConfigProblem::whole(message) }
}

/// Returns the faults of agents: a missing or repeated id, a missing program, or one that the driver does not start.
/// A readiness or sign of life that the driver does not know is a fault as well.
pub(crate) fn find_faults(text: &str, source: ConfigSource, document: &DeTable<'_>) -> Vec<ConfigFault> {
    let agents = document.get("agent").and_then(|agents| agents.get_ref().as_array());
    let lines = (source == ConfigSource::File).then(|| LineIndex::new(text));
    let mut owners = BTreeMap::new();
    let mut faults = Vec::new();
    for (index, agent) in agents.into_iter().flat_map(|agents| agents.iter()).take(AGENTS_MAX).enumerate() {
        let Some(table) = agent.get_ref().as_table() else {
            continue;
        };
        let found = [
            id_fault(lines.as_ref(), index, table, &mut owners),
            command_fault(table),
            ready_fault(table),
            program_fault(table),
            health_fault(table),
        ];
        let step = format!("{}{}", key_step("agent"), index_step(index));
        faults.extend(found.into_iter().flatten().map(|fault| fault.within(&step, agent.span().start)));
    }
    faults
}

/// The lines of a text, found by binary search.
struct LineIndex(Vec<usize>);

impl LineIndex {
    fn new(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at).collect())
    }

    /// Returns the line of a byte, counted from 1.
    fn line(&self, at: usize) -> usize {
        1 + self.0.partition_point(|end| *end < at)
    }
}

/// Returns the fault of an agent's id, if it has one. `owners` has the place of each id so far: its line in a file, else
/// its index.
fn id_fault(
    lines: Option<&LineIndex>,
    index: usize,
    agent: &DeTable<'_>,
    owners: &mut BTreeMap<String, usize>,
) -> Option<ConfigFault> {
    let Some(value) = agent.get("id") else {
        return Some(ConfigFault::new("needs an id of its own, as in id = \"planner\""));
    };
    let at = value.span().start;
    let place = lines.map_or(index, |lines| lines.line(at));
    match owners.entry(agent_id(value).ok()?) {
        Entry::Vacant(free) => {
            free.insert(place);
            None
        }
        Entry::Occupied(owner) => {
            let first = owner.get();
            let repeats = match lines {
                Some(_) => format!("on line {place} repeats that of line {first}"),
                None => format!("repeats that of agent[{first}]"),
            };
            let predicate = format!("{repeats}; every agent needs an id of its own");
            Some(ConfigFault::new(predicate).within(&key_step("id"), at))
        }
    }
}

fn command_fault(agent: &DeTable<'_>) -> Option<ConfigFault> {
    let driver = agent.get("driver")?;
    let command = agent.get("command");
    // A command of the wrong type has its fault already.
    let absent =
        command.is_none_or(|command| command.get_ref().as_array().is_some_and(|words| words.is_empty()));
    if choice::<DriverKind>(driver).ok()? == DriverKind::Http || !absent {
        return None;
    }
    let predicate = "must name the program that this driver starts, as in [\"planner\", \"--stdio\"]";
    Some(ConfigFault::new(predicate).within(&key_step("command"), command.unwrap_or(driver).span().start))
}

/// Returns the fault of a program that no driver starts: most likely the driver is missing.
fn program_fault(agent: &DeTable<'_>) -> Option<ConfigFault> {
    let driver =
        agent.get("driver").map_or(Some(DriverKind::Http), |driver| choice::<DriverKind>(driver).ok())?;
    let command = agent.get("command")?;
    let is_named = command.get_ref().as_array().is_some_and(|words| !words.is_empty());
    if driver != DriverKind::Http || !is_named {
        return None;
    }
    let predicate = "is for an agent that is a program of its own: say so by driver = \"process\" or driver = \"acp\", or \
                     take it out";
    Some(ConfigFault::new(predicate).within(&key_step("command"), command.span().start))
}

/// Returns the fault of a sign of life that the driver has not.
fn health_fault(agent: &DeTable<'_>) -> Option<ConfigFault> {
    let health = agent.get("health")?;
    let driver =
        agent.get("driver").map_or(Some(DriverKind::Http), |driver| choice::<DriverKind>(driver).ok())?;
    let predicate = match (driver, health.get_ref().as_str()?) {
        (_, "none") | (DriverKind::Process, _) => return None,
        (DriverKind::Http, _) => {
            "is for an agent that is a program of its own; an agent behind the backend has its health there"
        }
        (DriverKind::Acp, "ping") => "must not be \"ping\" where the driver is \"acp\", which has no ping",
        (DriverKind::Acp, _) => return None,
    };
    Some(ConfigFault::new(predicate).within(&key_step("health"), health.span().start))
}

/// Returns the fault of `stdout:` for ACP, whose standard output is the protocol.
fn ready_fault(agent: &DeTable<'_>) -> Option<ConfigFault> {
    let ready = agent.get("ready")?;
    let is_on_stdout = ready.get_ref().as_str().is_some_and(|ready| ready.starts_with("stdout:"));
    if choice::<DriverKind>(agent.get("driver")?).ok()? != DriverKind::Acp || !is_on_stdout {
        return None;
    }
    let predicate =
        "must not wait for a line where the driver is \"acp\", which sees by itself when the agent is ready";
    Some(ConfigFault::new(predicate).within(&key_step("ready"), ready.span().start))
}

//! The agents with their condition and memory. Plain data; time is passed in.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

/// An agent remembers this many of the last messages.
pub(super) const MESSAGES_MAX: usize = 100;
/// A message takes at most this many bytes as compact JSON.
pub(super) const MESSAGE_BYTES_MAX: usize = 4 * 1024;
/// An agent's memory takes at most this many bytes as compact JSON. It is less than a request's body may
/// have, so what was read as a state can always be written back.
pub(super) const MEMORY_BYTES_MAX: usize = 900 * 1024;
/// An error lists at most this many ids.
const LISTED_MAX: usize = 20;

/// The agents by id.
#[derive(Debug)]
pub(super) struct AgentStore {
    agents: BTreeMap<String, AgentRecord>,
    /// The ids as errors list them.
    known_ids: Arc<str>,
}

#[derive(Debug)]
struct AgentRecord {
    condition: AgentCondition,
    /// Rises with every crash and every restart: a request belongs to the life that it was sent to.
    generation: u64,
    since: Instant,
    error_count: u64,
    memory: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AgentCondition {
    Healthy,
    Failed,
    Hung,
}

/// The answer of `GET …/health`.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HealthBody {
    pub(super) id: String,
    pub(super) status: &'static str,
    /// Whole seconds since the start or the last restart; 0 while failed.
    pub(super) uptime: u64,
    pub(super) error_count: u64,
}

/// The reasons why an agent did not carry out a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum AgentError {
    /// There is no such agent.
    #[error("there is no agent {agent:?}; there is {known}")]
    Unknown { agent: String, known: Arc<str> },
    /// The agent crashed and has not been restarted.
    #[error("agent {agent:?} has crashed; restart it first")]
    Failed { agent: String },
    /// The agent gives no answer: wait until its condition changes, and ask again.
    #[error("agent {agent:?} hangs")]
    Hung { agent: String },
    /// The agent crashed or was restarted while the request waited.
    #[error("agent {agent:?} crashed or was restarted before it answered")]
    Lost { agent: String },
    /// A message or a state is too large.
    #[error("{what} is too large: {bytes} bytes of JSON, at most {max}")]
    TooLarge { what: &'static str, bytes: usize, max: usize },
}

impl AgentStore {
    /// Creates the agents: all healthy from `now` on, with empty memories.
    pub(super) fn new(ids: &[String], now: Instant) -> Self {
        Self {
            agents: ids.iter().map(|id| (id.clone(), AgentRecord::new(now))).collect(),
            known_ids: list_ids(ids),
        }
    }

    /// Returns the agent's generation.
    pub(super) fn generation(&self, id: &str) -> Result<u64, AgentError> {
        Ok(self.agent(id)?.generation)
    }

    pub(super) fn health(&self, id: &str, now: Instant) -> Result<HealthBody, AgentError> {
        let agent = self.agent(id)?;
        let (status, uptime) = match agent.condition {
            AgentCondition::Hung => return Err(AgentError::Hung { agent: id.to_owned() }),
            AgentCondition::Failed => ("failed", 0),
            AgentCondition::Healthy => ("healthy", now.saturating_duration_since(agent.since).as_secs()),
        };
        Ok(HealthBody { id: id.to_owned(), status, uptime, error_count: agent.error_count })
    }

    /// Returns the memory of a healthy agent.
    pub(super) fn state(&self, id: &str) -> Result<Value, AgentError> {
        self.agent(id)?.ensure_healthy(id)?;
        Ok(self.agent(id)?.memory.clone())
    }

    /// Replaces what a healthy agent remembers.
    pub(super) fn write_state(&mut self, id: &str, state: Value) -> Result<(), AgentError> {
        check_size("the state", &state, MEMORY_BYTES_MAX)?;
        let agent = self.agent_mut(id)?;
        agent.ensure_healthy(id)?;
        agent.memory = state;
        Ok(())
    }

    /// Lets a healthy agent remember one message, and says how many it has counted.
    pub(super) fn message(&mut self, id: &str, message: &Value) -> Result<u64, AgentError> {
        check_size("the message", message, MESSAGE_BYTES_MAX)?;
        let agent = self.agent_mut(id)?;
        agent.ensure_healthy(id)?;
        let (memory, count) = append_message(&agent.memory, message)?;
        agent.memory = memory;
        Ok(count)
    }

    /// Returns an agent's memory in any condition.
    pub(super) fn memory(&self, id: &str) -> Option<Value> {
        self.agents.get(id).map(|agent| agent.memory.clone())
    }

    /// Fails the agent: one error more, and its memory is gone. Says how many errors it has now.
    pub(super) fn crash(&mut self, id: &str, now: Instant) -> Result<u64, AgentError> {
        let agent = self.agent_mut(id)?;
        agent.error_count = agent.error_count.saturating_add(1);
        agent.restart_as(AgentCondition::Failed, now);
        Ok(agent.error_count)
    }

    /// Stops the agent from answering. It forgets nothing.
    pub(super) fn hang(&mut self, id: &str) -> Result<(), AgentError> {
        self.agent_mut(id)?.condition = AgentCondition::Hung;
        Ok(())
    }

    /// Makes the agent healthy and leaves its memory as it is.
    pub(super) fn heal(&mut self, id: &str) -> Result<(), AgentError> {
        self.agent_mut(id)?.condition = AgentCondition::Healthy;
        Ok(())
    }

    /// Makes the agent healthy, with an empty memory and its uptime from `now`. Its errors stay counted.
    pub(super) fn restart(&mut self, id: &str, now: Instant) -> Result<HealthBody, AgentError> {
        self.agent_mut(id)?.restart_as(AgentCondition::Healthy, now);
        self.health(id, now)
    }

    fn agent(&self, id: &str) -> Result<&AgentRecord, AgentError> {
        self.agents.get(id).ok_or_else(|| unknown_agent(id, &self.known_ids))
    }

    fn agent_mut(&mut self, id: &str) -> Result<&mut AgentRecord, AgentError> {
        self.agents.get_mut(id).ok_or_else(|| unknown_agent(id, &self.known_ids))
    }
}

fn unknown_agent(id: &str, known: &Arc<str>) -> AgentError {
    AgentError::Unknown { agent: id.chars().take(super::AGENT_ID_BYTES_MAX).collect(), known: known.clone() }
}

/// Lists the ids for a person.
fn list_ids(ids: &[String]) -> Arc<str> {
    let mut listed: Vec<&str> = ids.iter().map(String::as_str).take(LISTED_MAX).collect();
    match ids.len() {
        0 => listed.push("none"),
        all if all > LISTED_MAX => listed.push("…"),
        _ => {}
    }
    listed.join(", ").into()
}

impl AgentRecord {
    fn new(now: Instant) -> Self {
        Self {
            condition: AgentCondition::Healthy,
            generation: 1,
            since: now,
            error_count: 0,
            memory: empty_memory(),
        }
    }

    /// Starts the next life, which remembers nothing of the last.
    fn restart_as(&mut self, condition: AgentCondition, now: Instant) {
        self.condition = condition;
        self.generation += 1;
        self.since = now;
        self.memory = empty_memory();
    }

    fn ensure_healthy(&self, id: &str) -> Result<(), AgentError> {
        match self.condition {
            AgentCondition::Healthy => Ok(()),
            AgentCondition::Failed => Err(AgentError::Failed { agent: id.to_owned() }),
            AgentCondition::Hung => Err(AgentError::Hung { agent: id.to_owned() }),
        }
    }
}

/// Returns the initial memory of an agent.
fn empty_memory() -> Value {
    json!({ "messages": [], "count": 0 })
}

/// Returns the memory with one message more, and the new count. The oldest messages make room.
fn append_message(memory: &Value, message: &Value) -> Result<(Value, u64), AgentError> {
    let mut memory = to_object(memory);
    let count = memory.get("count").and_then(Value::as_u64).unwrap_or(0).saturating_add(1);
    let mut messages = match memory.remove("messages") {
        Some(Value::Array(messages)) => messages,
        _ => Vec::new(),
    };
    messages.push(message.clone());
    let rest = json_bytes(&json!(memory)) + r#","count":,"messages":[]"#.len() + 20;
    let lengths: Vec<usize> = messages.iter().map(|message| json_bytes(message) + 1).collect();
    let room = MEMORY_BYTES_MAX.saturating_sub(rest);
    let kept = count_fitting(&lengths, room);
    if kept == 0 {
        let bytes = rest + json_bytes(message);
        return Err(AgentError::TooLarge { what: "the agent's memory", bytes, max: MEMORY_BYTES_MAX });
    }
    messages.drain(..messages.len() - kept);
    memory.insert("messages".to_owned(), Value::Array(messages));
    memory.insert("count".to_owned(), count.into());
    Ok((Value::Object(memory), count))
}

/// Returns how many of the last lengths fit into `room`, at most [`MESSAGES_MAX`].
fn count_fitting(lengths: &[usize], room: usize) -> usize {
    let sums = lengths.iter().rev().scan(0_usize, |sum, length| {
        *sum = sum.saturating_add(*length);
        Some(*sum)
    });
    sums.take(MESSAGES_MAX).take_while(|sum| *sum <= room).count()
}

/// Returns the memory as an object: a state that is not one is kept under `value`.
fn to_object(memory: &Value) -> Map<String, Value> {
    match memory {
        Value::Object(object) => object.clone(),
        other => Map::from_iter([("value".to_owned(), other.clone())]),
    }
}

fn check_size(what: &'static str, value: &Value, max: usize) -> Result<(), AgentError> {
    match json_bytes(value) {
        bytes if bytes > max => Err(AgentError::TooLarge { what, bytes, max }),
        _ => Ok(()),
    }
}

/// Returns the length of a value as compact JSON.
fn json_bytes(value: &Value) -> usize {
    value.to_string().len()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn store() -> (AgentStore, Instant) {
        let now = Instant::now();
        (AgentStore::new(&["planner".to_owned(), "coder".to_owned()], now), now)
    }

    #[test]
    fn new_agent_is_healthy_and_has_no_messages() {
        let (book, now) = store();
        let health = book.health("planner", now + Duration::from_millis(2_900)).unwrap();
        assert_eq!(
            serde_json::to_value(health).unwrap(),
            json!({ "id": "planner", "status": "healthy", "uptime": 2, "errorCount": 0 })
        );
        assert_eq!(book.state("planner").unwrap(), json!({ "messages": [], "count": 0 }));
    }

    #[test]
    fn memory_keeps_last_100_messages_and_counts_all() {
        let (mut book, _) = store();
        for n in 0..150 {
            book.message("planner", &json!(n)).unwrap();
        }
        let state = book.state("planner").unwrap();
        assert_eq!(state["count"], 150);
        assert_eq!(state["messages"].as_array().unwrap().len(), 100);
        assert_eq!(state["messages"][0], 50);
    }

    #[test]
    fn restart_heals_resets_uptime_and_keeps_error_count() {
        let (mut book, now) = store();
        book.message("planner", &json!("hi")).unwrap();
        book.crash("planner", now).unwrap();
        assert_eq!(book.health("planner", now + Duration::from_secs(5)).unwrap().uptime, 0);
        let restart = now + Duration::from_secs(60);
        assert_eq!(book.restart("planner", restart).unwrap().error_count, 1);
        let health = book.health("planner", restart + Duration::from_secs(3)).unwrap();
        assert_eq!((health.status, health.uptime, health.error_count), ("healthy", 3, 1));
        assert_eq!(book.state("planner").unwrap()["count"], 0);
    }

    #[test]
    fn restart_empties_the_memory_of_a_healthy_agent_too() {
        let (mut book, now) = store();
        book.message("planner", &json!("hi")).unwrap();
        book.restart("planner", now).unwrap();
        assert_eq!(book.state("planner").unwrap()["count"], 0);
    }

    #[test]
    fn generation_changes_on_crash_and_restart_only() {
        let (mut book, now) = store();
        let first = book.generation("planner").unwrap();
        book.hang("planner").unwrap();
        book.heal("planner").unwrap();
        assert_eq!(book.generation("planner"), Ok(first));
        book.crash("planner", now).unwrap();
        let second = book.generation("planner").unwrap();
        book.restart("planner", now).unwrap();
        assert!(first < second && second < book.generation("planner").unwrap());
    }

    #[test]
    fn state_that_was_written_back_is_added_to() {
        let (mut book, _) = store();
        book.write_state("planner", json!({ "messages": ["old"], "count": 7, "mood": "calm" })).unwrap();
        assert_eq!(book.message("planner", &json!("new")), Ok(8));
        assert_eq!(
            book.state("planner").unwrap(),
            json!({ "messages": ["old", "new"], "count": 8, "mood": "calm" })
        );
    }

    #[test]
    fn state_of_any_json_survives_the_next_message() {
        for state in [json!(null), json!(42), json!("text"), json!([1, 2])] {
            let (mut book, _) = store();
            book.write_state("planner", state.clone()).unwrap();
            assert_eq!(book.state("planner").unwrap(), state);
            book.message("planner", &json!("hi")).unwrap();
            assert_eq!(
                book.state("planner").unwrap(),
                json!({ "value": state, "messages": ["hi"], "count": 1 })
            );
        }
    }

    #[test]
    fn fields_of_a_strange_type_are_replaced() {
        let (mut book, _) = store();
        book.write_state("planner", json!({ "messages": "none", "count": -3 })).unwrap();
        assert_eq!(book.message("planner", &json!("hi")), Ok(1));
        assert_eq!(book.state("planner").unwrap(), json!({ "messages": ["hi"], "count": 1 }));
    }

    #[test]
    fn too_large_message_or_state_is_refused_with_limit() {
        let (mut book, _) = store();
        let text = |bytes: usize| Value::String("x".repeat(bytes));
        assert!(book.message("planner", &text(MESSAGE_BYTES_MAX - 2)).is_ok());
        let refusal = book.message("planner", &text(MESSAGE_BYTES_MAX - 1)).unwrap_err();
        assert_eq!(refusal.to_string(), "the message is too large: 4097 bytes of JSON, at most 4096");
        assert!(book.write_state("planner", text(MEMORY_BYTES_MAX - 2)).is_ok());
        assert!(book.write_state("planner", text(MEMORY_BYTES_MAX - 1)).is_err());
    }

    #[test]
    fn memory_never_outgrows_what_can_be_written_back() {
        let (mut book, _) = store();
        let room = 10_000;
        let filler = "x".repeat(MEMORY_BYTES_MAX - room);
        book.write_state("planner", json!({ "filler": filler })).unwrap();
        let message = Value::String("y".repeat(MESSAGE_BYTES_MAX - 2));
        for n in 1..=10 {
            assert_eq!(book.message("planner", &message), Ok(n));
            let state = book.state("planner").unwrap();
            assert_eq!(state["messages"].as_array().unwrap().len() as u64, n.min(2));
            book.write_state("planner", state).unwrap();
        }
    }

    #[test]
    fn message_beyond_memory_limit_is_refused_unchanged() {
        let (mut book, _) = store();
        let full = Value::String("x".repeat(MEMORY_BYTES_MAX - 2));
        book.write_state("planner", full.clone()).unwrap();
        assert!(matches!(book.message("planner", &json!("hi")), Err(AgentError::TooLarge { .. })));
        assert_eq!(book.state("planner").unwrap(), full);
    }

    #[test]
    fn unknown_agent_is_refused_with_the_known_ones() {
        let (mut book, now) = store();
        let refusal = book.crash("nobody", now).unwrap_err();
        assert_eq!(refusal.to_string(), "there is no agent \"nobody\"; there is planner, coder");
        let empty = AgentStore::new(&[], now).generation("nobody").unwrap_err();
        assert_eq!(empty.to_string(), "there is no agent \"nobody\"; there is none");
    }
}

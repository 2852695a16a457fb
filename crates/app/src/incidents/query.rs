//! The incidents that are about something that a person names. Pure.

use mainstay_runtime::journal::{Cursor, Record};
use serde_json::Value;

use super::incident::Incident;
use crate::tree_place::short_path;

/// A thing that a person asks about: an incident, an actor, a request or a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IncidentQuery {
    /// The incident with this name, or the one with the event of this cursor: `3.17`.
    Incident(Cursor),
    /// The request with this id: `17`.
    Request(u64),
    /// The message to an agent: `planner:17`.
    Message {
        /// The agent's id.
        agent: String,
        /// The message's number.
        message_id: u64,
    },
    /// The actor of this path, or with this name: `root/queue`, `queue`, or an agent's id.
    Actor(String),
}

impl From<&str> for IncidentQuery {
    fn from(text: &str) -> Self {
        if let Ok(cursor) = text.parse() {
            return Self::Incident(cursor);
        }
        if let Ok(request) = text.parse() {
            return Self::Request(request);
        }
        if let Some((agent, number)) = text.rsplit_once(':')
            && let Ok(message_id) = number.parse()
        {
            return Self::Message { agent: agent.to_owned(), message_id };
        }
        Self::Actor(text.to_owned())
    }
}

impl IncidentQuery {
    /// Returns whether an incident is about this.
    #[must_use]
    pub fn matches(&self, incident: &Incident) -> bool {
        match self {
            Self::Incident(cursor) => incident.id == *cursor || incident.has_event(*cursor),
            Self::Request(request) => incident.requests.contains(request),
            Self::Message { agent, message_id } => incident
                .messages
                .iter()
                .any(|message| message.message_id == *message_id && is_named(&message.actor, agent)),
            // Each actor takes part in the stop of the runtime, which says nothing about one of them.
            Self::Actor(name) if incident.is_stop() => is_named(&incident.actor, name),
            Self::Actor(name) => incident.actors.iter().any(|actor| is_named(actor, name)),
        }
    }

    /// Returns whether an event is about this.
    #[must_use]
    pub fn names(&self, record: &Record) -> bool {
        let number = |field| record.fields.get(field).and_then(Value::as_u64);
        match self {
            Self::Incident(cursor) => record.cursor() == *cursor,
            Self::Request(request) => number("request_id") == Some(*request),
            Self::Message { agent, message_id } => {
                number("message_id") == Some(*message_id) && is_named(&record.actor, agent)
            }
            Self::Actor(name) => is_named(&record.actor, name),
        }
    }
}

/// Returns whether people call the actor at `path` by `name`.
fn is_named(path: &str, name: &str) -> bool {
    path == name || short_path(path) == name
}

//! The type of an incident.

use mainstay_runtime::journal::{Cursor, Event};
use serde::{Deserialize, Serialize};

use crate::events::RuntimeStopping;

/// Events that belong together: what failed first, what was decided about it, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Incident {
    /// The cursor of its first event, which is its name.
    pub id: Cursor,
    /// The first event and the end, as one sentence.
    pub title: String,
    /// The actor of the first event.
    pub actor: String,
    /// The time of the first event, RFC 3339 in UTC.
    pub started_at: String,
    /// The time of the event with which it ended; none while it lasts.
    pub ended_at: Option<String>,
    /// The time from its start to its end, or to its last event, in milliseconds.
    pub lasted_ms: u64,
    /// True if the run ended before it did.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_cut: bool,
    /// The policy behind the last decision, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The next step in plain words, while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_step: Option<String>,
    /// The actors of its events, in the order in which they came, at most 32.
    pub actors: Vec<String>,
    /// The ids of the requests that its events name, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<u64>,
    /// The messages that its events name, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<IncidentMessage>,
    /// The numbers of what its events report.
    pub totals: IncidentTotals,
    /// The last lines that the program printed, if it ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
    /// The events: the first 100 and the last 100.
    pub events: Vec<IncidentEvent>,
    /// The number of events between those.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub events_left_out: u64,
}

/// A message to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct IncidentMessage {
    /// The path of the agent's actor.
    pub actor: String,
    /// The message's number.
    pub message_id: u64,
}

/// The numbers of what the events of an incident report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(default)]
pub struct IncidentTotals {
    /// The ends of incarnations.
    pub exits: u32,
    /// The decisions of supervisors.
    pub decisions: u32,
    /// The restarts that were carried out.
    pub restarts: u32,
    /// The requests that waited for the backend, at most at one time.
    pub requests_held: u32,
    /// The requests that were sent again.
    pub requests_retried: u32,
    /// The requests that failed, or were refused by a full queue.
    pub requests_failed: u32,
    /// The messages that were delivered again.
    pub messages_redelivered: u32,
    /// The messages to agents that failed.
    pub messages_failed: u32,

    /// The requests and messages whose outcome is unknown. They count as failed as well.
    pub outcomes_unknown: u32,
    /// The messages to actors that were not handled to the end.
    pub dead_letters: u32,
}

/// An event of an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct IncidentEvent {
    /// The event's cursor.
    pub cursor: Cursor,
    /// The time, RFC 3339 in UTC.
    pub at: String,
    /// The actor's path.
    pub actor: String,
    /// The kind of event.
    pub kind: String,
    /// The event as one sentence.
    pub summary: String,
    /// True if it is a warning or an error.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_trouble: bool,
}

impl Incident {
    /// Returns whether it has ended.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.ended_at.is_some() || self.is_cut
    }

    /// Returns whether it is the stop of the runtime.
    #[must_use]
    pub fn is_stop(&self) -> bool {
        self.events.first().is_some_and(|event| event.kind == RuntimeStopping::KIND)
    }

    /// Returns whether it has the event at `cursor`, as far as its events are kept.
    #[must_use]
    pub fn has_event(&self, cursor: Cursor) -> bool {
        self.events.iter().any(|event| event.cursor == cursor)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

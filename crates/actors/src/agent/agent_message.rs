//! A message to an agent, and its id.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

/// Identifies a message to one agent. Ids count up over all runs of the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(pub u64);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A message to an agent, which gets an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentMessage {
    /// The message's id.
    pub id: MessageId,
    /// The body; sender and agent agree on its form.
    pub body: Value,
    /// The deadline for the delivery, in this process only; `None` for no limit.
    #[serde(skip)]
    pub deadline: Option<Instant>,
}

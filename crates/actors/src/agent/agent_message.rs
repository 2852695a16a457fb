//! A message to an agent, and what it is known by.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

/// What a letter is known by: counted up for each agent, over all runs of the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(pub u64);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One message to an agent, which is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentMessage {
    /// What it is known by.
    pub id: MessageId,
    /// What it says; what that may be is a matter between the sender and the agent.
    pub body: Value,
    /// Until when it may be handed over, in this process alone; `None`: whenever that is.
    #[serde(skip)]
    pub deadline: Option<Instant>,
}

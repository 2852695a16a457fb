//! A message to an agent, and its id.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::json::Json;

/// Identifies a message to one agent. Ids count up over all runs of the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(transparent)]
pub struct MessageId(pub u64);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The default of [`MessageLimits::timeout`]: agents think for a while.
pub const MESSAGE_TIMEOUT: Duration = Duration::from_secs(600);

/// The time limits of a message, once it is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageLimits {
    /// The longest silence of the agent. Its progress, its states and its questions break the silence, and the wait for a
    /// person's answer is none. Zero for no limit.
    pub timeout: Duration,
    /// The time by which the message must be answered; `None` for no limit.
    pub ends_at: Option<Instant>,
}

impl Default for MessageLimits {
    fn default() -> Self {
        Self { timeout: MESSAGE_TIMEOUT, ends_at: None }
    }
}

/// A message to an agent, which gets an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentMessage {
    /// The message's id.
    pub id: MessageId,
    /// The body; sender and agent agree on its form.
    pub body: Json,
    /// The deadline for the delivery, in this process only; `None` for no limit.
    #[serde(skip)]
    pub deadline: Option<Instant>,
    /// The limits from then on, in this process only.
    #[serde(skip)]
    pub limits: MessageLimits,
}

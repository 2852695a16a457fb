//! What an agent's actor writes into the journal.

use mainstay_runtime::journal::{Event, Level};
use serde::{Deserialize, Serialize};

use super::agent_message::MessageId;
use super::health::AgentStatus;
use crate::error::{Code, Error, Reason};

/// An agent's status has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentHealth {
    /// The status before.
    pub from: AgentStatus,
    /// The status after.
    pub to: AgentStatus,
    /// Checks missed in a row.
    pub misses: u32,
    /// What is wrong, if something is, for a person.
    pub reason: Option<String>,
    /// The same as an error.
    #[serde(default)]
    pub error: Option<Error>,
}

impl Event for AgentHealth {
    const KIND: &'static str = "agent_health";
    const LEVEL: Level = Level::Info;
}

/// An agent that lives makes no progress with what it is at work on, and is restarted for that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStuck {
    /// For how long it has made none.
    pub quiet_ms: u64,
    /// How long it may.
    pub progress_timeout_ms: u64,
    /// On how many requests it is at work.
    pub in_flight: usize,
}

impl Event for AgentStuck {
    const KIND: &'static str = "agent_stuck";
    const LEVEL: Level = Level::Warn;
}

/// The agent ended each time that it was given its state back, so it starts without it. The state is kept aside, in
/// the store of states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStateQuarantined {
    /// When it was read.
    pub read_at: String,
    /// How large it is, as JSON.
    pub bytes: usize,
}

impl Event for AgentStateQuarantined {
    const KIND: &'static str = "agent_state_set_aside";
    const LEVEL: Level = Level::Warn;
}

/// The agent's conversation could not be taken up again, and another one has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentSessionLost {
    /// What the agent knew it by.
    pub id: String,
    /// Why it could not.
    pub why: String,
}

impl Event for AgentSessionLost {
    const KIND: &'static str = "agent_session_lost";
    const LEVEL: Level = Level::Warn;
}

/// A letter was handed to the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageSent {
    /// Which letter.
    pub message_id: MessageId,
    /// How often that has been tried with this one.
    pub attempt: u32,
}

impl Event for MessageSent {
    const KIND: &'static str = "letter_sent";
    const LEVEL: Level = Level::Debug;
}

/// The agent has answered a letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageAnswered {
    /// Which letter.
    pub message_id: MessageId,
}

impl Event for MessageAnswered {
    const KIND: &'static str = "letter_answered";
    const LEVEL: Level = Level::Debug;
}

/// A letter has ended without an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageFailed {
    /// Which letter.
    pub message_id: MessageId,
    /// How often it was handed to the agent.
    pub attempts: u32,
    /// The error's code.
    pub code: Code,
    /// Why; `outcome_unknown` where the agent may have acted on it.
    pub reason: Reason,
}

impl MessageFailed {
    pub(super) fn new(letter: MessageId, attempts: u32, error: &Error) -> Self {
        Self { message_id: letter, attempts, code: error.code, reason: error.reason }
    }
}

impl Event for MessageFailed {
    const KIND: &'static str = "letter_failed";
    const LEVEL: Level = Level::Warn;
}

/// A letter waits again to be handed to the agent, as its sender allowed: its delivery broke off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRedelivered {
    /// Which letter.
    pub message_id: MessageId,
    /// How often it was handed to the agent so far.
    pub attempts: u32,
    /// How often it is at most.
    pub attempts_max: u32,
}

impl Event for MessageRedelivered {
    const KIND: &'static str = "letter_again";
    const LEVEL: Level = Level::Info;
}

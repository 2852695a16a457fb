//! The commands of an agent's actor.

use mainstay_runtime::{Message, Reply};
use tokio::time::Instant;

use super::agent_message::{MessageId, MessageLimits};
use super::driver::{AgentState, DriverError};
use super::health::Observation;
use super::pending_replies::MessageReply;
use super::recovery::Recovery;
use crate::error::Error;
use crate::json::Json;

/// A message as its sender submits it.
#[derive(Debug)]
pub struct SendRequest {
    /// The body.
    pub body: Json,
    /// True if it may be delivered again if the agent, its actor or the runtime ends during the delivery. Otherwise
    /// it ends as `outcome_unknown` then. After [`HealthPolicy::quarantine_after`](super::HealthPolicy) deaths of the
    /// agent or the backend it ends as `quarantined` in any case.
    pub may_repeat: bool,
    /// The deadline for the delivery; `None` for no limit.
    pub deadline: Option<Instant>,
    /// The limits once it is delivered.
    pub limits: MessageLimits,
    /// Receives the id if the message was accepted. If the receiver is dropped, the message is not sent.
    pub accepted: Reply<Result<MessageId, Error>>,
    /// Receives the answer.
    pub reply: MessageReply,
}

/// The messages of an agent's actor. They are small, since each task that sends one reserves room for several.
#[derive(Debug)]
pub enum AgentCommand {
    /// Starts a check.
    Check,
    /// Reports the end of a check.
    CheckFinished(Box<Observation>),
    /// Says that the agent's process was suspended, or continues.
    SuspensionChanged {
        /// True if it is suspended.
        is_suspended: bool,
    },
    /// Reports a failure of the agent.
    FailureObserved(Box<Observation>),
    /// Reports the agent's state, or why it was not read.
    StateRead(Box<Result<AgentState, DriverError>>),
    /// Says that the agent has reported a state.
    StateReported,
    /// Says that the agent has asked a question, settled one, or sent a reply that no message got.
    ReportQuestions,
    /// Reports the end of a recovery.
    RecoveryFinished(Box<Recovery>),
    /// Fails the incarnation for this reason, once the snapshot is saved.
    Fail(String),
    /// Says that the backend became available or unavailable.
    BackendAvailabilityChanged,
    /// Says that an idle agent got work.
    WorkStarted,
    /// Replies once the agent has recovered, or with the error of the last attempt.
    AwaitRecovery(Reply<Result<(), DriverError>>),
    /// Submits a message.
    Send(Box<SendRequest>),
    /// Sends a message that counts as delivered, now that this is saved.
    Deliver(MessageId),
    /// Reports the end of a delivery.
    DeliveryFinished {
        /// The message's id.
        id: MessageId,
        /// The agent's answer, or the error.
        answer: Box<Result<Json, Error>>,
    },
    /// Cancels a message; replies `false` if it has ended already.
    Cancel {
        /// The message's id.
        id: MessageId,
        /// Receives whether there was a message to cancel.
        reply: Reply<bool>,
    },
    /// Says that the sender of a message has gone.
    SenderGone(MessageId),
    /// Says that a message has reached its deadline.
    DeadlineReached,
}

impl Message for AgentCommand {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_command_is_at_most_32_bytes() {
        assert!(size_of::<AgentCommand>() <= 32, "{}", size_of::<AgentCommand>());
    }
}

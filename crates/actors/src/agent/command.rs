//! What an agent's actor is told.

use mainstay_runtime::{Message, Reply};
use serde_json::Value;
use tokio::time::Instant;

use super::agent_message::MessageId;
use super::driver::{AgentState, DriverError};
use super::health::Observation;
use super::pending_replies::MessageReply;
use super::recovery::Recovery;
use crate::error::Error;

/// A letter as its sender hands it in.
#[derive(Debug)]
pub struct SendRequest {
    /// What it says.
    pub body: Value,
    /// Whether it may be handed to the agent again if the agent, its actor or the runtime ends over it. Else it ends as
    /// `outcome_unknown` then. One over which the agent, or the backend, died twice ends as `quarantined` all the same.
    pub may_repeat: bool,
    /// Until when it may wait to be handed to the agent; `None`: for ever.
    pub deadline: Option<Instant>,
    /// Told whether the letter was accepted, and what it is known by. Whoever does not wait for that any more has sent no
    /// letter.
    pub accepted: Reply<Result<MessageId, Error>>,
    /// Told the answer.
    pub reply: MessageReply,
}

/// An agent actor's messages. Small, since each task that is to bring one lays out room for several.
#[derive(Debug)]
pub enum AgentCommand {
    /// It is time for a check.
    Check,
    /// A check has ended.
    CheckFinished(Box<Observation>),
    /// Something befell the agent.
    FailureObserved(Box<Observation>),
    /// The agent's state was read, or could not be.
    StateRead(Box<Result<AgentState, DriverError>>),
    /// The agent has handed over a state of its own accord.
    StateReported,
    /// The attempt to bring the agent back has ended.
    RecoveryFinished(Box<Recovery>),
    /// The agent has failed for this reason. What is to be remembered has been noted.
    Fail(String),
    /// The backend seems to have gone, or to be back.
    BackendAvailabilityChanged,
    /// The agent, which had nothing to do, has something to do.
    WorkStarted,
    /// Say when the agent has been brought back, or why it has not been so far.
    AwaitRecovery(Reply<Result<(), DriverError>>),
    /// Hand the agent a letter.
    Send(Box<SendRequest>),
    /// A letter counts as handed out, and that has been noted: now hand it out.
    Deliver(MessageId),
    /// The delivery of a letter has ended.
    DeliveryFinished {
        /// Which letter.
        id: MessageId,
        /// The agent's answer, or what became of the letter instead.
        answer: Box<Result<Value, Error>>,
    },
    /// Call a letter off; `false` if it has ended already.
    Cancel {
        /// Which letter.
        id: MessageId,
        /// Told whether there was something to call off.
        reply: Reply<bool>,
    },
    /// The sender of a letter has gone.
    SenderGone(MessageId),
    /// A letter has waited long enough.
    DeadlineReached,
}

impl Message for AgentCommand {
    fn label(&self) -> &'static str {
        match self {
            Self::Check => "Check",
            Self::CheckFinished(_) => "TakeObservation",
            Self::FailureObserved(_) => "TakeIncident",
            Self::WorkStarted => "MindWork",
            Self::StateReported => "MindState",
            Self::StateRead(_) => "TakeState",
            Self::RecoveryFinished(_) => "TakeRevival",
            Self::Fail(_) => "Fail",
            Self::BackendAvailabilityChanged => "MindLink",
            Self::AwaitRecovery(_) => "AwaitRevival",
            Self::Send(_) => "Post",
            Self::Deliver(_) => "HandOut",
            Self::DeliveryFinished { .. } => "TakeAnswer",
            Self::Cancel { .. } => "CallOff",
            Self::SenderGone(_) => "Abandon",
            Self::DeadlineReached => "MindMail",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_command_is_at_most_32_bytes() {
        assert!(size_of::<AgentCommand>() <= 32, "{}", size_of::<AgentCommand>());
    }
}

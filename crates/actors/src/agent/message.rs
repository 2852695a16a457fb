//! What an agent's actor is told.

use mainstay_runtime::{Message, Reply};
use serde_json::Value;
use tokio::time::Instant;

use super::callers::LetterReply;
use super::driver::{AgentState, DriverError};
use super::health::Observation;
use super::letter::LetterId;
use super::revival::Revival;
use crate::error::Error;

/// A letter as its sender hands it in.
#[derive(Debug)]
pub struct Post {
    /// What it says.
    pub body: Value,
    /// Whether it may be handed to the agent again if the agent, its actor or the runtime ends over it. Else it ends as
    /// `outcome_unknown` then.
    pub may_repeat: bool,
    /// Until when it may wait to be handed to the agent; `None`: for ever.
    pub deadline: Option<Instant>,
    /// Told whether the letter was accepted, and what it is known by. Whoever does not wait for that any more has sent no
    /// letter.
    pub accepted: Reply<Result<LetterId, Error>>,
    /// Told the answer.
    pub reply: LetterReply,
}

/// An agent actor's messages. Small, since each task that is to bring one lays out room for several.
#[derive(Debug)]
pub enum AgentMessage {
    /// It is time for a check.
    Check,
    /// A check has ended.
    TakeObservation(Box<Observation>),
    /// Something befell the agent.
    TakeIncident(Box<Observation>),
    /// The agent's state was read, or could not be.
    TakeState(Box<Result<AgentState, DriverError>>),
    /// The agent has handed over a state of its own accord.
    MindState,
    /// The attempt to bring the agent back has ended.
    TakeRevival(Box<Revival>),
    /// The agent has failed for this reason. What is to be remembered has been noted.
    Fail(String),
    /// The backend seems to have gone, or to be back.
    MindLink,
    /// The agent, which had nothing to do, has something to do.
    MindWork,
    /// Say when the agent has been brought back, or why it has not been so far.
    AwaitRevival(Reply<Result<(), DriverError>>),
    /// Hand the agent a letter.
    Post(Box<Post>),
    /// A letter counts as handed out, and that has been noted: now hand it out.
    HandOut(LetterId),
    /// The delivery of a letter has ended.
    TakeAnswer {
        /// Which letter.
        id: LetterId,
        /// The agent's answer, or what became of the letter instead.
        answer: Box<Result<Value, Error>>,
    },
    /// Call a letter off; `false` if it has ended already.
    CallOff {
        /// Which letter.
        id: LetterId,
        /// Told whether there was something to call off.
        reply: Reply<bool>,
    },
    /// The sender of a letter has gone.
    Abandon(LetterId),
    /// A letter has waited long enough.
    MindMail,
    /// Panic, to show what the supervisor does about it. Only in debug builds.
    #[cfg(debug_assertions)]
    Panic,
}

impl Message for AgentMessage {
    fn label(&self) -> &'static str {
        match self {
            Self::Check => "Check",
            Self::TakeObservation(_) => "TakeObservation",
            Self::TakeIncident(_) => "TakeIncident",
            Self::MindWork => "MindWork",
            Self::MindState => "MindState",
            Self::TakeState(_) => "TakeState",
            Self::TakeRevival(_) => "TakeRevival",
            Self::Fail(_) => "Fail",
            Self::MindLink => "MindLink",
            Self::AwaitRevival(_) => "AwaitRevival",
            Self::Post(_) => "Post",
            Self::HandOut(_) => "HandOut",
            Self::TakeAnswer { .. } => "TakeAnswer",
            Self::CallOff { .. } => "CallOff",
            Self::Abandon(_) => "Abandon",
            Self::MindMail => "MindMail",
            #[cfg(debug_assertions)]
            Self::Panic => "Panic",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_small() {
        assert!(size_of::<AgentMessage>() <= 32, "{}", size_of::<AgentMessage>());
    }
}

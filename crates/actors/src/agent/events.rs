//! The events of an agent's actor.

use mainstay_runtime::journal::{Event, Level, count, millis_text, word};
use serde::{Deserialize, Serialize};

use super::agent_message::MessageId;
use super::call_quarantine::AgentCall;
use super::health::AgentStatus;
use super::updates::QuestionOutcome;
use crate::error::{Code, Error, Reason};

/// An agent's status changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct AgentHealth {
    /// The status before.
    pub from: AgentStatus,
    /// The status after.
    pub to: AgentStatus,
    /// The checks missed in a row.
    pub misses: u32,
    /// The problem.
    #[serde(default)]
    pub error: Option<Error>,
}

impl Event for AgentHealth {
    const KIND: &'static str = "agent_health";
    const LEVEL: Level = Level::Info;

    fn level(&self) -> Level {
        match self.to {
            AgentStatus::Failed => Level::Error,
            AgentStatus::Degraded | AgentStatus::Restarting | AgentStatus::Unknown => Level::Warn,
            AgentStatus::Starting | AgentStatus::Healthy | AgentStatus::Stopped => Self::LEVEL,
        }
    }

    fn describe(&self) -> String {
        let Self { from, to, error, .. } = self;
        let problem = error.as_ref().map(|error| format!(": {}", error.problem())).unwrap_or_default();
        format!("the agent's status changes from {} to {}{problem}", word(from), word(to))
    }
}

/// A running agent made no progress with its work, and is restarted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct AgentStuck {
    /// The time without progress, in milliseconds.
    pub quiet_ms: u64,
    /// The limit for that, in milliseconds.
    pub progress_timeout_ms: u64,
    /// The number of requests that it is working on.
    pub in_flight: usize,
}

impl Event for AgentStuck {
    const KIND: &'static str = "agent_stuck";
    const LEVEL: Level = Level::Warn;

    fn describe(&self) -> String {
        let Self { quiet_ms, progress_timeout_ms, in_flight } = self;
        let (quiet, limit) = (millis_text(*quiet_ms), millis_text(*progress_timeout_ms));
        let tasks = count(*in_flight, "task");
        format!("the agent has made no progress with {tasks} for {quiet}, more than {limit}: it is restarted")
    }
}

/// The agent ended each time its state was restored, so it starts without the state. The state store keeps a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct AgentStateQuarantined {
    /// The time at which the state was read.
    pub read_at: String,
    /// The size of the state as JSON, in bytes.
    pub bytes: usize,
}

impl Event for AgentStateQuarantined {
    const KIND: &'static str = "agent_state_quarantined";
    const LEVEL: Level = Level::Warn;

    fn describe(&self) -> String {
        let Self { read_at, bytes } = self;
        format!(
            "the agent ended each time that it got its state back, so the state is quarantined ({bytes} bytes, read \
             {read_at}) and the agent starts without it"
        )
    }
}

/// The backend died over a call that the runtime makes for the agent by itself, so such calls pause. A restart of the
/// agent by a command makes them at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct AgentCallPaused {
    /// The kind of the call.
    pub call: AgentCall,
    /// The calls of this kind in a row over which the backend died.
    pub deaths: u32,
    /// True if such calls are quarantined: the pause is longer, and grows with each further death.
    pub quarantined: bool,
    /// The time from the death, or from the backend's first return after it, to the next such call, in milliseconds. It is
    /// 0 if the state is quarantined, so that it is not written again.
    pub pause_ms: u64,
}

impl Event for AgentCallPaused {
    const KIND: &'static str = "agent_call_paused";
    const LEVEL: Level = Level::Warn;

    fn level(&self) -> Level {
        if self.quarantined { Level::Error } else { Self::LEVEL }
    }

    fn describe(&self) -> String {
        let calls = count(self.deaths, self.call.noun());
        if self.pause_ms == 0 {
            return format!(
                "the backend died over {calls} of the agent in a row, so the state is not written again"
            );
        }
        let pause = millis_text(self.pause_ms);
        let quarantine = if self.quarantined { "they are quarantined, and " } else { "" };
        format!(
            "the backend died over {calls} of the agent in a row, so {quarantine}the next comes {pause} after the \
             backend's return"
        )
    }
}

/// The agent's session could not be resumed, and a new one started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct AgentSessionLost {
    /// The id of the lost session.
    pub id: String,
    /// The reason, for a person.
    pub message: String,
}

impl Event for AgentSessionLost {
    const KIND: &'static str = "agent_session_lost";
    const LEVEL: Level = Level::Warn;

    fn describe(&self) -> String {
        format!("the agent cannot resume session {} and has begun another one: {}", self.id, self.message)
    }
}

/// The agent asks a question, and works on the message no further until it has an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct AgentQuestion {
    /// The question's name.
    pub ask: String,
    /// The message that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub message_id: Option<MessageId>,
    /// The start of the question.
    pub text: String,
}

impl Event for AgentQuestion {
    const KIND: &'static str = "agent_question";
    const LEVEL: Level = Level::Info;

    fn describe(&self) -> String {
        let Self { ask, message_id, text } = self;
        let about = message_id.map(|id| format!(" about message {id}")).unwrap_or_default();
        format!("the agent asks {ask}{about}, and waits for an answer: {text}")
    }
}

/// A question of the agent was answered, withdrawn or cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct AgentQuestionSettled {
    /// The question's name.
    pub ask: String,
    /// The message that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub message_id: Option<MessageId>,
    /// The question's end.
    pub outcome: QuestionOutcome,
}

impl Event for AgentQuestionSettled {
    const KIND: &'static str = "agent_question_settled";
    const LEVEL: Level = Level::Info;

    fn describe(&self) -> String {
        let Self { ask, outcome, .. } = self;
        match outcome {
            QuestionOutcome::Answered => format!("the agent's question {ask} is answered"),
            QuestionOutcome::Withdrawn => format!("the agent withdraws its question {ask}"),
            QuestionOutcome::Cancelled => {
                format!("the agent's question {ask} is cancelled without an answer")
            }
        }
    }
}

/// The agent sent a reply that no message got: it could not be read, or no message waited for it. The first 16 are
/// recorded, and then each doubling of their number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct AgentReplyLost {
    /// The number of such replies, since the runtime started or the agent was added.
    pub count: u64,
    /// The reason for the last one, for a person.
    pub message: String,
    /// The start of the last one.
    pub text: String,
}

impl Event for AgentReplyLost {
    const KIND: &'static str = "agent_reply_lost";
    const LEVEL: Level = Level::Warn;

    fn describe(&self) -> String {
        let Self { count, message, text } = self;
        let before = match count {
            0 | 1 => String::new(),
            more => format!(", the last of {more}"),
        };
        format!("a reply of the agent reached no message{before}: {message}: {text}")
    }
}

/// A message was delivered to the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct MessageSent {
    /// The message's id.
    pub message_id: MessageId,
    /// The number of this attempt.
    pub attempt: u32,
}

impl Event for MessageSent {
    const KIND: &'static str = "message_sent";
    const LEVEL: Level = Level::Debug;

    fn describe(&self) -> String {
        format!("message {} is sent to the agent, attempt {}", self.message_id, self.attempt)
    }
}

/// The agent answered a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct MessageAnswered {
    /// The message's id.
    pub message_id: MessageId,
}

impl Event for MessageAnswered {
    const KIND: &'static str = "message_answered";
    const LEVEL: Level = Level::Debug;

    fn describe(&self) -> String {
        format!("message {} is answered", self.message_id)
    }
}

/// A message ended with an error: the agent did not answer it, or answered with an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct MessageFailed {
    /// The message's id.
    pub message_id: MessageId,
    /// The number of deliveries.
    pub attempts: u32,
    /// The error's code.
    pub code: Code,
    /// The reason; `outcome_unknown` if the agent may have acted on it.
    pub reason: Reason,
}

impl MessageFailed {
    pub(super) fn new(message_id: MessageId, attempts: u32, error: &Error) -> Self {
        Self { message_id, attempts, code: error.code, reason: error.reason }
    }
}

impl Event for MessageFailed {
    const KIND: &'static str = "message_failed";
    const LEVEL: Level = Level::Warn;

    fn describe(&self) -> String {
        let Self { message_id, attempts, code, reason } = self;
        match reason {
            Reason::OutcomeUnknown => {
                let event = if *code == Code::Timeout { "ran out of time" } else { "was interrupted" };
                format!(
                    "message {message_id} {event}: the agent may have acted on it, so it is not sent again ({reason})"
                )
            }
            Reason::Cancelled => format!("message {message_id} was cancelled"),
            Reason::Quarantined => format!(
                "message {message_id} is quarantined after {}, because the agent or the backend ended over it",
                count(*attempts, "attempt")
            ),
            _ if *attempts == 0 => format!("message {message_id} was not sent: {reason}"),
            _ => format!("message {message_id} has failed: {reason}"),
        }
    }
}

/// A message is delivered again: the last delivery broke, and its sender allowed repeats; or the token was rejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct MessageRedelivered {
    /// The message's id.
    pub message_id: MessageId,
    /// The number of deliveries before this one.
    pub attempts: u32,
    /// The most deliveries.
    pub attempts_max: u32,
    /// The reason; `outcome_unknown` if the agent may have acted on it, `unauthenticated` if there is a new token.
    pub reason: Reason,
}

impl Event for MessageRedelivered {
    const KIND: &'static str = "message_redelivered";
    const LEVEL: Level = Level::Info;

    fn describe(&self) -> String {
        let Self { message_id, attempts, attempts_max, reason } = self;
        let cause = match reason {
            Reason::Unauthenticated => "is sent again with a new token",
            _ => "was interrupted and is sent again, as its sender allowed",
        };
        format!("message {message_id} {cause} ({attempts} of {attempts_max} attempts made)")
    }
}

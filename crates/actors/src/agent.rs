//! The agent actor checks one agent, restarts it with its last state, and delivers messages to it.
//!
//! - [`AgentActor`] is the actor; `actor/checks` is its part that checks the agent, `actor/messages` the one that delivers
//!   messages, `actor/questions` the one that reports the agent's questions.
//! - `Health` turns checks into a status; pure.
//! - `call_quarantine` counts the deaths of the backend over the agent's calls, and `call_pause` holds such calls back
//!   then; pure.
//! - `message_queue` decides which message is delivered next, and what follows a failed delivery; pure.
//! - `message_limits` enforces the time limits of a message at the agent.
//! - `open_questions` lists the questions of an agent for its reports; pure.
//! - `pending_replies` holds the senders that wait for answers.
//! - `ActivityMeter` counts the agent's work apart from checks.
//! - `snapshot` is the state that outlives incarnations and the process.
//! - `recovery` brings an agent back after a failure.
//! - [`Driver`] reaches an agent: `http` one behind the backend, `jsonl` a process with lines of JSON, `acp` a
//!   process with the Agent Client Protocol.
//! - [`UpdateBroadcast`] publishes what an agent says beside its answers, and its messages; `update_history` keeps the last
//!   of these, pure.
//! - [`AgentReports`] holds the latest report of each agent.
//!
//! It is an actor because a supervisor decides its restarts. A failed agent ends the actor's incarnation with an
//! error, and the next incarnation brings the agent back. Each restart of an agent takes one incarnation. At most one
//! check is in flight, and checks never wait in the queue of people's requests.

mod activity;
mod actor;
mod agent_message;
mod call_pause;
mod call_quarantine;
mod command;
mod driver;
mod events;
mod health;
mod message_limits;
mod message_queue;
mod open_questions;
mod pending_replies;
mod recovery;
mod reports;
mod snapshot;
mod update_history;
mod updates;

pub use activity::ActivityMeters;
#[cfg(feature = "acp")]
pub(crate) use activity::{ActivityGuard, ActivityMeter};
pub use actor::AgentActor;
pub use call_quarantine::AgentCall;

pub use agent_message::{AgentMessage, MESSAGE_TIMEOUT, MessageId, MessageLimits};
pub use command::{AgentCommand, SendRequest};
#[cfg(test)]
pub(crate) use driver::Activity;
#[cfg(feature = "acp")]
pub use driver::acp;
pub use driver::http::HttpDriver;
pub use driver::jsonl::ProcessDriver;
pub use driver::process::{HealthProbe, ProcessSetup};
pub use driver::{AgentState, Driver, DriverError, ProcessUsage, StopReport};
pub use events::{
    AgentCallPaused, AgentHealth, AgentQuestion, AgentQuestionSettled, AgentReplyLost, AgentSessionLost,
    AgentStateQuarantined, AgentStuck, MessageAnswered, MessageFailed, MessageRedelivered, MessageSent,
};

pub use health::{AgentStatus, HealthPolicy, Observation, ReportedHealth};
#[cfg(test)]
pub(crate) use message_queue::{DELIVERY_ATTEMPTS_MAX, MESSAGES_WAITING_MAX};

pub use pending_replies::{PendingReplies, not_delivered};
pub use recovery::PendingRecovery;

pub use reports::{AgentReport, AgentReports, OpenQuestion};

pub use updates::{
    AgentUpdate, QuestionOutcome, UPDATES_BUFFERED_MAX, UpdateBroadcast, UpdateEvent, UpdateKind,
    UpdateSubscription,
};

#[cfg(test)]
mod tests;

//! The agent actor: watches one agent, has it restarted with the state that it had, and hands it its letters.
//!
//! - [`AgentActor`]: the actor; `actor/letters` is its part that deals with letters
//! - [`Health`]: how checks add up, pure
//! - `mail`: which letter is handed out next, and what becomes of one whose delivery broke off, pure
//! - `callers`: who waits for the answers
//! - [`ActivityMeter`]: what an agent is seen to do apart from answering checks
//! - `memory`: what outlives incarnations, and the process
//! - `revival`: how an agent is brought back, and what it is still owed
//! - [`Driver`]: how an agent is reached; `http` reaches one behind the backend, `process` one that is a process of
//!   its own, `acp` one of those that speaks the Agent Client Protocol
//! - [`AgentFeed`]: what an agent says beside its answers
//! - [`AgentBoard`]: what is known of the agents, for all to see
//!
//! It is an actor because its restarts are a supervisor's business: an agent that has failed ends the actor's
//! incarnation with an error, the supervisor decides by its policy, and the next incarnation brings the agent back.
//! It never restarts an agent for which no incarnation was spent, never has two checks in flight, and never sends
//! an agent's health down the queue of people's requests.

mod activity;
mod actor;
mod agent_message;
mod command;
mod driver;
mod events;
mod health;
mod message_queue;
mod pending_replies;
mod recovery;
mod reports;
mod snapshot;
mod updates;

pub use activity::{ActivityGuard, ActivityMeter};
pub use actor::{AgentActor, AgentRunState};
pub use agent_message::{AgentMessage, MessageId};
pub use command::{AgentCommand, SendRequest};
#[cfg(feature = "acp")]
pub use driver::acp;
pub use driver::http::HttpDriver;
pub use driver::jsonl::ProcessDriver;
pub use driver::{Activity, AgentState, Driver, DriverError, ProcessUsage};
pub use events::{
    AgentHealth, AgentSessionLost, AgentStateQuarantined, AgentStuck, MessageAnswered, MessageFailed,
    MessageRedelivered, MessageSent,
};
pub use health::{
    ActivitySigns, AgentStatus, Health, HealthPolicy, Observation, Outcome, ReportedHealth, StatusChange,
};
pub use message_queue::{DELIVERY_ATTEMPTS_MAX, MESSAGES_WAITING_MAX};
pub use pending_replies::{MessageReply, PendingReplies, not_delivered};
pub use recovery::{PendingRecovery, Recovery};
pub use reports::{AgentReport, AgentReports};
pub use snapshot::AgentSnapshot;
pub use updates::{
    AgentUpdate, UPDATE_BYTES_BUFFERED_MAX, UPDATES_BUFFERED_MAX, UpdateBroadcast, UpdateEvent, UpdateKind,
    UpdateSubscription,
};

#[cfg(test)]
mod tests;

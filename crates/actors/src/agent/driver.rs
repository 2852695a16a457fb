//! How an agent is reached: its checks, its restart, its state, its letters.

#[cfg(feature = "acp")]
pub mod acp;
pub(in crate::agent) mod http;
pub(in crate::agent) mod jsonl;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use tokio::time::Instant;

use super::agent_message::AgentMessage;
use super::health::Observation;
use crate::error::{Error, Reason};

/// Why a driver could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DriverError {
    /// The backend could not be reached.
    #[error("the backend cannot be reached: {0}")]
    Unreachable(Error),
    /// The agent or its backend refused, or did not answer.
    #[error("{0}")]
    Failed(Error),
}

impl DriverError {
    /// One that has only words for a log.
    pub fn failed(details: &str) -> Self {
        Self::Failed(Error::new(Reason::AgentFailed).with_details(details))
    }
}

/// What an agent's state is, as far as the driver can tell.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentState {
    /// This.
    Known(Value),
    /// It has given none yet.
    None,
    /// The agent has none that could be read. That does not change.
    Unsupported,
}

/// What an agent is seen to do, apart from answering checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Activity {
    /// How many requests it is working on.
    pub in_flight: usize,
    /// When it last showed progress, or was last given something to do.
    pub progressed_at: Option<Instant>,
}

/// What is known of an agent's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessUsage {
    /// Its id.
    pub pid: u32,
    /// The memory that it and what it started hold, in bytes, as last looked at.
    pub memory_bytes: Option<u64>,
}

/// Nobody is asked that, or not any more.
pub(super) fn unknown_ask(ask: &str) -> Error {
    Error::new(Reason::NotFound)
        .with_message("The agent does not ask this, or not any more. Refresh the view.")
        .with_details(&format!("the agent asks nothing named {ask:?}"))
}

/// Reaches one agent. Every call ends within the driver's own timeout, and dropping its future ends it.
///
/// A driver outlives the incarnations of the agent's actor, so a crash of the actor does not touch the agent.
pub trait Driver: Send + Sync + 'static {
    /// What kind of driver this is, as the configuration names it.
    fn kind(&self) -> &'static str;

    /// Whether the agent is the driver's own: it starts it, and what it started ends with it.
    fn owns_agent(&self) -> bool {
        false
    }

    /// Asks the agent how it is.
    fn check(&self) -> BoxFuture<'_, Observation>;

    /// Resolves when something befalls the agent that no check needs to find out, such as its exit.
    fn wait_for_failure(&self) -> BoxFuture<'_, Observation> {
        std::future::pending().boxed()
    }

    /// Restarts the agent, or starts it. One that the driver does not own may still be coming up when this returns; one
    /// that it owns is ready.
    fn restart(&self) -> BoxFuture<'_, Result<(), DriverError>>;

    /// Ends an agent that the driver owns, with all that it started. Idempotent. Gives the state that it last handed over
    /// of its own accord, be it on its way out.
    fn stop(&self) -> BoxFuture<'_, Option<Value>> {
        std::future::ready(None).boxed()
    }

    /// Ends at once, without waiting, what is left of an agent that the driver owns: nobody looks after it any more.
    fn abandon(&self) {}

    /// Reads the agent's state.
    fn read_state(&self) -> BoxFuture<'_, Result<AgentState, DriverError>>;

    /// Resolves when the agent has handed over a state of its own accord that was not read yet.
    fn wait_for_state(&self) -> BoxFuture<'_, ()> {
        std::future::pending().boxed()
    }

    /// Gives the agent a state back.
    fn write_state(&self, state: Value) -> BoxFuture<'_, Result<(), DriverError>>;

    /// The process of an agent that has one of its own here, while it runs.
    fn process(&self) -> Option<ProcessUsage> {
        None
    }

    /// What the agent is seen to do.
    fn activity(&self) -> Activity {
        Activity::default()
    }

    /// Resolves when the agent is seen to have something to do.
    fn wait_for_work(&self) -> BoxFuture<'_, ()> {
        std::future::pending().boxed()
    }

    /// How many letters may be under way at once.
    fn messages_in_flight_max(&self) -> usize {
        1
    }

    /// Hands the agent a letter, and waits for its answer. Dropping the future calls it off at the agent.
    ///
    /// # Errors
    /// Whatever became of it instead; `outcome_unknown` where the agent may have acted on it. `agent_failed` says that the
    /// agent is not there, and `expired` that the letter's deadline came before the letter could be handed over: in either
    /// case nobody has got it.
    fn deliver(&self, letter: AgentMessage) -> BoxFuture<'_, Result<Value, Error>>;

    /// Hands the agent what somebody answered to its question `ask`.
    ///
    /// # Errors
    /// `not_found` where it does not ask that (any more), `invalid_request` where that is no answer to it.
    fn answer(&self, ask: &str, _answer: Value) -> Result<(), Error> {
        Err(unknown_ask(ask))
    }

    /// What has to be known to take up the agent's conversation again after it was started anew; it outlives the process.
    /// Where another one began in the place of one that was lost, it has a member `lost` with that one's `id` and `why`.
    fn session(&self) -> Option<Value> {
        None
    }

    /// Hands in what [`session`](Self::session) was, before the agent's first start in this process.
    fn restore_session(&self, _session: Value) {}
}

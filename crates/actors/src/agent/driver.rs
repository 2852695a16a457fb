//! The interface of drivers, which reach agents: checks, restarts, states, messages.

#[cfg(feature = "acp")]
pub mod acp;
pub(in crate::agent) mod http;
pub(in crate::agent) mod jsonl;
pub(in crate::agent) mod process;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use tokio::time::Instant;

use super::agent_message::AgentMessage;
use super::health::Observation;
use super::updates::UpdateBroadcast;
use crate::error::{Error, Reason, Secrets};
use crate::json::Json;

/// The error of a driver.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DriverError {
    /// The backend was unreachable.
    #[error("the backend cannot be reached: {0}")]
    Unreachable(Error),
    /// The agent or its backend refused, or did not answer.
    #[error("{0}")]
    Failed(Error),
    /// No restart can heal the agent. The error's message says what a person has to do first.
    #[error("{0}")]
    Unrecoverable(Error),
}

impl DriverError {
    /// Creates an error that only has a text for the log.
    pub(crate) fn failed(details: &str) -> Self {
        Self::Failed(Error::new(Reason::AgentFailed).with_details(details))
    }

    fn redacted(self, secrets: &Secrets) -> Self {
        match self {
            Self::Unreachable(error) => Self::Unreachable(error.redacted(secrets)),
            Self::Failed(error) => Self::Failed(error.redacted(secrets)),
            Self::Unrecoverable(error) => Self::Unrecoverable(error.redacted(secrets)),
        }
    }
}

/// The agent's state as the driver knows it.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentState {
    /// The agent has this state.
    Known(Json),
    /// The agent has reported no state yet.
    None,
    /// The agent has no state that could be read. This does not change.
    Unsupported,
}

/// The agent's work, apart from answers to checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Activity {
    /// The number of requests that it is working on.
    pub in_flight: usize,
    /// The time of its last progress, or of its last new request.
    pub progressed_at: Option<Instant>,
}

impl Activity {
    /// Returns the activity of an agent that may wait for a person's answer, and is not stuck while it `is_asking`.
    fn while_asking(self, is_asking: bool) -> Self {
        if is_asking { Self { progressed_at: Some(Instant::now()), ..self } } else { self }
    }
}

/// Describes an agent's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct ProcessUsage {
    /// The process id.
    pub pid: u32,
    /// The memory of the process and its descendants at the last measurement, in bytes.
    pub memory_bytes: Option<u64>,
}

/// Describes how an agent stopped that the driver owns.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StopReport {
    /// The last state that it reported, also during the stop.
    pub state: Option<Json>,
    /// The end of its process, for a log, if that had to be killed.
    pub killed: Option<String>,
}

/// Returns the error for a question that is not open.
pub(super) fn unknown_ask(ask: &str) -> Error {
    Error::new(Reason::NotFound)
        .with_message("The agent does not ask this, or not any more. Look at its open questions.")
        .with_details(&format!("the agent asks nothing named {ask:?}"))
}

/// Reaches one agent. Every call ends within the driver's own timeout, and dropping its future cancels it.
///
/// A driver outlives the incarnations of the agent's actor, so a crash of the actor does not affect the agent.
pub trait Driver: Send + Sync + 'static {
    /// Returns the driver's kind, as the configuration names it.
    fn kind(&self) -> &'static str;

    /// Returns whether the driver starts the agent itself, and ends it with everything that it started.
    fn owns_agent(&self) -> bool {
        false
    }

    /// Returns whether the backend gets the checks of the agent.
    fn asks_backend(&self) -> bool {
        !self.owns_agent()
    }

    /// Checks the agent's health.
    fn check(&self) -> BoxFuture<'_, Observation>;

    /// Resolves when the agent fails in a way that needs no check, such as its exit.
    fn wait_for_failure(&self) -> BoxFuture<'_, Observation> {
        std::future::pending().boxed()
    }

    /// Restarts or starts the agent. An agent that the driver owns is ready when this returns; another may still be
    /// starting.
    fn restart(&self) -> BoxFuture<'_, Result<(), DriverError>>;

    /// Stops an agent that the driver owns, with all that it started. Idempotent. A call of [`abandon`](Self::abandon)
    /// meanwhile makes it a kill.
    fn stop(&self) -> BoxFuture<'_, StopReport> {
        std::future::ready(StopReport::default()).boxed()
    }

    /// Asks an agent that the driver owns to end now, while a stop waits for what it does at the end of its input.
    fn ask_to_end(&self) {}

    /// Kills what is left of an agent that the driver owns, without waiting. No incarnation follows.
    fn abandon(&self) {}

    /// Reads the agent's state.
    fn read_state(&self) -> BoxFuture<'_, Result<AgentState, DriverError>>;

    /// Resolves when the agent has reported a state that was not read yet.
    fn wait_for_state(&self) -> BoxFuture<'_, ()> {
        std::future::pending().boxed()
    }

    /// Gives the agent a state to restore.
    fn write_state(&self, state: Json) -> BoxFuture<'_, Result<(), DriverError>>;

    /// Returns whether the system could not run the agent's program, so that no restart helps.
    fn is_unrunnable(&self) -> bool {
        false
    }

    /// Notes the generation of the agent's actor, for the events of processes that it starts.
    fn note_generation(&self, _generation: u64) {}

    /// Returns the agent's process here, while it runs.
    fn process(&self) -> Option<ProcessUsage> {
        None
    }

    /// Returns whether a signal or a debugger has stopped the agent's process here.
    fn is_suspended(&self) -> BoxFuture<'_, bool> {
        std::future::ready(false).boxed()
    }

    /// Returns the agent's activity.
    fn activity(&self) -> Activity {
        Activity::default()
    }

    /// Resolves when the agent has work.
    fn wait_for_work(&self) -> BoxFuture<'_, ()> {
        std::future::pending().boxed()
    }

    /// Returns the agent's updates, which keep its open questions; `None` for an agent that has no way to ask.
    fn updates(&self) -> Option<&UpdateBroadcast> {
        None
    }

    /// Replaces the secrets that the agent may repeat.
    fn redact(&self, text: &str) -> String {
        text.to_owned()
    }

    /// Returns the most messages that may be in flight at once.
    fn messages_in_flight_max(&self) -> usize {
        1
    }

    /// Delivers a message, and waits for the answer. Dropping the future cancels it at the agent.
    ///
    /// # Errors
    /// Fails with `outcome_unknown` if the agent may have acted on the message. `agent_failed` says that the agent is
    /// not running, and `expired` that the deadline came first: then the agent did not get it.
    fn deliver(&self, message: AgentMessage) -> BoxFuture<'_, Result<Json, Error>>;

    /// Answers the agent's question `ask`.
    ///
    /// # Errors
    /// Fails with `not_found` if the question is not open, and with `invalid_request` if the answer does not fit it.
    fn answer(&self, ask: &str, _answer: Json) -> Result<(), Error> {
        Err(unknown_ask(ask))
    }

    /// Has the next start log in by this method, or by the only one that the agent offers. The agent says during that
    /// start whether it has such a method.
    ///
    /// # Errors
    /// Fails with `invalid_request` if agents of this kind have no logins.
    fn log_in_at_start(&self, _method: Option<String>) -> Result<(), Error> {
        Err(Error::new(Reason::InvalidRequest)
            .with_message("Agents of this kind need no login. Only those that speak ACP may offer one."))
    }

    /// Returns the data with which the agent's session resumes after a restart; it outlives the process. If a new
    /// session replaced a lost one, it has a member `lost` with the `id` and `message` of the lost one.
    fn session(&self) -> Option<Value> {
        None
    }

    /// Restores the data of [`session`](Self::session), before the agent's first start in this process.
    fn restore_session(&self, _session: Value) {}
}

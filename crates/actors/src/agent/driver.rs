//! How an agent is reached: its checks, its restart, its state.

use futures_util::future::BoxFuture;
use serde_json::Value;
use thiserror::Error;

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
    /// The agent has none that could be read. That does not change.
    Unsupported,
}

/// Reaches one agent. Every call ends within the driver's own timeout, and dropping its future ends it.
pub trait Driver: Send + Sync + 'static {
    /// What kind of driver this is, as the configuration names it.
    fn kind(&self) -> &'static str;

    /// Asks the agent how it is.
    fn check(&self) -> BoxFuture<'_, Observation>;

    /// Restarts the agent. When this returns it may still be coming up.
    fn restart(&self) -> BoxFuture<'_, Result<(), DriverError>>;

    /// Reads the agent's state.
    fn read_state(&self) -> BoxFuture<'_, Result<AgentState, DriverError>>;

    /// Gives the agent a state back.
    fn write_state(&self, state: Value) -> BoxFuture<'_, Result<(), DriverError>>;
}

//! Says whether a runtime is ready, and what it still waits for. Pure.

use mainstay_actors::agent::AgentStatus;
use mainstay_actors::connection::status::ConnectionState;
use mainstay_actors::error::{Error, Reason};
use mainstay_runtime::ActorStatus;

use crate::status::{AgentView, StatusReport};

/// The readiness of a runtime, or of a part of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ReadyState {
    Ready,
    /// Something is not ready yet: this.
    Waiting(String),
    /// A part does not become ready until a person acts.
    Failed(Box<Error>),
}

/// Returns whether the backend (if it is owned), the connection and every agent's first start are ready. The first part
/// that is not decides.
pub(crate) fn assess(status: &StatusReport) -> ReadyState {
    let parts = [backend(status), connection(status)];
    let parts = parts.into_iter().chain(status.agents.iter().map(agent));
    let mut waiting = ReadyState::Ready;
    for part in parts {
        match part {
            ReadyState::Failed(_) => return part,
            ReadyState::Waiting(_) if waiting == ReadyState::Ready => waiting = part,
            _ => {}
        }
    }
    waiting
}

fn backend(status: &StatusReport) -> ReadyState {
    let Some(backend) = &status.backend else { return ReadyState::Ready };
    match backend.status {
        ActorStatus::Running => ReadyState::Ready,
        ActorStatus::Starting | ActorStatus::Restarting => {
            ReadyState::Waiting(format!("the backend: {}", backend.next_step))
        }
        ActorStatus::Stopping | ActorStatus::Stopped | ActorStatus::Failed => {
            let why = backend.last_error.as_deref().unwrap_or("it was stopped");
            failed(Reason::Unavailable, &format!("the backend is not started: {why}; {}", backend.next_step))
        }
    }
}

fn connection(status: &StatusReport) -> ReadyState {
    match (status.connection.state, &status.connection.error) {
        (ConnectionState::Connected | ConnectionState::Disabled, _) => ReadyState::Ready,
        (ConnectionState::Failed, Some(error)) => ReadyState::Failed(Box::new(error.clone())),
        (ConnectionState::Failed, None) => failed(Reason::Disconnected, "the connection has failed"),
        _ => ReadyState::Waiting("the connection to the backend".to_owned()),
    }
}

fn agent(agent: &AgentView) -> ReadyState {
    let id = &agent.report.id;
    match agent.report.status {
        AgentStatus::Healthy | AgentStatus::Degraded => ReadyState::Ready,
        AgentStatus::Failed if agent.supervision.gave_up => {
            let why = agent.last_error.as_deref().unwrap_or("its restarts are used up");
            failed(Reason::AgentFailed, &format!("agent {id} is given up: {why}"))
        }
        AgentStatus::Stopped => failed(Reason::AgentFailed, &format!("agent {id} was stopped")),
        AgentStatus::Starting | AgentStatus::Failed | AgentStatus::Restarting | AgentStatus::Unknown => {
            ReadyState::Waiting(format!("agent {id}: {}", agent.next_step))
        }
    }
}

fn failed(reason: Reason, details: &str) -> ReadyState {
    ReadyState::Failed(Box::new(Error::new(reason).with_details(details)))
}

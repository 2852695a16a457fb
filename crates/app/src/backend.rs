//! The embedded backend: a real HTTP and WebSocket server on loopback, with faults on demand.
//!
//! It has everything that Mainstay expects of a backend: agents with health, restart, state and messages; files,
//! search and echo; a WebSocket whose events can be resumed. It keeps everything in memory, and has nine kinds of
//! faults. Demos run against it and tests kill it.
//!
//! Code map, leaves first: `problem` is the form of every error; `agents`, `faults`, `events` and `documents` are
//! plain data, with time passed in; `state` holds them together and lets requests wait for a hung agent; `routes`
//! answers requests, with the armed faults in front, and `sockets` serves WebSockets.
//!
//! It never reads a file, never listens on an address other than 127.0.0.1, and leaves no task behind after
//! [`Backend::stop`].
//!
//! # Events
//!
//! A text frame `{"type":"event","seq":N,"kind":…,"agent":ID,…}` reports an event of an agent: `agent_crashed`,
//! `agent_hung`, `agent_healed`, `agent_restarted`, `agent_message`, `agent_state_written`. The sequence starts at 1
//! with each [`Backend`]. After `{"type":"resume","after":N}` the client gets all events later than `N`, in order. If
//! the history lacks some of them, `{"type":"gap","after":N,"next":M}` comes first. An `N` from an earlier backend,
//! higher than every number so far, is such a gap too, and then `M` is not above `N`. A socket sends its first event
//! after the first frame of the client, and the pong to the opening ping counts. So a client that resumes at once gets
//! no newer event before the ones that it missed.

use std::{
    collections::HashSet,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use serde_json::Value;
use tokio::{net::TcpListener, time::Instant};

use crate::http_server::HttpServer;

mod agents;
mod documents;
mod events;
mod faults;
mod problem;
mod routes;
mod sockets;
mod state;

pub use faults::{Fault, FaultError};
use state::BackendState;

/// At most this many agents live in one backend.
pub const AGENTS_MAX: usize = 10_000;
/// At most this many bytes long is the id of an agent.
pub const AGENT_ID_BYTES_MAX: usize = 128;
/// At most this many events are kept for clients that resume.
pub const HISTORY_MAX: usize = 16_384;

/// The settings of a [`Backend`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendOptions {
    /// The port on 127.0.0.1; 0 takes any free one.
    pub port: u16,
    /// The ids of the agents: unique, each of 1 to [`AGENT_ID_BYTES_MAX`] ASCII letters, digits, `.`, `_` and
    /// `-`, and not of dots alone. At most [`AGENTS_MAX`].
    pub agents: Vec<String>,
    /// The number of events that a client can resume from: 1 to [`HISTORY_MAX`].
    pub history_max: usize,
    /// The bearer token without which each request is answered 401; `None` for none.
    pub token: Option<String>,
}

impl Default for BackendOptions {
    /// Returns a free port, one agent named `planner`, a history of 1024 events, and no token.
    fn default() -> Self {
        Self { port: 0, agents: vec!["planner".to_owned()], history_max: 1024, token: None }
    }
}

impl BackendOptions {
    fn check(&self) -> Result<(), BackendError> {
        if self.agents.len() > AGENTS_MAX {
            return Err(BackendError::TooManyAgents { given: self.agents.len() });
        }
        if !(1..=HISTORY_MAX).contains(&self.history_max) {
            return Err(BackendError::History { given: self.history_max });
        }
        if let Some(id) = self.agents.iter().find(|id| !is_agent_id(id)) {
            return Err(BackendError::AgentId { id: id.chars().take(AGENT_ID_BYTES_MAX).collect() });
        }
        let mut seen = HashSet::new();
        match self.agents.iter().find(|id| !seen.insert(*id)) {
            Some(id) => Err(BackendError::DuplicateAgent { id: id.clone() }),
            None => Ok(()),
        }
    }
}

/// Returns whether `id` can be one segment of a path without escapes.
fn is_agent_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    // URL parsers take segments of dots alone for steps within the path.
    id.len() <= AGENT_ID_BYTES_MAX && id.bytes().all(allowed) && id.bytes().any(|byte| byte != b'.')
}

/// The reasons why a backend does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// Something else listens on that port.
    #[error(
        "port {port} on 127.0.0.1 is in use: stop what listens there, or choose another (0 takes any free one)"
    )]
    PortInUse {
        /// The port that was asked for.
        port: u16,
    },
    /// The port could not be opened for another reason.
    #[error("cannot listen on port {port} on 127.0.0.1: {source}")]
    Listen {
        /// The port that was asked for.
        port: u16,
        /// The system's error.
        source: io::Error,
    },
    /// An agent's id is not one.
    #[error(
        "{id:?} is not a valid agent id: use 1 to {AGENT_ID_BYTES_MAX} ASCII letters, digits, '.', '_' and '-', and not dots alone"
    )]
    AgentId {
        /// The id, cut to the permitted length.
        id: String,
    },
    /// Two agents have the same id.
    #[error("the agent id {id:?} is given twice: ids must be unique")]
    DuplicateAgent {
        /// The id.
        id: String,
    },
    /// There are too many agents.
    #[error("{given} agents are too many: at most {AGENTS_MAX}")]
    TooManyAgents {
        /// The number given.
        given: usize,
    },
    /// The history has an impossible length.
    #[error("a history of {given} events is out of range: 1 to {HISTORY_MAX}")]
    History {
        /// The length that was given.
        given: usize,
    },
}

impl BackendError {
    fn listen(port: u16, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::PortInUse { port },
            _ => Self::Listen { port, source },
        }
    }
}

/// A running backend. Dropped, it ends as soon as the tokio runtime gets to it; [`stop`](Self::stop) waits.
#[derive(Debug)]
pub struct Backend {
    address: SocketAddr,
    state: Arc<BackendState>,
    server: HttpServer,
}

impl Backend {
    /// Starts to listen on 127.0.0.1, with every agent healthy and its memory empty. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the config is out of range or the port cannot be opened.
    pub async fn bind(config: BackendOptions) -> Result<Self, BackendError> {
        config.check()?;
        let failed = |source| BackendError::listen(config.port, source);
        // On Unix tokio sets SO_REUSEADDR here, so a backend can follow another on the same port at once.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, config.port)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let state = Arc::new(BackendState::new(&config.agents, config.history_max, Instant::now()));
        let server = HttpServer::start(listener, routes::router(state.clone(), config.token));
        Ok(Self { address, state, server })
    }

    /// Returns the address on which it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the HTTP base, without a slash at its end: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Breaks something: the same as `POST /_fault`, in force when this returns.
    ///
    /// # Errors
    ///
    /// When the agent is unknown, a value is out of range, or too many faults are armed; then nothing changes.
    pub fn inject(&self, fault: Fault) -> Result<(), FaultError> {
        self.state.inject(fault, Instant::now())
    }

    /// Returns the agent's memory in any condition; `None` if there is no such agent.
    #[must_use]
    pub fn state_of(&self, agent: &str) -> Option<Value> {
        self.state.memory(agent)
    }

    /// Cuts every connection as if the process had been killed, and returns when every task has ended and the
    /// port is free. Nothing that was sent is carried out after that, and what the agents remember at the end
    /// can still be asked for.
    pub async fn close(&mut self) {
        self.server.close().await;
    }

    /// Closes the backend, as [`close`](Self::close) does, without its last state.
    pub async fn stop(mut self) {
        self.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(agents: &[&str]) -> BackendOptions {
        let agents = agents.iter().map(|id| (*id).to_owned()).collect();
        BackendOptions { agents, ..BackendOptions::default() }
    }

    fn error_text(config: &BackendOptions) -> String {
        config.check().unwrap_err().to_string()
    }

    #[test]
    fn ids_that_a_path_can_carry_are_accepted() {
        assert!(config(&[]).check().is_ok());
        assert!(config(&["planner", "agent-2", "v1.0_b", "..a"]).check().is_ok());
    }

    #[test]
    fn ids_that_a_path_cannot_carry_are_refused_with_the_rule() {
        for id in ["", ".", "..", "a/b", "a b", "ü", "a%2f", &"x".repeat(129)] {
            let complaint = error_text(&config(&["planner", id]));
            assert!(complaint.contains("ASCII letters"), "{id:?}: {complaint}");
        }
    }

    #[test]
    fn duplicate_id_is_refused_by_name() {
        assert!(error_text(&config(&["a", "b", "a"])).contains("\"a\" is given twice"));
    }

    #[test]
    fn sizes_out_of_range_are_refused_with_the_range() {
        let history = |history_max| BackendOptions { history_max, ..BackendOptions::default() };
        assert!(error_text(&history(0)).contains("1 to 16384"));
        assert!(error_text(&history(16_385)).contains("1 to 16384"));
        let crowd = BackendOptions { agents: vec!["a".to_owned(); 10_001], ..BackendOptions::default() };
        assert!(error_text(&crowd).contains("at most 10000"));
    }
}

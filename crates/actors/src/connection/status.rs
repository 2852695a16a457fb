//! The connection's status at any moment, as plain data.
//!
//! Times are durations since the runtime's start, on its own clock; the display adds the wall time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::{ConnectionError, ConnectionErrorKind};
use crate::error::Reason;
use crate::network::BackendAvailability;

/// The connection's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// The configuration says that the backend has no WebSocket.
    Disabled,
    /// No connection is wanted.
    Disconnected,
    /// The first attempt since the request to connect is in flight.
    Connecting,
    /// A socket is open.
    Connected,
    /// Waiting for the next attempt, or making it.
    Reconnecting,
    /// No further attempts, except probes if the policy says so.
    Failed,
}

/// The reason of the connection's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum StatusReason {
    /// Nothing has happened yet.
    Started,
    /// A person or a program asked to connect or to disconnect.
    Requested,
    /// The delay before an attempt is over.
    RetryDue,
    /// A probe in `failed` is due.
    ProbeDue,
    /// The backend answered another sender.
    BackendSeen,
    /// The backend's program has started again.
    BackendStarted,
    /// The credentials are others than before.
    CredentialsChanged,
    /// The computer has another way to the network than before.
    NetworkChanged,
    /// A standstill of the computer or the process is over, so the delay was cut short.
    SystemResumed,
    /// A handshake succeeded.
    Opened,
    /// Each attempt in a row failed; see the last error.
    RetriesExhausted,
    /// The connection's actor crashed and lost its socket. `actor_exited` in the journal has the cause.
    ActorEnded,
    /// An error with this reason.
    #[serde(untagged)]
    Failed(Reason),
}

/// The connection's status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// The state.
    pub state: ConnectionState,
    /// The time of the last change of state.
    pub since: Duration,
    /// The current or, while waiting, the next attempt. Connected: the one that succeeded; 0 if its dial was
    /// no attempt, such as an early one after a hint. Failed: the number made. Disconnected: 0.
    pub attempt: u32,
    /// The most attempts that may fail in a row.
    pub max: u32,
    /// The time of the next attempt, if one is planned.
    pub next_attempt_at: Option<Duration>,
    /// The last error, however long ago.
    pub last_error: Option<ConnectionError>,
    /// The time of the last error.
    pub last_error_at: Option<Duration>,
    /// The reason of the state.
    pub reason: StatusReason,
}

impl ConnectionStatus {
    /// Returns the status after its actor has ended at `now`: no socket, no dial, no planned attempt.
    #[must_use]
    pub(super) fn after_actor_exit(self, now: Duration) -> Self {
        if matches!(self.state, ConnectionState::Disconnected | ConnectionState::Disabled) {
            return self;
        }
        Self {
            state: ConnectionState::Disconnected,
            since: now,
            attempt: 0,
            next_attempt_at: None,
            reason: StatusReason::ActorEnded,
            ..self
        }
    }

    /// Returns what the connection shows about the backend.
    #[must_use]
    pub fn availability(&self) -> BackendAvailability {
        match self.state {
            ConnectionState::Connected => BackendAvailability::Up,
            // A first dial, as at every start: nothing has failed yet.
            ConnectionState::Connecting if self.last_error.is_none() => BackendAvailability::Unknown,
            _ if self.seems_unreachable() && self.accepts_nothing() => BackendAvailability::Down,
            _ => BackendAvailability::Unknown,
        }
    }

    /// Returns whether the last dial found nothing that accepts connections. A WebSocket that is refused, hangs or
    /// breaks says nothing about requests.
    fn accepts_nothing(&self) -> bool {
        use ConnectionErrorKind::{ProxyUnreachable, Refused, Unreachable, Unresolved};
        let kind = self.last_error.as_ref().map(|error| error.kind);
        matches!(kind, Some(Refused | Unresolved | Unreachable | ProxyUnreachable))
    }

    /// Returns whether the backend seems unreachable: dials are failing or have failed. It may be reachable if no
    /// connection is wanted, or if its last answer was a refusal.
    #[must_use]
    pub fn seems_unreachable(&self) -> bool {
        match self.state {
            ConnectionState::Connecting | ConnectionState::Reconnecting => true,
            // The reason changes with every probe, so it does not decide.
            ConnectionState::Failed => self.last_error.as_ref().is_some_and(ConnectionError::is_retryable),
            ConnectionState::Connected | ConnectionState::Disconnected | ConnectionState::Disabled => false,
        }
    }
}

/// A change of the status, for the journal's `connection_state`.
///
/// Every change of state, attempt or next attempt yields one, so folding them gives the status. `from` and `to` are
/// equal if only the attempt changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Transition {
    /// The state before.
    pub from: ConnectionState,
    /// The state after.
    pub to: ConnectionState,
    /// See [`ConnectionStatus::attempt`].
    pub attempt: u32,
    /// See [`ConnectionStatus::max`].
    pub max: u32,
    /// See [`ConnectionStatus::next_attempt_at`].
    pub next_attempt_at: Option<Duration>,
    /// The reason.
    pub reason: StatusReason,
    /// The error, if one caused the change.
    pub error: Option<ConnectionError>,
}

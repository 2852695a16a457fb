//! What can be said about the connection at any moment, as plain data.
//!
//! Times are durations since the runtime's start, on its own clock; whoever shows them adds the wall time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    error::{ConnectionError, ConnectionErrorKind},
    policy::is_retryable,
};

/// The connection's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// Nobody asked for a connection, or somebody asked for none.
    Disconnected,
    /// The first attempt since somebody asked is under way.
    Connecting,
    /// A socket is open.
    Connected,
    /// Waiting for the next attempt, or making it.
    Reconnecting,
    /// Given up; probed now and then where the policy says so.
    Failed,
}

/// Why the connection is in its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusReason {
    /// Nothing has happened yet.
    Started,
    /// Somebody asked to connect or to disconnect.
    Requested,
    /// The wait before an attempt is over.
    RetryDue,
    /// A probe in `failed` is due.
    ProbeDue,
    /// The backend answered elsewhere after all attempts had been spent.
    BackendSeen,
    /// The machine woke from sleep, so the wait was cut short.
    SystemResumed,
    /// A handshake succeeded.
    Opened,
    /// As many attempts in a row failed as there may be; the last error says how.
    RetriesExhausted,
    /// The connection's own actor ended out of order and took along what it had. Its supervisor knows more.
    ActorEnded,
    /// This went wrong.
    #[serde(untagged)]
    Failed(ConnectionErrorKind),
}

/// What a person asks about the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// The state.
    pub state: ConnectionState,
    /// Since when it has been this one.
    pub since: Duration,
    /// The attempt under way or, while waiting, the next one. Connected: the one that succeeded. Failed: how
    /// many were made. Disconnected: 0.
    pub attempt: u32,
    /// How many attempts may fail in a row.
    pub max: u32,
    /// When the next attempt begins, if one is planned.
    pub next_attempt_at: Option<Duration>,
    /// The last thing that went wrong, however long ago.
    pub last_error: Option<ConnectionError>,
    /// When that was.
    pub last_error_at: Option<Duration>,
    /// Why the state is what it is.
    pub reason: StatusReason,
}

impl ConnectionStatus {
    /// What is left of it at `now` if its actor ends: any socket or dial is gone, and no attempt is planned.
    #[must_use]
    pub(super) fn after_actor_exit(self, now: Duration) -> Self {
        if self.state == ConnectionState::Disconnected {
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
}

impl ConnectionStatus {
    /// Whether the backend itself seems to be away: it is being dialled in vain, or was so too often. One that stays
    /// unconnected by somebody's wish, or whose last answer was a refusal, may be there all the same.
    #[must_use]
    pub fn seems_unreachable(&self) -> bool {
        match self.state {
            ConnectionState::Connecting | ConnectionState::Reconnecting => true,
            // Not by its reason, which changes with every probe.
            ConnectionState::Failed => self.last_error.as_ref().is_some_and(|fault| is_retryable(fault.kind)),
            ConnectionState::Connected | ConnectionState::Disconnected => false,
        }
    }
}

/// One change of the status, for the journal's `connection_state`.
///
/// Every change of state, attempt or next attempt yields one, so folding them gives the status. `from` and
/// `to` are equal where only the attempt moved on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// The state before.
    pub from: ConnectionState,
    /// The state after.
    pub to: ConnectionState,
    /// As in [`ConnectionStatus::attempt`].
    pub attempt: u32,
    /// As in [`ConnectionStatus::max`].
    pub max: u32,
    /// As in [`ConnectionStatus::next_attempt_at`].
    pub next_attempt_at: Option<Duration>,
    /// Why.
    pub reason: StatusReason,
    /// What went wrong, where this change came from a fault.
    pub error: Option<ConnectionError>,
}

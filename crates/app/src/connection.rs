//! The connection, as the embedder sees and controls it.

use std::sync::Arc;
use std::time::Duration;

use mainstay_actors::connection::error::status_without_websocket;
use mainstay_actors::connection::frame::Frame;
use mainstay_actors::connection::inbound::FrameSubscription;
use mainstay_actors::connection::outbound::SendOutcome;
use mainstay_actors::connection::status::{ConnectionState, ConnectionStatus, StatusReason};
use mainstay_actors::connection::{ConnectOutcome, ConnectionMessage};
use mainstay_actors::error::{Error, Reason};
use mainstay_actors::queue::BackendAbsence;
use mainstay_runtime::CallError;
use mainstay_runtime::journal::millis;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::inner::Inner;
use crate::owned_backend;
use crate::status::ConnectionReport;

/// The WebSocket of a runtime. Cheap to clone.
#[derive(Clone)]
pub struct Connection(pub(crate) Arc<Inner>);

impl Connection {
    /// Returns its current state. Asks no actor.
    #[must_use]
    pub fn report(&self) -> ConnectionReport {
        let time_point = self.0.time_point();
        let status = self.0.handles.connection_view.status.borrow().clone();
        let backend = self.0.handles.owned_backend.as_ref();
        let absence = backend.and_then(|backend| owned_backend::absence(backend, time_point.now));
        let wait = status.next_attempt_at.map(|at| at.saturating_sub(time_point.now));
        ConnectionReport {
            state: status.state,
            since: time_point.wall_time(status.since),
            attempt: status.attempt,
            max: status.max,
            next_attempt_at: status.next_attempt_at.map(|at| time_point.wall_time(at)),
            next_attempt_in_ms: wait.map(millis),
            next_step: next_step(&status, absence.as_ref()),
            error: status.last_error.as_ref().map(Error::from),
            last_error: status.last_error.map(|fault| fault.message),
            last_error_at: status.last_error_at.map(|at| time_point.wall_time(at)),
        }
    }

    /// Follows its status. A slow reader sees the newest status, not each one.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<ConnectionStatus> {
        self.0.handles.connection_view.status.subscribe()
    }

    /// Opens a new socket now, and waits for the outcome of the dial, at most `connect_timeout`. During a delay it ends
    /// the delay, in `failed` or `disconnected` it starts over, and during an attempt it waits for that one. While
    /// connected it replaces the socket: a backend with numbered events then loses none.
    ///
    /// # Errors
    /// The reason why the dial failed; further attempts follow as [`report`](Self::report) shows. `invalid_config` if
    /// the connection is switched off, `cancelled` if a command disconnected meanwhile, `stopped` or `crashed` if its
    /// actor ended before the outcome.
    pub async fn reconnect(&self) -> Result<Reconnected, Error> {
        let outcome = self.0.handles.connection.call(ConnectionMessage::Connect).await?;
        match outcome {
            ConnectOutcome::Connected { is_replaced: true } => Ok(Reconnected::Replaced),
            ConnectOutcome::Connected { is_replaced: false } => Ok(Reconnected::Opened),
            ConnectOutcome::Failed(error) => Err(Error::from(&error)),
            ConnectOutcome::Disconnected => Err(Error::new(Reason::Cancelled).with_message(
                "The connection was closed by a command meanwhile. Reconnect to open it again.",
            )),
            ConnectOutcome::Disabled => Err(Error::new(Reason::InvalidConfig).with_message(
                "The configuration switches the live connection off. Set enabled to true there to use it.",
            )),
        }
    }

    /// Closes it, and keeps it closed until [`reconnect`](Self::reconnect).
    ///
    /// # Errors
    /// `stopped` when the runtime is stopping.
    pub async fn disconnect(&self) -> Result<(), Error> {
        let connection = &self.0.handles.connection;
        connection.cast(ConnectionMessage::Disconnect).await.map_err(|_| Error::from(CallError::Stopped))?;
        // Returns when the report shows the first effect.
        connection.call(ConnectionMessage::Barrier).await.map_err(Error::from)
    }

    /// Sends a frame, text from a string or binary from bytes, waiting at most `wait_timeout` for an open socket, and
    /// returns its outcome.
    /// [`SendOutcome::into_result`] makes an error of every outcome but `sent`.
    ///
    /// # Errors
    /// `crashed` or `stopped` when the connection's actor ended before the outcome was known: it may have been sent.
    pub async fn send(&self, frame: impl Into<Frame>, wait_timeout: Duration) -> Result<SendOutcome, Error> {
        let frame = frame.into();
        let sent =
            self.0.handles.connection.call(|reply| ConnectionMessage::Send { frame, wait_timeout, reply });
        sent.await.map_err(Error::from)
    }

    /// Returns the backend's frames from now on, each once, and a marker wherever some are or may be missing.
    #[must_use]
    pub fn frames(&self) -> FrameSubscription {
        self.0.handles.connection_view.frames.subscribe()
    }
}

/// The effect of [`Connection::reconnect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum Reconnected {
    /// A socket is open where there was none.
    Opened,
    /// A new socket has replaced the one that was open.
    Replaced,
}

/// Returns what comes next, in plain words. `absence` describes the runtime's own backend while that is not ready: its
/// start makes the connection dial.
fn next_step(status: &ConnectionStatus, absence: Option<&BackendAbsence>) -> String {
    let is_kept = match status.state {
        ConnectionState::Disabled | ConnectionState::Connected => true,
        ConnectionState::Disconnected => status.reason == StatusReason::Requested,
        ConnectionState::Connecting | ConnectionState::Reconnecting | ConnectionState::Failed => false,
    };
    match absence.filter(|_| !is_kept) {
        Some(absence) => format!("waits {}", owned_backend::awaited(absence.text.trim_end_matches('.'))),
        None => own_next_step(status).to_owned(),
    }
}

/// Returns what comes next as far as the connection itself decides it.
fn own_next_step(status: &ConnectionStatus) -> &'static str {
    match (status.state, status.next_attempt_at.is_some()) {
        (ConnectionState::Disabled, _) => "none: the configuration switches it off",
        (ConnectionState::Disconnected, _) => "none until a reconnect",
        (ConnectionState::Connected, _) => "kept open",
        (ConnectionState::Connecting, _) | (ConnectionState::Reconnecting, false) => "an attempt is running",
        (ConnectionState::Reconnecting, true) => "the next attempt is planned; a reconnect makes it now",
        (ConnectionState::Failed, _) if may_lack_websocket(status) => {
            "a reconnect makes an attempt now; if the backend has no WebSocket there, correct path under [connection], or \
             set enabled = false"
        }
        (ConnectionState::Failed, true) => "attempts go on slowly; a reconnect makes one now",
        (ConnectionState::Failed, false) => "a reconnect makes an attempt now",
    }
}

/// Returns whether the last handshake was answered as by a server that has no WebSocket at the path.
fn may_lack_websocket(status: &ConnectionStatus) -> bool {
    status.last_error.as_ref().is_some_and(|error| status_without_websocket(&Error::from(error)).is_some())
}

#[cfg(test)]
mod tests {
    use mainstay_actors::connection::error::{ConnectionError, ConnectionErrorKind};

    use super::*;

    fn status(state: ConnectionState, reason: StatusReason) -> ConnectionStatus {
        ConnectionStatus {
            state,
            since: Duration::ZERO,
            attempt: 1,
            max: 5,
            next_attempt_at: None,
            last_error: None,
            last_error_at: None,
            reason,
        }
    }

    #[test]
    fn next_step_is_that_of_a_backend_that_is_not_ready() {
        let absence = |text: &str| BackendAbsence {
            summary: String::new(),
            text: text.to_owned(),
            is_final: false,
            is_orderly_start: true,
        };
        let starting = absence("The backend is starting: it is ready when it prints \"up\".");
        for (state, reason) in [
            (ConnectionState::Disconnected, StatusReason::Started),
            (ConnectionState::Reconnecting, StatusReason::RetryDue),
            (ConnectionState::Failed, StatusReason::RetriesExhausted),
        ] {
            assert_eq!(
                next_step(&status(state, reason), Some(&starting)),
                "waits for the backend, which is starting: it is ready when it prints \"up\""
            );
        }
        let by_command = status(ConnectionState::Disconnected, StatusReason::Requested);
        assert_eq!(next_step(&by_command, Some(&starting)), "none until a reconnect");
        let due = absence("The backend's second restart is due.");
        assert_eq!(
            next_step(&status(ConnectionState::Failed, StatusReason::RetriesExhausted), Some(&due)),
            "waits for the backend: The backend's second restart is due"
        );
    }

    #[test]
    fn refused_handshake_names_the_keys_for_no_websocket() {
        let step = |error: ConnectionError, probe_at: Option<Duration>| {
            let status = ConnectionStatus {
                next_attempt_at: probe_at,
                last_error: Some(error.clone()),
                ..status(ConnectionState::Failed, StatusReason::Failed(error.reason()))
            };
            next_step(&status, None)
        };
        let probed = Some(Duration::ZERO);
        for (status, probe_at) in
            [(403, None), (403, probed), (404, None), (405, None), (200, probed), (302, probed)]
        {
            let step = step(ConnectionError::from_status(status, None), probe_at);
            assert!(
                step.contains("correct path under [connection], or set enabled = false"),
                "{status}: {step}"
            );
        }
        let mut by_proxy = ConnectionError::new(ConnectionErrorKind::ProxyRefused, "");
        by_proxy.status = Some(403);
        // These answers come from a WebSocket or a proxy, or would be the same for any path.
        for error in
            [ConnectionError::from_status(401, None), ConnectionError::from_close(Some(4403), ""), by_proxy]
        {
            assert_eq!(step(error, None), "a reconnect makes an attempt now");
        }
    }
}

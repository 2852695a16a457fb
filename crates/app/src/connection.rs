//! The connection, as the embedder sees and controls it.

use std::sync::Arc;
use std::time::Duration;

use mainstay_actors::connection::ConnectionMessage;
use mainstay_actors::connection::inbound::FrameSubscription;
use mainstay_actors::connection::outbound::SendOutcome;
use mainstay_actors::connection::status::ConnectionStatus;
use mainstay_actors::error::{Error, of_call};
use mainstay_runtime::CallError;
use mainstay_runtime::journal::millis;
use tokio::sync::watch;

use crate::inner::Inner;
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
        let wait = status.next_attempt_at.map(|at| at.saturating_sub(time_point.now));
        ConnectionReport {
            state: status.state,
            since: time_point.wall_time(status.since),
            attempt: status.attempt,
            max: status.max,
            next_attempt_at: status.next_attempt_at.map(|at| time_point.wall_time(at)),
            next_attempt_in_ms: wait.map(millis),
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

    /// Dials at once. During a delay it ends the delay, in `failed` or `disconnected` it starts over, and during an
    /// attempt it changes nothing.
    ///
    /// # Errors
    /// `stopped` when the runtime is stopping.
    pub async fn reconnect(&self) -> Result<(), Error> {
        self.send_command(ConnectionMessage::Connect).await
    }

    /// Closes it, and keeps it closed until [`reconnect`](Self::reconnect).
    ///
    /// # Errors
    /// `stopped` when the runtime is stopping.
    pub async fn disconnect(&self) -> Result<(), Error> {
        self.send_command(ConnectionMessage::Disconnect).await
    }

    /// Sends a text frame, waiting at most `wait_timeout` for an open socket, and returns its outcome.
    /// [`SendOutcome::into_result`] makes an error of every outcome but `sent`.
    ///
    /// # Errors
    /// `crashed` or `stopped` when the connection's actor ended before the outcome was known: it may have been sent.
    pub async fn send(&self, text: impl Into<String>, wait_timeout: Duration) -> Result<SendOutcome, Error> {
        let text = text.into();
        let sent =
            self.0.handles.connection.call(|reply| ConnectionMessage::Send { text, wait_timeout, reply });
        sent.await.map_err(of_call)
    }

    /// Returns the backend's text frames from now on, each once, and a marker wherever some are or may be missing.
    #[must_use]
    pub fn frames(&self) -> FrameSubscription {
        self.0.handles.connection_view.frames.subscribe()
    }

    /// Sends a command, and returns when the report shows its first effect.
    async fn send_command(&self, message: ConnectionMessage) -> Result<(), Error> {
        self.0.handles.connection.cast(message).await.map_err(|_| of_call(CallError::Stopped))?;
        self.0.handles.connection.call(ConnectionMessage::Barrier).await.map_err(of_call)
    }
}

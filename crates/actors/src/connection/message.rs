//! The messages of the connection's actor.

use std::time::Duration;

use mainstay_runtime::{Context, Message, Reply};

use super::error::ConnectionError;
use super::frame::Frame;
use super::outbound::SendOutcome;
use super::socket::{BoxedStream, SocketFrame, WriteError};

pub(super) type ConnectionContext = Context<ConnectionMessage>;
/// The reading half of the actor's socket.
pub(super) type BackendReader = super::socket::SocketReader<BoxedStream>;
/// The writing half.
pub(super) type BackendWriter = super::socket::SocketWriter<BoxedStream>;

/// The outcome of a request to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectOutcome {
    /// A socket is open.
    Connected {
        /// True if it replaces one that was open.
        is_replaced: bool,
    },
    /// The dial failed. Further attempts may be planned.
    Failed(ConnectionError),
    /// A command to disconnect came meanwhile.
    Disconnected,
    /// The configuration says that the backend has no WebSocket.
    Disabled,
}

/// A message to the connection's actor.
#[derive(Debug)]
pub enum ConnectionMessage {
    /// Open a new socket now; the reply is the outcome of its dial.
    Connect(Reply<ConnectOutcome>),
    /// Disconnect until the next `Connect`.
    Disconnect,
    /// The backend has answered another sender: try again, if the connection waits or has failed.
    BackendSeen,
    /// The backend's program is ready: connect unless a disconnect was requested, or verify the open socket.
    BackendStarted,
    /// The credentials are others than before: try again, even if the backend refused the connection.
    CredentialsChanged,
    /// Send a frame; the reply is its outcome.
    Send {
        /// The frame.
        frame: Frame,
        /// The longest wait for an open socket.
        wait_timeout: Duration,
        /// The reply.
        reply: Reply<SendOutcome>,
    },
    /// A dial has ended.
    SocketReady {
        /// The dial's generation.
        generation: u64,
        /// The two halves, or the error.
        outcome: Box<Result<(BackendWriter, BackendReader), ConnectionError>>,
    },
    /// Frames came in.
    FramesReady {
        /// The socket's generation.
        generation: u64,
        /// The reading half.
        reader: Box<BackendReader>,
        /// The frames in order; an error is the last item.
        frames: Vec<Result<SocketFrame, ConnectionError>>,
    },
    /// A write has ended.
    WriterReady {
        /// The socket's generation.
        generation: u64,
        /// The writing half.
        writer: Box<BackendWriter>,
        /// The result.
        outcome: Result<(), WriteError>,
        /// True if it was a sender's message.
        is_message: bool,
    },
    /// Reply once all earlier messages have been handled.
    Barrier(Reply<()>),
    /// A timer has elapsed.
    TimerElapsed,
}

impl Message for ConnectionMessage {}

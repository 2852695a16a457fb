//! The messages of the connection's actor.

use std::time::Duration;

use mainstay_runtime::{Message, Reply};

use super::error::ConnectionError;
use super::outbound::SendOutcome;
use super::socket::{BoxedStream, SocketFrame, WriteError};

/// The reading half of the actor's socket.
pub(super) type BackendReader = super::socket::SocketReader<BoxedStream>;
/// The writing half.
pub(super) type BackendWriter = super::socket::SocketWriter<BoxedStream>;

/// A message to the connection's actor.
#[derive(Debug)]
pub enum ConnectionMessage {
    /// Connect, retry now, or restart the attempts.
    Connect,
    /// Disconnect until the next `Connect`.
    Disconnect,
    /// The backend has answered another sender: retry, if the connection had failed.
    BackendSeen,
    /// Send a text frame; the reply is its outcome.
    Send {
        /// The frame.
        text: String,
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

impl Message for ConnectionMessage {
    fn label(&self) -> &'static str {
        match self {
            Self::Connect => "Connect",
            Self::Disconnect => "Disconnect",
            Self::BackendSeen => "BackendSeen",
            Self::Send { .. } => "Send",
            Self::SocketReady { .. } => "SocketReady",
            Self::FramesReady { .. } => "FramesReady",
            Self::WriterReady { .. } => "WriterReady",
            Self::Barrier(_) => "Barrier",
            Self::TimerElapsed => "TimerElapsed",
        }
    }
}

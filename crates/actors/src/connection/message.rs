//! What the connection's actor is told.

use std::time::Duration;

use mainstay_runtime::{Message, Reply};

use super::error::ConnectionError;
use super::outbound::SendOutcome;
use super::socket::{BoxedStream, SocketFrame, WriteError};

/// The half of the actor's socket that reads.
pub(super) type BackendReader = super::socket::SocketReader<BoxedStream>;
/// The half of it that writes.
pub(super) type BackendWriter = super::socket::SocketWriter<BoxedStream>;

/// A connection actor's messages.
#[derive(Debug)]
pub enum ConnectionMessage {
    /// Connect, try now, or start over.
    Connect,
    /// Stay away until asked.
    Disconnect,
    /// The backend has answered elsewhere: try again, if all attempts had been spent.
    BackendSeen,
    /// Send a text frame; answered with what became of it.
    Send {
        /// The frame.
        text: String,
        /// How long it may wait for an open socket.
        wait_timeout: Duration,
        /// Where its fate goes.
        reply: Reply<SendOutcome>,
    },
    /// A dial has ended.
    SocketReady {
        /// The dial's generation.
        generation: u64,
        /// The two halves, or what went wrong.
        outcome: Box<Result<(BackendWriter, BackendReader), ConnectionError>>,
    },
    /// Frames came in.
    FramesReady {
        /// The socket's generation.
        generation: u64,
        /// The half to read on with.
        reader: Box<BackendReader>,
        /// What came, in order; after an error nothing comes.
        frames: Vec<Result<SocketFrame, ConnectionError>>,
    },
    /// A write has ended.
    WriterReady {
        /// The socket's generation.
        generation: u64,
        /// The half to write on with.
        writer: Box<BackendWriter>,
        /// How it went.
        outcome: Result<(), WriteError>,
        /// Whether it was a message that somebody waits for.
        is_message: bool,
    },
    /// Say when everything that was sent before this has been dealt with, and shows.
    Barrier(Reply<()>),
    /// The time that was waited for has come.
    TimerElapsed,
}

impl Message for ConnectionMessage {
    fn label(&self) -> &'static str {
        match self {
            Self::Connect => "Connect",
            Self::Disconnect => "Disconnect",
            Self::BackendSeen => "BackendSeen",
            Self::Send { .. } => "Send",
            Self::SocketReady { .. } => "TakeSocket",
            Self::FramesReady { .. } => "TakeFrames",
            Self::WriterReady { .. } => "TakeWriter",
            Self::Barrier(_) => "Settle",
            Self::TimerElapsed => "MindTime",
        }
    }
}

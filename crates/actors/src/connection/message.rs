//! What the connection's actor is told.

use std::time::Duration;

use mainstay_runtime::{Message, Reply};

use super::fault::Fault;
use super::outbound::Fate;
use super::socket::{BoxedStream, Frame, SendError};

/// The half of the actor's socket that reads.
pub(super) type Reader = super::socket::Reader<BoxedStream>;
/// The half of it that writes.
pub(super) type Writer = super::socket::Writer<BoxedStream>;

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
        patience: Duration,
        /// Where its fate goes.
        reply: Reply<Fate>,
    },
    /// A dial has ended.
    TakeSocket {
        /// The dial's generation.
        generation: u64,
        /// The two halves, or what went wrong.
        outcome: Box<Result<(Writer, Reader), Fault>>,
    },
    /// Frames came in.
    TakeFrames {
        /// The socket's generation.
        generation: u64,
        /// The half to read on with.
        reader: Box<Reader>,
        /// What came, in order; after an error nothing comes.
        frames: Vec<Result<Frame, Fault>>,
    },
    /// A write has ended.
    TakeWriter {
        /// The socket's generation.
        generation: u64,
        /// The half to write on with.
        writer: Box<Writer>,
        /// How it went.
        outcome: Result<(), SendError>,
        /// Whether it was a message that somebody waits for.
        is_message: bool,
    },
    /// Say when everything that was sent before this has been dealt with, and shows.
    Settle(Reply<()>),
    /// The time that was waited for has come.
    MindTime,
    /// Panic, to show what the supervisor does about it. Only in debug builds.
    #[cfg(debug_assertions)]
    Panic,
}

impl Message for ConnectionMessage {
    fn label(&self) -> &'static str {
        match self {
            Self::Connect => "Connect",
            Self::Disconnect => "Disconnect",
            Self::BackendSeen => "BackendSeen",
            Self::Send { .. } => "Send",
            Self::TakeSocket { .. } => "TakeSocket",
            Self::TakeFrames { .. } => "TakeFrames",
            Self::TakeWriter { .. } => "TakeWriter",
            Self::Settle(_) => "Settle",
            Self::MindTime => "MindTime",
            #[cfg(debug_assertions)]
            Self::Panic => "Panic",
        }
    }
}

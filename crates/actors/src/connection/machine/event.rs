//! What happens to a connection.

use std::time::Duration;

use crate::connection::error::ConnectionError;

/// What the machine is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachineEvent {
    /// Connect, or try now, or start over: asked for by a person or at the start.
    Connect,
    /// Stay away until asked.
    Disconnect,
    /// The dial of `generation` gave an open socket.
    Opened {
        /// The dial's generation.
        generation: u64,
    },
    /// The dial of `generation` failed.
    DialFailed {
        /// The dial's generation.
        generation: u64,
        /// How.
        error: ConnectionError,
    },
    /// A frame of any kind came in.
    FrameReceived {
        /// The socket's generation.
        generation: u64,
    },
    /// Bytes came in, or the peer made room for more of what is being written. A large message takes a while, and no
    /// pong can overtake it.
    BytesMoved {
        /// The socket's generation.
        generation: u64,
        /// When that was last so.
        at: Duration,
    },
    /// The answer to a ping came in.
    PongReceived {
        /// The socket's generation.
        generation: u64,
        /// The ping's number.
        number: u64,
    },
    /// The socket ended, from whichever side.
    Closed {
        /// The socket's generation.
        generation: u64,
        /// How.
        error: ConnectionError,
    },
    /// Nothing more can be written to the socket.
    SendFailed {
        /// The socket's generation.
        generation: u64,
        /// How.
        error: ConnectionError,
    },
    /// The time of [`Machine::next_wake`](super::Machine::next_wake) has come. Early, late or superfluous ticks do no harm.
    Tick,
    /// The backend answered elsewhere, over HTTP. Early, late or superfluous news do no harm.
    BackendSeen,
    /// The machine was asleep, as a jump between wall and monotonic time shows, or a timer that came far too late. To be
    /// told before whatever comes after the sleep.
    SystemResumed,
}

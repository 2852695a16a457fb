//! The machine's events.

use std::time::Duration;

use crate::connection::error::ConnectionError;

/// An event for the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MachineEvent {
    /// Open a new socket now, at the start or on request: end a wait, restart the attempts, or replace the open socket.
    Connect,
    /// Disconnect until the next `Connect`.
    Disconnect,
    /// The dial of `generation` opened a socket.
    Opened {
        /// The dial's generation.
        generation: u64,
    },
    /// The dial of `generation` failed.
    DialFailed {
        /// The dial's generation.
        generation: u64,
        /// The error.
        error: ConnectionError,
    },
    /// A frame of any kind came in.
    FrameReceived {
        /// The socket's generation.
        generation: u64,
    },
    /// Bytes came in, or the peer took more of what is being written. A large message takes a while, and no pong can
    /// overtake it.
    BytesMoved {
        /// The socket's generation.
        generation: u64,
        /// The time of the last such byte.
        at: Duration,
    },
    /// A pong came in.
    PongReceived {
        /// The socket's generation.
        generation: u64,
        /// The ping's number.
        number: u64,
    },
    /// The socket ended, from either side.
    Closed {
        /// The socket's generation.
        generation: u64,
        /// The error.
        error: ConnectionError,
    },
    /// A write to the socket failed.
    SendFailed {
        /// The socket's generation.
        generation: u64,
        /// The error.
        error: ConnectionError,
    },
    /// The time of [`Machine::next_wake`](super::Machine::next_wake) has come. Early, late or superfluous ticks are
    /// harmless.
    Tick,
    /// The backend answered another sender, over HTTP. Early, late or superfluous hints are harmless.
    BackendSeen,
    /// The backend's program has started again. What was open before belongs to the program that has ended.
    BackendStarted,
    /// The credentials are others than before.
    CredentialsChanged,
    /// The computer has another way to the network than before.
    NetworkChanged,
    /// A standstill is over, as a jump between wall and monotonic time or a very late timer shows. Send it before any
    /// event from after it.
    SystemResumed,
}

//! What a connection's owner is to do.

use crate::connection::status::Transition;

/// What is to be done, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachineAction {
    /// Write this down. At most one an event, and always first.
    Changed(Transition),
    /// Begin to open a socket. The machine minds the time.
    Dial {
        /// What to report of it under.
        generation: u64,
    },
    /// Drop the dial or the socket at once, without a close handshake. A socket that is already gone, or
    /// unknown, is none to complain about.
    Drop {
        /// Which.
        generation: u64,
    },
    /// Tell the peer by a close frame with this code what it did wrong, as far as that goes without waiting. A `Drop`
    /// follows.
    SendCloseCode {
        /// Which.
        generation: u64,
        /// RFC 6455's.
        code: u16,
    },
    /// Send a close frame and read until the peer ends the connection; a `Drop` follows in any case.
    CloseGracefully {
        /// Which.
        generation: u64,
    },
    /// Send a ping that carries `number`.
    SendPing {
        /// On which socket.
        generation: u64,
        /// What its pong must carry.
        number: u64,
    },
    /// Ask the backend for what was missed, if anything was received before; ahead of everything else.
    Resume {
        /// On which socket.
        generation: u64,
    },
    /// Send what waited.
    FlushOutbound {
        /// On which socket.
        generation: u64,
    },
}

//! The machine's actions.

use crate::connection::status::Transition;

/// An action for the machine's owner, to be carried out in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MachineAction {
    /// Record this change. At most one for each event, and always first.
    Changed(Transition),
    /// Start to open a socket. The machine watches the time.
    Dial {
        /// The generation for reports about it.
        generation: u64,
    },
    /// Drop the dial or the socket at once, without a close handshake. An unknown socket is no error.
    Drop {
        /// The socket's generation.
        generation: u64,
    },
    /// Send a close frame with this code, if that is possible without waiting. A `Drop` follows.
    SendCloseCode {
        /// The socket's generation.
        generation: u64,
        /// A close code of RFC 6455.
        code: u16,
    },
    /// Send a close frame and read until the peer ends the connection; a `Drop` follows in any case.
    CloseGracefully {
        /// The socket's generation.
        generation: u64,
    },
    /// Send a ping that carries `number`.
    SendPing {
        /// The socket's generation.
        generation: u64,
        /// The number that its pong must carry.
        number: u64,
    },
    /// Ask the backend for missed events, if any was received before; ahead of everything else.
    Resume {
        /// The socket's generation.
        generation: u64,
    },
    /// Send the waiting messages.
    FlushOutbound {
        /// The socket's generation.
        generation: u64,
    },
}

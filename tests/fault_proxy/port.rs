//! A port that stays one's own while nothing listens on it.
//!
//! Somebody who refuses connections has no listener, and without one the system would give the port to the next who
//! asks for any: then a client that is to be refused would be answered by a stranger.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be accepted, at most.
const BACKLOG: u32 = 256;
/// What the system takes off a client's hands while nobody reads, as far as that is ours to say: little, so that a stall
/// is felt.
const UNREAD_BYTES: u32 = 8 * 1024;

pub struct ReservedPort {
    pub address: SocketAddr,
    /// Bound, and never listening: connections are refused, and nobody else is given the port.
    #[cfg(unix)]
    _reservation: TcpSocket,
}

impl ReservedPort {
    /// Any free port of the loopback interface.
    pub fn reserve() -> io::Result<Self> {
        let socket = socket()?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        Ok(Self {
            address: socket.local_addr()?,
            #[cfg(unix)]
            _reservation: socket,
        })
    }

    pub fn listen(&self) -> io::Result<TcpListener> {
        let socket = socket()?;
        socket.set_recv_buffer_size(UNREAD_BYTES)?;
        socket.bind(self.address)?;
        socket.listen(BACKLOG)
    }
}

/// A socket that shares its port with others of the same user that want to share theirs, and with nobody else. Elsewhere
/// than on Unix there is nothing of the kind, and so no reservation.
fn socket() -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    #[cfg(unix)]
    socket.set_reuseport(true)?;
    Ok(socket)
}

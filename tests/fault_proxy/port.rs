//! Reserves a port while nothing listens on it.
//!
//! A proxy that refuses connections has no listener. Without a reservation the system would give the port to the next
//! process, and a stranger would accept a client that must be refused.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// The largest number of connections that wait to be accepted.
const BACKLOG: u32 = 256;
/// The size of the system's buffers while the peer reads nothing, as far as it can be set: small, so that a stall
/// shows.
const UNREAD_BYTES: u32 = 8 * 1024;

pub struct ReservedPort {
    pub address: SocketAddr,
    /// A bound port that never listens: connections are refused, and no other process gets the port.
    #[cfg(unix)]
    _reservation: TcpSocket,
}

impl ReservedPort {
    /// Binds any free port of the loopback interface.
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

/// Opens a socket that shares its port with others of the same user, and with no other. Other systems than Unix have
/// nothing alike, and so no reservation.
fn socket() -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    #[cfg(unix)]
    socket.set_reuseport(true)?;
    Ok(socket)
}

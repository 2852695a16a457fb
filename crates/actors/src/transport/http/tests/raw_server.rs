//! Runs a server on the loopback whose connections the test itself plays, byte by byte.

use std::{net::SocketAddr, sync::Arc};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};

/// The system's buffer for a connection on the server's side. It is small, so that a sender soon blocks without a
/// reader.
const SOCKET_BYTES: u32 = 64 * 1024;

/// The server. Dropping it ends everything.
pub(crate) struct RawServer {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl RawServer {
    /// Plays every connection by `play`, which gets its number, from 0.
    pub(crate) async fn start<F>(play: impl Fn(usize, RawConnection) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(SOCKET_BYTES).unwrap();
        socket.set_send_buffer_size(SOCKET_BYTES).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(16).unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let (play, mut connections) = (Arc::new(play), JoinSet::new());
            for number in 0.. {
                let (socket, _) = listener.accept().await.unwrap();
                let play = Arc::clone(&play);
                connections.spawn(async move {
                    play(number, RawConnection { socket, buffer: BytesMut::new() }).await
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, _tasks: tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// A connection.
pub(crate) struct RawConnection {
    socket: TcpStream,
    buffer: BytesMut,
}

impl RawConnection {
    /// Returns the head of the next request, in lower case; empty if there is none.
    pub(crate) async fn read_head(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = self.buffer.split_to(end + 4);
                return String::from_utf8(head.to_vec()).unwrap().to_lowercase();
            }
            if self.fill_buffer().await == 0 {
                return String::new();
            }
        }
    }

    /// Returns the next bytes, at most a buffer of them; nothing once the client has ended the connection.
    pub(crate) async fn read_some(&mut self) -> BytesMut {
        if self.buffer.is_empty() {
            self.fill_buffer().await;
        }
        self.buffer.split()
    }

    /// Counts the bytes until the client ends the connection, or until there are `bytes_max` of them.
    pub(crate) async fn count_bytes(&mut self, bytes_max: u64) -> u64 {
        let mut bytes = 0;
        while bytes < bytes_max {
            match self.read_some().await.len() as u64 {
                0 => break,
                more => bytes += more,
            }
        }
        bytes
    }

    /// Reads until the client ends the connection.
    pub(crate) async fn read_to_end(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        loop {
            let some = self.read_some().await;
            if some.is_empty() {
                return rest;
            }
            rest.extend_from_slice(&some);
        }
    }

    /// Sends these bytes; `false` if the client has ended the connection.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.socket.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Sends the head of a good response whose body has this length.
    pub(crate) async fn send_ok_head(&mut self, length: u64) {
        self.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n")).await;
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        self.socket.set_zero_linger().unwrap();
    }

    async fn fill_buffer(&mut self) -> usize {
        self.buffer.reserve(SOCKET_BYTES as usize);
        // A client that aborts has ended the connection as well.
        self.socket.read_buf(&mut self.buffer).await.unwrap_or(0)
    }
}

/// Returns the length of the body that this head announces.
pub(crate) fn content_length(head: &str) -> Option<u64> {
    head.lines().find_map(|line| line.strip_prefix("content-length: ")).map(|length| length.parse().unwrap())
}

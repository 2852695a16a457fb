//! A WebSocket server on the loopback that the test controls.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};
use tokio_tungstenite::{
    WebSocketStream, accept_async,
    tungstenite::{
        Error, Message,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role},
    },
};

use crate::{connection::target::SocketTarget, tests::read_head};

/// A server that listens or refuses, always on the same port.
pub(super) struct WsServer {
    address: SocketAddr,
    port: ListenState,
}

enum ListenState {
    Listening(TcpListener),
    /// Bound, so that no other process gets the port, but not listening.
    Refusing(TcpSocket),
}

impl WsServer {
    /// Starts a server that listens.
    pub(super) async fn listening() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { address: listener.local_addr().unwrap(), port: ListenState::Listening(listener) }
    }

    /// Starts a server that refuses.
    pub(super) fn refusing() -> Self {
        let socket = bound_socket("127.0.0.1:0".parse().unwrap());
        Self { address: socket.local_addr().unwrap(), port: ListenState::Refusing(socket) }
    }

    /// Refuses from now on. Accepted sockets stay open.
    pub(super) fn stop_listening(self) -> Self {
        drop(self.port);
        Self { address: self.address, port: ListenState::Refusing(bound_socket(self.address)) }
    }

    /// Listens from now on.
    pub(super) fn listen_again(self) -> Self {
        let ListenState::Refusing(socket) = self.port else { panic!("it already listens") };
        Self { address: self.address, port: ListenState::Listening(socket.listen(16).unwrap()) }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn target(&self) -> SocketTarget {
        SocketTarget::new(&self.url(), "/ws").unwrap()
    }

    /// Accepts the next connection, before its handshake.
    pub(super) async fn accept_raw(&self) -> TcpStream {
        let ListenState::Listening(listener) = &self.port else { panic!("it does not listen") };
        listener.accept().await.unwrap().0
    }

    /// Accepts the next connection and its handshake.
    pub(super) async fn accept(&self) -> WsPeer {
        WsPeer::accept(self.accept_raw().await).await
    }

    /// Accepts the next connection and answers its handshake with a ping right behind, in one write.
    pub(super) async fn accept_with_a_ping(&self) -> WsPeer {
        let mut stream = self.accept_raw().await;
        let head = read_head(&mut stream).await;
        let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        let accept = derive_accept_key(key.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        let ping = [0x89, 0];
        stream.write_all(&[answer.as_bytes(), &ping].concat()).await.unwrap();
        WsPeer(WebSocketStream::from_raw_socket(stream, Role::Server, None).await)
    }

    /// Answers the next handshake with these bytes instead.
    pub(super) async fn respond(&self, bytes: &str) {
        let mut stream = self.accept_raw().await;
        read_head(&mut stream).await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
    }
}

fn bound_socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    // The port may have sockets in TIME_WAIT.
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

/// Waits until the other end is closed, in order or with a reset.
pub(super) async fn wait_for_end(stream: &mut (impl AsyncRead + Unpin)) {
    let mut buffer = vec![0; 64 << 10];
    while stream.read(&mut buffer).await.is_ok_and(|bytes| bytes > 0) {}
}

/// The server's end of one socket. It answers pings only while it reads.
pub(super) struct WsPeer<S = TcpStream>(WebSocketStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> WsPeer<S> {
    /// Answers the handshake on this connection.
    pub(super) async fn accept(stream: S) -> Self {
        Self(accept_async(stream).await.unwrap())
    }

    /// Sends this frame.
    pub(super) async fn send(&mut self, frame: Message) {
        self.0.send(frame).await.unwrap();
    }

    pub(super) async fn send_text(&mut self, text: &str) {
        self.try_send_text(text).await.unwrap();
    }

    pub(super) async fn try_send_text(&mut self, text: &str) -> Result<(), Error> {
        self.0.send(Message::text(text)).await
    }

    /// Sends the event of this number.
    pub(super) async fn send_event(&mut self, seq: u64) {
        self.send_text(&event(seq)).await;
    }

    pub(super) async fn close(&mut self, frame: CloseFrame) {
        self.0.close(Some(frame)).await.unwrap();
    }

    /// Returns the next frame of any kind.
    pub(super) async fn read(&mut self) -> Result<Message, Error> {
        self.0.next().await.unwrap_or(Err(Error::ConnectionClosed))
    }

    /// Returns the next text frame.
    pub(super) async fn next_text(&mut self) -> String {
        loop {
            if let Message::Text(text) = self.read().await.unwrap() {
                return text.as_str().to_owned();
            }
        }
    }

    /// Returns every frame until the socket ends.
    pub(super) async fn read_to_end(mut self) -> Vec<Message> {
        let mut frames = Vec::new();
        while let Ok(frame) = self.read().await {
            frames.push(frame);
        }
        frames
    }

    /// Returns the connection below the WebSocket.
    pub(super) fn into_raw(self) -> S {
        self.0.into_inner()
    }

    /// Returns the bytes below the frames.
    pub(super) fn raw(&mut self) -> &mut S {
        self.0.get_mut()
    }
}

pub(super) fn event(seq: u64) -> String {
    format!(r#"{{"type":"event","seq":{seq}}}"#)
}

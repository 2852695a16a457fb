//! Runs a backend that answers requests and opens WebSockets, and keeps the heads that it received.

use futures_util::{SinkExt, StreamExt};
use tokio::{io::AsyncWriteExt, sync::mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

use crate::server::{IoStream, TestServer, header, read_head};

pub(crate) struct TestBackend {
    server: TestServer,
    heads: mpsc::Receiver<String>,
}

impl TestBackend {
    /// Starts the backend, over TLS if there is an acceptor.
    pub(crate) async fn start(tls: Option<TlsAcceptor>) -> Self {
        Self::with_status(tls, None).await
    }

    /// Starts the backend; it answers everything with this status, if there is one.
    pub(crate) async fn with_status(tls: Option<TlsAcceptor>, status: Option<u16>) -> Self {
        let (sender, heads) = mpsc::channel(64);
        let server = TestServer::start(tls, move |stream| serve(stream, sender.clone(), status)).await;
        Self { server, heads }
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.address.port()
    }

    /// Returns the head of the next request or handshake.
    pub(crate) async fn next_head(&mut self) -> String {
        self.heads.recv().await.unwrap()
    }
}

async fn serve(
    mut stream: Box<dyn IoStream>,
    heads: mpsc::Sender<String>,
    status: Option<u16>,
) -> Option<()> {
    loop {
        let head = read_head(&mut stream).await?;
        heads.send(head.clone()).await.ok()?;
        if let Some(status) = status {
            let answer = format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.ok()?;
        } else if let Some(key) = header(&head, "sec-websocket-key") {
            let accept = derive_accept_key(key.as_bytes());
            let answer = format!(
                "HTTP/1.1 101 Yes\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).await.ok()?;
            let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
            socket.send(Message::text("hello")).await.ok()?;
            while socket.next().await?.is_ok() {}
            return None;
        } else {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await.ok()?;
        }
    }
}

//! Shares the base of these tests' servers: each connection is a task, and dropping the server ends them all.

use std::{future::Future, net::SocketAddr};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// A connection, with TLS or without.
pub(crate) trait IoStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> IoStream for S {}

/// A server on the loopback. Dropping it ends it and its connections.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl TestServer {
    /// Passes every connection to `serve`, over TLS if there is an acceptor.
    pub(crate) async fn start<F>(
        tls: Option<TlsAcceptor>,
        serve: impl Fn(Box<dyn IoStream>) -> F + Clone + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Option<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (tls, serve) = (tls.clone(), serve.clone());
                connections.spawn(async move {
                    // A client that does not trust us hangs up in the middle.
                    if let Some(stream) = accept_stream(socket, tls).await {
                        serve(stream).await;
                    }
                });
            }
        });
        Self { address, _tasks: tasks }
    }
}

async fn accept_stream(socket: TcpStream, tls: Option<TlsAcceptor>) -> Option<Box<dyn IoStream>> {
    match tls {
        Some(tls) => Some(Box::new(tls.accept(socket).await.ok()?)),
        None => Some(Box::new(socket)),
    }
}

/// Reads a head; `None` if the peer hangs up before its end.
pub(crate) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// Returns the value of a header in a head.
pub(crate) fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.into_iter().find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
}

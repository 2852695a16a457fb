//! A TCP server that owns the task of each of its connections.
//!
//! axum's `serve` and hyper's upgrades spawn tasks without a handle, so neither is used.

use std::future::Future;
use std::io;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// At most this many connections are open at once; more wait in the system's backlog.
const CONNECTIONS_MAX: usize = 1024;
/// The head of a request has at most this many bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The longest wait for a head after the answer before it; so an idle connection is closed, too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The delay when the system cannot accept, as without free file handles.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Serves each connection with `serve`, until `stop` fires or its sender is gone; then cuts all and returns when their
/// tasks have ended.
pub(crate) async fn accept<S, F>(listener: TcpListener, mut stop: oneshot::Receiver<()>, serve: S)
where
    S: Fn(TcpStream) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stop => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    // Small frames are to go out at once. Without it the connection is slower, not wrong.
                    let _ = stream.set_nodelay(true);
                    connections.spawn(serve(stream));
                }
                Err(error) => back_off(&error).await,
            },
        }
    }
    drop(listener);
    connections.shutdown().await;
}

/// Builds an HTTP/1 server with limits on heads and idle time.
pub(crate) fn http_builder() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_header_size(HEAD_BYTES_MAX);
    http
}

/// Waits before the next accept, unless only one client is gone: any other error may last.
async fn back_off(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::warn!(%error, "cannot accept connections");
        sleep(ACCEPT_RETRY_DELAY).await;
    }
}

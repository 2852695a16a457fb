//! An HTTP server for a router. Every task belongs to the server, so that it can wait for all of them.
//!
//! axum's `serve` limits neither connections nor heads. Its WebSockets hide their stream, which the drain after a
//! refusal needs, and bring a second version of the WebSocket library.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// At most this many connections are open at once; more wait in the system's backlog.
const CONNECTIONS_MAX: usize = 1024;
/// The head of a request has at most this many bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The longest wait for a head after the answer before it; so an idle connection is closed, too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The delay when the system cannot accept, as without free file handles.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
/// The limits for the end of a refused WebSocket: the time, and the bytes that are thrown away.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
const DRAIN_BYTES_MAX: u64 = 40 * 1024 * 1024;

/// A WebSocket of a client.
pub(crate) type ServerSocket = WebSocketStream<TokioIo<Upgraded>>;

/// A running server. Dropped, its tasks end as soon as tokio gets to them; [`close`](Self::close) waits.
#[derive(Debug)]
pub(crate) struct HttpServer {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl HttpServer {
    /// Serves `router` on `listener`. The extensions of each request have its [`HttpConnection`].
    pub(crate) fn start(listener: TcpListener, router: Router) -> Self {
        Self::start_with_limit(listener, router, CONNECTIONS_MAX)
    }

    fn start_with_limit(listener: TcpListener, router: Router, connections_max: usize) -> Self {
        let server = Self { tasks: TaskTracker::new(), stop: CancellationToken::new() };
        let (tasks, stop) = (server.tasks.clone(), server.stop.clone());
        let accepting =
            accept(listener, TowerToHyperService::new(router), connections_max, tasks, stop.clone());
        server.tasks.spawn(stop.run_until_cancelled_owned(accepting));
        // From now on the last task to end wakes `close`; tasks may still spawn others.
        server.tasks.close();
        server
    }

    /// Cuts every connection, and returns when every task has ended and the port is free.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The connection on which a request came.
#[derive(Debug, Clone)]
pub(crate) struct HttpConnection {
    tasks: TaskTracker,
    stop: CancellationToken,
    reset: CancellationToken,
    /// The connection counts until its last task has ended.
    _permit: Arc<OwnedSemaphorePermit>,
}

impl HttpConnection {
    /// Answers an opening handshake. Then `serve` has the WebSocket, in a task of the server.
    ///
    /// # Errors
    /// When the request is no opening handshake.
    pub(crate) fn upgrade<F>(
        self,
        mut request: Request,
        config: WebSocketConfig,
        serve: impl FnOnce(ServerSocket) -> F + Send + 'static,
    ) -> Result<Response, tungstenite::Error>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let response = create_response_with_body(&request, Body::empty)?;
        let upgrade = hyper::upgrade::on(&mut request);
        let (tasks, stop) = (self.tasks.clone(), self.stop.clone());
        let serve = async move {
            let _connection = self;
            match upgrade.await {
                Ok(stream) => {
                    let stream = TokioIo::new(stream);
                    serve(WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await).await;
                }
                Err(error) => tracing::debug!(%error, "a connection ended before its WebSocket began"),
            }
        };
        tasks.spawn(stop.run_until_cancelled_owned(serve));
        Ok(response)
    }

    /// Closes the connection with a TCP reset, so that the request gets no answer.
    #[cfg(feature = "backend")]
    pub(crate) async fn reset(&self) -> std::convert::Infallible {
        self.reset.cancel();
        std::future::pending().await
    }
}

/// Accepts connections, each served by a task.
async fn accept(
    listener: TcpListener,
    router: TowerToHyperService<Router>,
    connections_max: usize,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(connections_max));
    let mut is_failing = false;
    while let Ok(permit) = permits.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                is_failing = false;
                // Small frames are to go out at once. Without it the connection is slower, not wrong.
                let _ = stream.set_nodelay(true);
                let connection = HttpConnection {
                    tasks: tasks.clone(),
                    stop: stop.clone(),
                    reset: CancellationToken::new(),
                    _permit: Arc::new(permit),
                };
                let serve = serve_connection(stream, router.clone(), connection);
                tasks.spawn(stop.clone().run_until_cancelled_owned(serve));
            }
            Err(error) if is_client_error(&error) => {}
            Err(error) => {
                // Once for each time that it begins, not ten times a second.
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(%error, "cannot accept connections");
                }
                sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}

/// Returns whether the client closed the connection before it was accepted. Any other error may last.
fn is_client_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Serves one connection until it ends, is reset or becomes a WebSocket.
async fn serve_connection(
    stream: TcpStream,
    router: TowerToHyperService<Router>,
    connection: HttpConnection,
) {
    let reset = connection.reset.clone();
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(connection.clone());
        router.call(request)
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_header_size(HEAD_BYTES_MAX);
    let mut http = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::select! {
        // Clients come and go, which concerns no other part.
        served = &mut http => tracing::debug!(?served, "a connection ended"),
        () = reset.cancelled() => {
            if let Some(parts) = http.into_parts() {
                // Where this fails the connection is closed in the ordinary way, still without an answer.
                let _ = parts.io.into_inner().set_zero_linger();
            }
        }
    }
}

/// Returns the close frame for a client that broke the rules of WebSocket (RFC 6455, 7.4.1); `None` if the connection
/// is gone. A message of the client has at most `bytes_max` bytes.
pub(crate) fn close_frame(error: &tungstenite::Error, bytes_max: usize) -> Option<CloseFrame> {
    let (code, reason) = match error {
        tungstenite::Error::Capacity(_) => {
            (CloseCode::Size, format!("a message has at most {bytes_max} bytes"))
        }
        tungstenite::Error::Utf8(_) => (CloseCode::Invalid, "text is UTF-8".to_owned()),
        tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)
        | tungstenite::Error::ConnectionClosed
        | tungstenite::Error::AlreadyClosed
        | tungstenite::Error::Io(_) => return None,
        _ => (CloseCode::Protocol, "this is not the WebSocket protocol".to_owned()),
    };
    Some(CloseFrame { code, reason: reason.into() })
}

/// Ends the stream of a refused WebSocket: says that nothing more is sent, and throws away what still arrives.
///
/// To close with bytes unread would reset the connection, and the client would never read the reason.
pub(crate) async fn drain(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let drain = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(DRAIN_BYTES_MAX), &mut tokio::io::sink()).await
    };
    // A client that is still sending after that loses the reason.
    let _ = timeout(DRAIN_TIMEOUT, drain).await;
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::Extension;
    use axum::routing::get;
    use futures_util::{SinkExt, StreamExt};
    use tokio::sync::mpsc;
    use tokio::time::Instant;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::{MaybeTlsStream, connect_async};

    use super::*;

    type ClientSocket = WebSocketStream<MaybeTlsStream<TcpStream>>;

    /// Echoes each message of a WebSocket.
    async fn open_echo(Extension(connection): Extension<HttpConnection>, request: Request) -> Response {
        let echo = async |mut socket: ServerSocket| {
            while let Some(Ok(message)) = socket.next().await {
                socket.send(message).await.unwrap();
            }
        };
        connection.upgrade(request, WebSocketConfig::default(), echo).unwrap()
    }

    /// Starts a server for at most `connections_max` connections. `seen` gets each path other than `/ws`; `/stuck` gets
    /// no answer.
    async fn start(connections_max: usize, seen: mpsc::Sender<String>) -> (HttpServer, String) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let note = async move |request: Request| {
            seen.send(request.uri().path().to_owned()).await.unwrap();
            if request.uri().path() == "/stuck" {
                std::future::pending::<()>().await;
            }
        };
        let router = Router::new().route("/ws", get(open_echo)).fallback(note);
        (HttpServer::start_with_limit(listener, router, connections_max), address)
    }

    async fn open_socket(address: &str) -> ClientSocket {
        connect_async(format!("ws://{address}/ws")).await.unwrap().0
    }

    async fn echo(socket: &mut ClientSocket) {
        socket.send(Message::text("hi")).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hi"));
    }

    async fn send_get(stream: &mut TcpStream, path: &str) {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn upgraded_connection_counts_until_it_ends() {
        let (seen, mut paths) = mpsc::channel(8);
        let (server, address) = start(2, seen).await;
        let mut first = open_socket(&address).await;
        let second = open_socket(&address).await;
        let mut third = TcpStream::connect(&address).await.unwrap();
        send_get(&mut third, "/third").await;
        for _ in 0..20 {
            echo(&mut first).await;
        }
        assert!(paths.try_recv().is_err(), "a third connection was served");
        drop(second);
        assert_eq!(paths.recv().await.unwrap(), "/third");
        server.close().await;
    }

    #[tokio::test]
    async fn close_ends_sockets_and_requests_and_leaves_no_task() {
        let (seen, mut paths) = mpsc::channel(1);
        let (server, address) = start(8, seen).await;
        let mut socket = open_socket(&address).await;
        echo(&mut socket).await;
        let mut stuck = TcpStream::connect(&address).await.unwrap();
        send_get(&mut stuck, "/stuck").await;
        assert_eq!(paths.recv().await.unwrap(), "/stuck");
        server.close().await;
        assert!(server.tasks.is_empty());
        assert!(matches!(socket.next().await, Some(Err(_))));
        assert_eq!(stuck.read(&mut [0]).await.unwrap_or(0), 0);
        assert!(TcpStream::connect(&address).await.is_err());
        assert_eq!(paths.recv().await, None);
    }

    #[tokio::test]
    async fn head_above_the_limit_is_refused() {
        let (seen, mut paths) = mpsc::channel(1);
        let (_server, address) = start(8, seen).await;
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let mut head = "GET / HTTP/1.1\r\nhost: ".to_owned();
        head.push_str(&"x".repeat(HEAD_BYTES_MAX - head.len()));
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        assert!(paths.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn client_without_a_request_is_cut() {
        let (seen, _paths) = mpsc::channel(1);
        let (_server, address) = start(8, seen).await;
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let start = Instant::now();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        assert!(start.elapsed() >= HEAD_TIMEOUT);
    }
}

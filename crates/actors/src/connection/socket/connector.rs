//! What a WebSocket runs over, where that is not TCP to the target's host: a Unix socket, a pipe, a simulated network.

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::connection::error::ConnectionError;

/// Bytes both ways.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// Bytes both ways, over whatever it may be.
pub type BoxedStream = Box<dyn ByteStream>;

/// Opens streams to the backend.
pub trait StreamConnector: Send + Sync {
    /// A stream that ends at the backend: TLS, where the target asks for it, and the WebSocket come on top.
    ///
    /// It has no time limit of its own; whoever waits too long drops the future.
    ///
    /// # Errors
    /// A fault of the dial. It should hold no secret: it goes into the journal.
    fn connect(&self) -> BoxFuture<'_, Result<BoxedStream, ConnectionError>>;
}

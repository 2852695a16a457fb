//! Connects a WebSocket other than by TCP to the target's host: a Unix socket, a pipe, a simulated network.

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::connection::error::ConnectionError;

/// A stream of bytes in both directions.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// A boxed stream of any kind.
pub type BoxedStream = Box<dyn ByteStream>;

/// Opens streams to the backend.
pub(crate) trait StreamConnector: Send + Sync {
    /// Opens a stream to the backend; TLS, if the target requires it, and the WebSocket come on top.
    ///
    /// It has no time limit of its own: a timeout drops the future.
    ///
    /// # Errors
    /// Returns why the dial failed. The error must hold no secret: it goes into the journal.
    fn connect(&self) -> BoxFuture<'_, Result<BoxedStream, ConnectionError>>;
}

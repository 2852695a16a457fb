//! Opens sockets, and reads and writes their two halves.
//!
//! Nothing here waits, retries or gives up. A dial has no time limit of its own: dropping its future cancels it.
//! Dropping both halves closes a socket. Failures are returned as [`ConnectionError`]s; the machine decides what
//! follows.

mod activity;
mod connector;
mod io_error;
mod stream;
mod tcp;

use std::sync::Arc;

use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config,
    tungstenite::{
        Message,
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};

use self::activity::ActivityStream;
pub(crate) use self::activity::IoActivity;
pub use self::connector::BoxedStream;
pub(crate) use self::connector::StreamConnector;
pub(super) use self::tcp::Resolver;
use super::{
    error::{ConnectionError, ConnectionErrorKind},
    target::SocketTarget,
};
use crate::error::Secrets;

/// A WebSocket over `S`.
type WsStream<S> = WebSocketStream<MaybeTlsStream<ActivityStream<S>>>;

/// The size of the read and write buffers.
const BUFFER_BYTES: usize = 16 << 10;

/// The reason that tungstenite sends with code 1002 in place of a close code that must not be sent.
const CLOSE_CODE_SUBSTITUTE: &str = "Protocol violation";

/// The limits of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketLimits {
    /// The largest frame or message, either way, in bytes of payload.
    pub message_max_bytes: usize,
}

/// An incoming frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketFrame {
    /// A text message.
    Text(String),
    /// A binary message, which has no meaning here: its size in bytes.
    Binary(usize),
    /// A ping; the next read answers it.
    Ping,
    /// The answer to a `SocketWriter::ping` with its number; `None` if it carries another payload.
    Pong(Option<u64>),
}

impl SocketFrame {
    /// Returns its size in memory.
    pub(super) fn size_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(_) | Self::Ping | Self::Pong(_) => 0,
        }
    }
}

/// The reason why a message was not written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WriteError {
    /// The message is larger than the limit. Nothing was written, and the socket is still usable.
    #[error("the message has {size_bytes} bytes, and {max_bytes} is the limit")]
    TooLarge {
        /// The message's size.
        size_bytes: usize,
        /// The limit.
        max_bytes: usize,
    },
    /// The socket failed. The message may have been written in part or in full.
    #[error("{}", .0.message)]
    Lost(ConnectionError),
}

/// The reading half of a socket.
pub struct SocketReader<S> {
    stream: SplitStream<WsStream<S>>,
    /// The secrets that the peer was sent, removed from its close reasons.
    secrets: Secrets,
}

/// The writing half of a socket.
pub struct SocketWriter<S> {
    sink: SplitSink<WsStream<S>, Message>,
    limits: SocketLimits,
    activity: Arc<IoActivity>,
}

/// The stream below a dialled socket: TCP, with TLS to a proxy that requires it.
type TcpOrTlsStream = MaybeTlsStream<TcpStream>;

/// Opens a socket: name resolution, TCP and, if there is a proxy, the tunnel through it; or the target's connector
/// instead of these. Then TLS if the target requires it, and the WebSocket handshake.
///
/// # Errors
/// Returns why the dial failed, without the address or a header.
pub async fn dial(
    target: &SocketTarget,
    limits: SocketLimits,
) -> Result<(SocketWriter<BoxedStream>, SocketReader<BoxedStream>), ConnectionError> {
    let stream: BoxedStream = match target.connector() {
        Some(connector) => connector.connect().await,
        None => stream::open_stream(target).await.map(|stream| Box::new(stream) as BoxedStream),
    }
    // A proxy may repeat what it was sent, as a backend may.
    .map_err(|error| error.redacted(&target.secrets()))?;
    handshake(target, limits, stream).await
}

/// Opens a socket over an existing stream: TLS if the target requires it, and the WebSocket handshake.
///
/// # Errors
/// The errors of [`dial`].
pub async fn handshake<S>(
    target: &SocketTarget,
    limits: SocketLimits,
    stream: S,
) -> Result<(SocketWriter<S>, SocketReader<S>), ConnectionError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let invalid = || {
        ConnectionError::new(
            ConnectionErrorKind::InvalidTarget,
            "the address cannot be asked for a WebSocket",
        )
    };
    let request = target.handshake_request().ok_or_else(invalid)?;
    let connector = if target.is_secure() {
        Connector::Rustls(
            target
                .route()
                .trust
                .client_config()
                .map_err(|error| ConnectionError::new(ConnectionErrorKind::Tls, &error.to_string()))?,
        )
    } else {
        Connector::Plain
    };
    let (stream, activity) = ActivityStream::new(stream);
    let opened = client_async_tls_with_config(request, stream, Some(config(limits)), Some(connector)).await;
    let secrets = target.secrets();
    let (socket, _response) = opened.map_err(|error| io_error::from_handshake(&error).redacted(&secrets))?;
    let (sink, stream) = socket.split();
    Ok((SocketWriter { sink, limits, activity }, SocketReader { stream, secrets }))
}

fn config(limits: SocketLimits) -> WebSocketConfig {
    let max_bytes = limits.message_max_bytes;
    WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        // Room for one message, the one being flushed before it, and control frames.
        .max_write_buffer_size(max_bytes.saturating_mul(2).saturating_add(2 * BUFFER_BYTES))
        .max_message_size(Some(max_bytes))
        .max_frame_size(Some(max_bytes))
}

// === the reader ===

impl<S: AsyncRead + AsyncWrite + Unpin> SocketReader<S> {
    /// Reads the next frame. Dropping the future loses nothing.
    ///
    /// # Errors
    /// Returns the socket's end, from either side; nothing can be read after it. A peer's close frame is answered
    /// first, if that is possible without waiting.
    pub async fn read(&mut self) -> Result<SocketFrame, ConnectionError> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => return Ok(SocketFrame::Text(text.as_str().to_owned())),
                Some(Ok(Message::Binary(bytes))) => return Ok(SocketFrame::Binary(bytes.len())),
                Some(Ok(Message::Ping(_))) => return Ok(SocketFrame::Ping),
                Some(Ok(Message::Pong(payload))) => return Ok(SocketFrame::Pong(ping_number(&payload))),
                Some(Ok(Message::Close(frame))) => return Err(self.close_error(frame).await),
                // Raw frames are never read.
                Some(Ok(Message::Frame(_))) => {}
                Some(Err(error)) => return Err(io_error::from_stream(&error)),
                None => return Err(ConnectionError::new(ConnectionErrorKind::Lost, "the stream ended")),
            }
        }
    }

    async fn close_error(&mut self, frame: Option<CloseFrame>) -> ConnectionError {
        // The next poll writes the answer to a close frame.
        let _ = futures_util::poll!(self.stream.next());
        match frame {
            Some(frame) if frame.code == CloseCode::Protocol && frame.reason == CLOSE_CODE_SUBSTITUTE => {
                ConnectionError::new(
                    ConnectionErrorKind::ProtocolViolation,
                    "the peer closed with a code that must not be sent",
                )
            }
            Some(frame) => ConnectionError::from_close(Some(frame.code.into()), frame.reason.as_str())
                .redacted(&self.secrets),
            None => ConnectionError::from_close(None, ""),
        }
    }
}

/// Returns the number in a pong's payload.
fn ping_number(payload: &[u8]) -> Option<u64> {
    payload.try_into().ok().map(u64::from_be_bytes)
}

// === the writer ===

impl<S: AsyncRead + AsyncWrite + Unpin> SocketWriter<S> {
    /// Writes a text message completely. Waits until the peer makes room.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub(crate) async fn send_text(&mut self, text: String) -> Result<(), WriteError> {
        let (size_bytes, max_bytes) = (text.len(), self.limits.message_max_bytes);
        if size_bytes > max_bytes {
            return Err(WriteError::TooLarge { size_bytes, max_bytes });
        }
        self.send(Message::text(text)).await.map_err(WriteError::Lost)
    }

    /// Writes a ping whose pong will carry `number`.
    ///
    /// # Errors
    /// Returns the socket's end.
    pub(crate) async fn ping(&mut self, number: u64) -> Result<(), ConnectionError> {
        self.send(Message::Ping(number.to_be_bytes().to_vec().into())).await
    }

    /// Writes a close frame with code 1000. The peer's answer ends the reader: read until then.
    ///
    /// # Errors
    /// Returns the socket's end.
    pub(crate) async fn close(&mut self) -> Result<(), ConnectionError> {
        self.close_with(CloseCode::Normal.into()).await
    }

    /// Writes a close frame with this code.
    ///
    /// # Errors
    /// Returns the socket's end.
    pub(crate) async fn close_with(&mut self, code: u16) -> Result<(), ConnectionError> {
        let frame = CloseFrame { code: code.into(), reason: "".into() };
        self.send(Message::Close(Some(frame))).await
    }

    /// Returns the activity of this socket's bytes, in both directions.
    #[must_use]
    pub(crate) fn activity(&self) -> &Arc<IoActivity> {
        &self.activity
    }

    async fn send(&mut self, message: Message) -> Result<(), ConnectionError> {
        self.sink.send(message).await.map_err(|error| io_error::from_stream(&error))
    }
}

impl<S> std::fmt::Debug for SocketReader<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SocketReader").finish_non_exhaustive()
    }
}

impl<S> std::fmt::Debug for SocketWriter<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SocketWriter").field("limits", &self.limits).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

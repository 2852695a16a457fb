//! Opens sockets, and reads and writes their two halves.
//!
//! Nothing here waits, retries or gives up. A dial has no time limit of its own: dropping its future cancels it.
//! Dropping both halves closes a socket. Failures are returned as [`ConnectionError`]s; the machine decides what
//! follows.

mod activity;
mod close_tap;
mod connector;
mod io_error;
mod opening;
mod stream;
mod tcp;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use thiserror::Error as ThisError;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{
        Error, Message,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use self::activity::ActivityStream;
pub(crate) use self::activity::IoActivity;
use self::close_tap::{CloseCodeSeen, CloseTap};
pub use self::connector::BoxedStream;
pub(crate) use self::connector::StreamConnector;
pub(super) use self::tcp::Resolver;
use super::{
    error::{ConnectionError, ConnectionErrorKind},
    frame::Frame,
    target::SocketTarget,
};
use crate::credentials::CredentialError;
use crate::error::Secrets;
use crate::network::tls::{self, TlsPeer};

/// A WebSocket over `S`.
type WsStream<S> = WebSocketStream<CloseTap<MaybeTlsStream<ActivityStream<S>>>>;

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
    /// A binary message.
    Binary(Bytes),
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
            Self::Binary(bytes) => bytes.len(),
            Self::Ping | Self::Pong(_) => 0,
        }
    }
}

/// The reason why a message was not written.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
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
    close_code: CloseCodeSeen,
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
/// instead of these. Then TLS if the target requires it, and the WebSocket handshake. If the backend rejects the token
/// and there is another one by now, it is all done once more with that.
///
/// # Errors
/// Returns why the dial failed, without the address or a header.
pub async fn dial(
    target: &SocketTarget,
    limits: SocketLimits,
) -> Result<(SocketWriter<BoxedStream>, SocketReader<BoxedStream>), ConnectionError> {
    let token = target.credentials().token().await.map_err(|error| no_credentials(&error))?;
    let first = dial_with(target, token.as_deref(), limits).await;
    let is_rejected = matches!(&first, Err(error) if error.kind == ConnectionErrorKind::Unauthenticated);
    if let Some(rejected) = token.filter(|_| is_rejected)
        && let Some(token) = target.credentials().refresh(&rejected).await
    {
        return dial_with(target, Some(&token), limits).await;
    }
    first
}

fn no_credentials(error: &CredentialError) -> ConnectionError {
    ConnectionError::new(ConnectionErrorKind::Unauthenticated, &error.to_string())
}

async fn dial_with(
    target: &SocketTarget,
    token: Option<&str>,
    limits: SocketLimits,
) -> Result<(SocketWriter<BoxedStream>, SocketReader<BoxedStream>), ConnectionError> {
    let stream: BoxedStream = match target.connector() {
        Some(connector) => connector.connect().await,
        None => stream::open_stream(target).await.map(|stream| Box::new(stream) as BoxedStream),
    }
    // A proxy may repeat what it was sent, as a backend may.
    .map_err(|error| error.redacted(&target.secrets()))?;
    handshake(target, token, limits, stream).await
}

/// Opens a socket over an existing stream: TLS if the target requires it, and the WebSocket handshake.
///
/// # Errors
/// The errors of [`dial`].
pub(crate) async fn handshake<S>(
    target: &SocketTarget,
    token: Option<&str>,
    limits: SocketLimits,
    stream: S,
) -> Result<(SocketWriter<S>, SocketReader<S>), ConnectionError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let invalid = || {
        let details = "the address cannot be asked for a WebSocket";
        ConnectionError::new(ConnectionErrorKind::InvalidTarget, details)
    };
    let request = target.handshake_request(token).ok_or_else(invalid)?;
    let (stream, activity) = ActivityStream::new(stream);
    let mut stream = secure(target, stream).await?;
    let secrets = target.secrets();
    let opened = opening::open(&mut stream, request).await;
    let read_before = opened.map_err(|error| error.redacted(&secrets))?;
    let (stream, close_code) = CloseTap::new(stream, read_before);
    let socket = WebSocketStream::from_raw_socket(stream, Role::Client, Some(config(limits))).await;
    let (sink, stream) = socket.split();
    Ok((SocketWriter { sink, limits, activity }, SocketReader { stream, secrets, close_code }))
}

/// Puts TLS on top of the stream, if the target requires it.
async fn secure<S>(target: &SocketTarget, stream: S) -> Result<MaybeTlsStream<S>, ConnectionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if !target.is_secure() {
        return Ok(MaybeTlsStream::Plain(stream));
    }
    let host = target.endpoint().host_name();
    let secured = tls::connect(&target.route().trust, TlsPeer::Backend, host, stream).await;
    secured.map_err(|error| io_error::from_handshake(&error))
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
                Some(Ok(Message::Binary(bytes))) => return Ok(SocketFrame::Binary(bytes)),
                Some(Ok(Message::Ping(_))) => return Ok(SocketFrame::Ping),
                Some(Ok(Message::Pong(payload))) => return Ok(SocketFrame::Pong(ping_number(&payload))),
                Some(Ok(Message::Close(frame))) => return Err(self.close_error(frame).await),
                // Raw frames are never read.
                Some(Ok(Message::Frame(_))) => {}
                Some(Err(error)) => return Err(self.stream_error(&error)),
                None => return Err(ConnectionError::new(ConnectionErrorKind::Lost, "the stream ended")),
            }
        }
    }

    fn stream_error(&self, error: &Error) -> ConnectionError {
        match (error, self.close_code.get()) {
            (Error::Utf8(_), Some(code)) => ConnectionError::from_unreadable_close(code),
            _ => io_error::from_stream(error),
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
    /// Writes a message completely. Waits until the peer makes room.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub(crate) async fn send_frame(&mut self, frame: Frame) -> Result<(), WriteError> {
        let (size_bytes, max_bytes) = (frame.size_bytes(), self.limits.message_max_bytes);
        if size_bytes > max_bytes {
            return Err(WriteError::TooLarge { size_bytes, max_bytes });
        }
        let message = match frame {
            Frame::Text(text) => Message::text(text),
            Frame::Binary(bytes) => Message::Binary(bytes),
        };
        self.send(message).await.map_err(WriteError::Lost)
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

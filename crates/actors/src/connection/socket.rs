//! The dial, and the two halves of an open socket.
//!
//! Mechanism alone: nothing here waits, retries or gives up. A dial has no time limit of its own and is
//! cancelled by dropping its future, a socket by dropping both halves. What goes wrong comes back as a
//! [`Fault`]; what follows from it is the machine's to say.

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
pub use self::activity::IoActivity;
pub use self::connector::{BoxedStream, ByteStream, StreamConnector};
pub(super) use self::tcp::Resolver;
use super::{
    error::{ConnectionError, ConnectionErrorKind},
    target::SocketTarget,
};
use crate::error::Secrets;

/// A WebSocket over `S`.
type WsStream<S> = WebSocketStream<MaybeTlsStream<ActivityStream<S>>>;

/// Read and written at a time.
const BUFFER_BYTES: usize = 16 << 10;

/// What tungstenite puts, under code 1002, in place of a close frame whose code must not be sent.
const CLOSE_CODE_SUBSTITUTE: &str = "Protocol violation";

/// How large a message may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketLimits {
    /// The largest frame or message, either way, in bytes of payload.
    pub message_max_bytes: usize,
}

/// What came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketFrame {
    /// A text message.
    Text(String),
    /// A binary message, which nothing here understands: its size in bytes.
    Binary(usize),
    /// A ping; it is answered by reading on.
    Ping,
    /// The answer to a [`Writer::ping`] with its number; `None` if it carries something else.
    Pong(Option<u64>),
}

impl SocketFrame {
    /// How much of it is kept in memory.
    pub(super) fn size_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(_) | Self::Ping | Self::Pong(_) => 0,
        }
    }
}

/// Why a message was not written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WriteError {
    /// It is larger than the limit. Nothing was written and the socket is as good as before.
    #[error("the message has {size_bytes} bytes, and {max_bytes} is the limit")]
    TooLarge {
        /// Its size.
        size_bytes: usize,
        /// The limit.
        max_bytes: usize,
    },
    /// The socket failed. The message may have been written in part or in full.
    #[error("{}", .0.message)]
    Lost(ConnectionError),
}

/// The half that reads.
pub struct SocketReader<S> {
    stream: SplitStream<WsStream<S>>,
    /// What the peer was sent and must not be told again in a reason of its own.
    secrets: Secrets,
}

/// The half that writes.
pub struct SocketWriter<S> {
    sink: SplitSink<WsStream<S>, Message>,
    limits: SocketLimits,
    activity: Arc<IoActivity>,
}

/// What a dialled socket runs over: TCP, within TLS where a proxy is spoken to in that way.
type TcpOrTlsStream = MaybeTlsStream<TcpStream>;

/// Opens a socket, in this order: name resolution, TCP, the proxy where the target has one (it is then the proxy that the
/// two before were about), or what the target's carrier does in place of all that; TLS where the target asks for it;
/// WebSocket handshake.
///
/// # Errors
/// A fault of the dial. It holds neither the address nor a header.
pub async fn dial(
    target: &SocketTarget,
    limits: SocketLimits,
) -> Result<(SocketWriter<BoxedStream>, SocketReader<BoxedStream>), ConnectionError> {
    let stream: BoxedStream = match target.connector() {
        Some(carrier) => carrier.connect().await,
        None => stream::open_stream(target).await.map(|stream| Box::new(stream) as BoxedStream),
    }
    // A proxy may repeat what it was sent, as a backend may.
    .map_err(|fault| fault.redacted(&target.secrets()))?;
    handshake(target, limits, stream).await
}

/// Opens a socket over a stream that is already there: TLS where the target asks for it, WebSocket handshake.
///
/// # Errors
/// As [`dial`].
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
    let (stream, pulse) = ActivityStream::new(stream);
    let opened = client_async_tls_with_config(request, stream, Some(config(limits)), Some(connector)).await;
    let secrets = target.secrets();
    let (socket, _response) = opened.map_err(|error| io_error::from_handshake(&error).redacted(&secrets))?;
    let (sink, stream) = socket.split();
    Ok((SocketWriter { sink, limits, activity: pulse }, SocketReader { stream, secrets }))
}

fn config(limits: SocketLimits) -> WebSocketConfig {
    let max_bytes = limits.message_max_bytes;
    WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        // One message, whatever is being flushed before it, and the control frames in between.
        .max_write_buffer_size(max_bytes.saturating_mul(2).saturating_add(2 * BUFFER_BYTES))
        .max_message_size(Some(max_bytes))
        .max_frame_size(Some(max_bytes))
}

// === impl Reader ===

impl<S: AsyncRead + AsyncWrite + Unpin> SocketReader<S> {
    /// The next frame. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The socket's end, whichever side brought it about; there is nothing to read after it. A peer's close
    /// frame is answered before it is reported, as far as that goes without waiting.
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
        // The answer to a close frame is written by the next poll.
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

/// The number in a pong's payload.
fn ping_number(payload: &[u8]) -> Option<u64> {
    payload.try_into().ok().map(u64::from_be_bytes)
}

// === impl Writer ===

impl<S: AsyncRead + AsyncWrite + Unpin> SocketWriter<S> {
    /// Writes a text message to the last byte. Takes as long as the peer takes to make room.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send_text(&mut self, text: String) -> Result<(), WriteError> {
        let (size_bytes, max_bytes) = (text.len(), self.limits.message_max_bytes);
        if size_bytes > max_bytes {
            return Err(WriteError::TooLarge { size_bytes, max_bytes });
        }
        self.send(Message::text(text)).await.map_err(WriteError::Lost)
    }

    /// Writes a ping whose pong will carry `number`.
    ///
    /// # Errors
    /// The socket's end.
    pub async fn ping(&mut self, number: u64) -> Result<(), ConnectionError> {
        self.send(Message::Ping(number.to_be_bytes().to_vec().into())).await
    }

    /// Writes a close frame with code 1000. The peer's answer comes as the reader's end: read on until then.
    ///
    /// # Errors
    /// The socket's end.
    pub async fn close(&mut self) -> Result<(), ConnectionError> {
        self.close_with(CloseCode::Normal.into()).await
    }

    /// Writes a close frame with this code.
    ///
    /// # Errors
    /// The socket's end.
    pub async fn close_with(&mut self, code: u16) -> Result<(), ConnectionError> {
        let frame = CloseFrame { code: code.into(), reason: "".into() };
        self.send(Message::Close(Some(frame))).await
    }

    /// When bytes last moved on this socket, either way.
    #[must_use]
    pub fn activity(&self) -> &Arc<IoActivity> {
        &self.activity
    }

    async fn send(&mut self, message: Message) -> Result<(), ConnectionError> {
        self.sink.send(message).await.map_err(|error| io_error::from_stream(&error))
    }
}

impl<S> std::fmt::Debug for SocketReader<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl<S> std::fmt::Debug for SocketWriter<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("limits", &self.limits).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

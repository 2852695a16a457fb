//! The dial, and the two halves of an open socket.
//!
//! Mechanism alone: nothing here waits, retries or gives up. A dial has no time limit of its own and is
//! cancelled by dropping its future, a socket by dropping both halves. What goes wrong comes back as a
//! [`Fault`]; what follows from it is the machine's to say.

mod approach;
mod carrier;
mod classification;
mod pulse;
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

pub use self::carrier::{BoxedStream, ByteStream, Carrier};
pub use self::pulse::Pulse;
use self::pulse::Pulsed;
pub(super) use self::tcp::Resolver;
use super::{
    fault::{Fault, FaultKind},
    target::SocketTarget,
};
use crate::error::Secrets;

/// A WebSocket over `S`.
type Socket<S> = WebSocketStream<MaybeTlsStream<Pulsed<S>>>;

/// Read and written at a time.
const BUFFER_BYTES: usize = 16 << 10;

/// What tungstenite puts, under code 1002, in place of a close frame whose code must not be sent.
const SUBSTITUTE: &str = "Protocol violation";

/// How large a message may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketLimits {
    /// The largest frame or message, either way, in bytes of payload.
    pub message_max_bytes: usize,
}

/// What came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A text message.
    Text(String),
    /// A binary message, which nothing here understands: its size in bytes.
    Binary(usize),
    /// A ping; it is answered by reading on.
    Ping,
    /// The answer to a [`Writer::ping`] with its number; `None` if it carries something else.
    Pong(Option<u64>),
}

impl Frame {
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
pub enum SendError {
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
    Lost(Fault),
}

/// The half that reads.
pub struct Reader<S> {
    stream: SplitStream<Socket<S>>,
    /// What the peer was sent and must not be told again in a reason of its own.
    secrets: Secrets,
}

/// The half that writes.
pub struct Writer<S> {
    sink: SplitSink<Socket<S>, Message>,
    limits: SocketLimits,
    pulse: Arc<Pulse>,
}

/// What a dialled socket runs over: TCP, within TLS where a proxy is spoken to in that way.
type Stream = MaybeTlsStream<TcpStream>;

/// Opens a socket, in this order: name resolution, TCP, the proxy where the target has one (it is then the proxy that the
/// two before were about), or what the target's carrier does in place of all that; TLS where the target asks for it;
/// WebSocket handshake.
///
/// # Errors
/// A fault of the dial. It holds neither the address nor a header.
pub async fn dial(
    target: &SocketTarget,
    limits: SocketLimits,
) -> Result<(Writer<BoxedStream>, Reader<BoxedStream>), Fault> {
    let stream: BoxedStream = match target.carrier() {
        Some(carrier) => carrier.open().await,
        None => approach::open(target).await.map(|stream| Box::new(stream) as BoxedStream),
    }
    // A proxy may repeat what it was sent, as a backend may.
    .map_err(|fault| fault.without(&target.secrets()))?;
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
) -> Result<(Writer<S>, Reader<S>), Fault>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let invalid = || Fault::new(FaultKind::InvalidTarget, "the address cannot be asked for a WebSocket");
    let request = target.request().ok_or_else(invalid)?;
    let connector = if target.is_secure() {
        Connector::Rustls(
            target
                .route()
                .trust
                .client_config()
                .map_err(|error| Fault::new(FaultKind::Tls, &error.to_string()))?,
        )
    } else {
        Connector::Plain
    };
    let (stream, pulse) = Pulsed::new(stream);
    let opened = client_async_tls_with_config(request, stream, Some(config(limits)), Some(connector)).await;
    let secrets = target.secrets();
    let (socket, _response) = opened.map_err(|error| classification::handshake(&error).without(&secrets))?;
    let (sink, stream) = socket.split();
    Ok((Writer { sink, limits, pulse }, Reader { stream, secrets }))
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

impl<S: AsyncRead + AsyncWrite + Unpin> Reader<S> {
    /// The next frame. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The socket's end, whichever side brought it about; there is nothing to read after it. A peer's close
    /// frame is answered before it is reported, as far as that goes without waiting.
    pub async fn read(&mut self) -> Result<Frame, Fault> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => return Ok(Frame::Text(text.as_str().to_owned())),
                Some(Ok(Message::Binary(bytes))) => return Ok(Frame::Binary(bytes.len())),
                Some(Ok(Message::Ping(_))) => return Ok(Frame::Ping),
                Some(Ok(Message::Pong(payload))) => return Ok(Frame::Pong(ping_number(&payload))),
                Some(Ok(Message::Close(frame))) => return Err(self.closed(frame).await),
                // Raw frames are never read.
                Some(Ok(Message::Frame(_))) => {}
                Some(Err(error)) => return Err(classification::end(&error)),
                None => return Err(Fault::new(FaultKind::Lost, "the stream ended")),
            }
        }
    }

    async fn closed(&mut self, frame: Option<CloseFrame>) -> Fault {
        // The answer to a close frame is written by the next poll.
        let _ = futures_util::poll!(self.stream.next());
        match frame {
            Some(frame) if frame.code == CloseCode::Protocol && frame.reason == SUBSTITUTE => {
                Fault::new(FaultKind::ProtocolViolation, "the peer closed with a code that must not be sent")
            }
            Some(frame) => {
                Fault::from_close(Some(frame.code.into()), frame.reason.as_str()).without(&self.secrets)
            }
            None => Fault::from_close(None, ""),
        }
    }
}

/// The number in a pong's payload.
fn ping_number(payload: &[u8]) -> Option<u64> {
    payload.try_into().ok().map(u64::from_be_bytes)
}

// === impl Writer ===

impl<S: AsyncRead + AsyncWrite + Unpin> Writer<S> {
    /// Writes a text message to the last byte. Takes as long as the peer takes to make room.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send_text(&mut self, text: String) -> Result<(), SendError> {
        let (size_bytes, max_bytes) = (text.len(), self.limits.message_max_bytes);
        if size_bytes > max_bytes {
            return Err(SendError::TooLarge { size_bytes, max_bytes });
        }
        self.send(Message::text(text)).await.map_err(SendError::Lost)
    }

    /// Writes a ping whose pong will carry `number`.
    ///
    /// # Errors
    /// The socket's end.
    pub async fn ping(&mut self, number: u64) -> Result<(), Fault> {
        self.send(Message::Ping(number.to_be_bytes().to_vec().into())).await
    }

    /// Writes a close frame with code 1000. The peer's answer comes as the reader's end: read on until then.
    ///
    /// # Errors
    /// The socket's end.
    pub async fn close(&mut self) -> Result<(), Fault> {
        self.close_with(CloseCode::Normal.into()).await
    }

    /// Writes a close frame with this code.
    ///
    /// # Errors
    /// The socket's end.
    pub async fn close_with(&mut self, code: u16) -> Result<(), Fault> {
        let frame = CloseFrame { code: code.into(), reason: "".into() };
        self.send(Message::Close(Some(frame))).await
    }

    /// When bytes last moved on this socket, either way.
    #[must_use]
    pub fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    async fn send(&mut self, message: Message) -> Result<(), Fault> {
        self.sink.send(message).await.map_err(|error| classification::end(&error))
    }
}

impl<S> std::fmt::Debug for Reader<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl<S> std::fmt::Debug for Writer<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("limits", &self.limits).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

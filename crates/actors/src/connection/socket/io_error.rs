//! Converts the errors of name resolution, TCP, TLS and WebSocket to [`ConnectionError`]s.
//!
//! The original texts go into `details`, and only if they cannot hold the address or a header.

use std::io::{self, ErrorKind};

use tokio_tungstenite::tungstenite::{Error, error::ProtocolError};

use crate::connection::error::{ConnectionError, ConnectionErrorKind};
use crate::network::tls::is_tls_error;

/// Converts a failed name resolution.
pub(super) fn from_lookup(error: &io::Error) -> ConnectionError {
    ConnectionError::new(ConnectionErrorKind::Unresolved, &error.to_string())
}

/// Converts a failed TCP connection.
pub(super) fn from_connect(error: &io::Error) -> ConnectionError {
    let kind = match error.kind() {
        ErrorKind::ConnectionRefused => ConnectionErrorKind::Refused,
        ErrorKind::TimedOut => ConnectionErrorKind::ConnectTimedOut,
        _ => ConnectionErrorKind::Unreachable,
    };
    ConnectionError::new(kind, &error.to_string())
}

/// Converts a failure of the stream during the handshake of TLS or WebSocket.
pub(super) fn from_handshake(error: &io::Error) -> ConnectionError {
    if is_tls_error(error) {
        return ConnectionError::new(ConnectionErrorKind::Tls, &error.to_string());
    }
    ConnectionError::new(ConnectionErrorKind::Lost, &format!("during the handshake: {error}"))
}

/// Converts the end of an open socket.
pub(super) fn from_stream(error: &Error) -> ConnectionError {
    match error {
        Error::Capacity(error) => {
            ConnectionError::new(ConnectionErrorKind::MessageTooLarge, &error.to_string())
        }
        Error::Io(error) if error.kind() == ErrorKind::TimedOut => {
            ConnectionError::new(ConnectionErrorKind::Unanswered, &error.to_string())
        }
        Error::Io(error) => ConnectionError::new(ConnectionErrorKind::Lost, &error.to_string()),
        Error::ConnectionClosed | Error::AlreadyClosed => {
            ConnectionError::new(ConnectionErrorKind::Lost, "the connection is already closed")
        }
        Error::Protocol(
            error @ (ProtocolError::ResetWithoutClosingHandshake | ProtocolError::SendAfterClosing),
        ) => ConnectionError::new(ConnectionErrorKind::Lost, &error.to_string()),
        Error::Protocol(error) => {
            ConnectionError::new(ConnectionErrorKind::ProtocolViolation, &error.to_string())
        }
        Error::Utf8(_) => ConnectionError::invalid_text("a text message is not valid UTF-8"),
        _ => ConnectionError::new(ConnectionErrorKind::Lost, "the connection failed"),
    }
}

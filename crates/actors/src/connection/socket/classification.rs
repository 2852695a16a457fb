//! The errors of name resolution, TCP, TLS and WebSocket as plain [`Fault`]s.
//!
//! The errors' own texts go into `details`, and only where they cannot hold the address or a header.

use std::io::{self, ErrorKind};

use tokio_tungstenite::tungstenite::{Error, error::ProtocolError};

use crate::{
    connection::fault::{Fault, FaultKind},
    error::retry_after,
};

/// The host's name gave no address.
pub(super) fn lookup(error: &io::Error) -> Fault {
    Fault::new(FaultKind::Unresolved, &error.to_string())
}

/// No TCP connection came about.
pub(super) fn connect(error: &io::Error) -> Fault {
    let kind = match error.kind() {
        ErrorKind::ConnectionRefused => FaultKind::Refused,
        ErrorKind::TimedOut => FaultKind::ConnectTimedOut,
        _ => FaultKind::Unreachable,
    };
    Fault::new(kind, &error.to_string())
}

/// TLS or the WebSocket handshake failed.
pub(super) fn handshake(error: &Error) -> Fault {
    match error {
        Error::Http(response) => {
            Fault::from_status(response.status().as_u16(), retry_after(response.headers(), None))
        }
        Error::Tls(error) => Fault::new(FaultKind::Tls, &error.to_string()),
        Error::Io(error) if is_tls(error) => Fault::new(FaultKind::Tls, &error.to_string()),
        Error::Io(error) => Fault::new(FaultKind::Lost, &format!("during the handshake: {error}")),
        Error::Protocol(ProtocolError::HandshakeIncomplete) => {
            Fault::new(FaultKind::Lost, "the peer hung up during the handshake")
        }
        Error::Url(_) => Fault::new(FaultKind::InvalidTarget, "the address cannot be asked for a WebSocket"),
        Error::Protocol(error) => Fault::new(FaultKind::NotWebsocket, &error.to_string()),
        _ => Fault::new(FaultKind::NotWebsocket, "the answer is no handshake, or one of excessive size"),
    }
}

/// An open socket ended.
pub(super) fn end(error: &Error) -> Fault {
    match error {
        Error::Capacity(error) => Fault::new(FaultKind::MessageTooLarge, &error.to_string()),
        Error::Io(error) if error.kind() == ErrorKind::TimedOut => {
            Fault::new(FaultKind::Unanswered, &error.to_string())
        }
        Error::Io(error) => Fault::new(FaultKind::Lost, &error.to_string()),
        Error::ConnectionClosed | Error::AlreadyClosed => {
            Fault::new(FaultKind::Lost, "the connection is already closed")
        }
        Error::Protocol(
            error @ (ProtocolError::ResetWithoutClosingHandshake | ProtocolError::SendAfterClosing),
        ) => Fault::new(FaultKind::Lost, &error.to_string()),
        Error::Protocol(error) => Fault::new(FaultKind::ProtocolViolation, &error.to_string()),
        Error::Utf8(_) => Fault::new(FaultKind::ProtocolViolation, "a text message is not valid UTF-8"),
        _ => Fault::new(FaultKind::Lost, "the connection failed"),
    }
}

fn is_tls(error: &io::Error) -> bool {
    let inner = error.get_ref();
    inner.is_some_and(|inner| {
        inner.is::<rustls::Error>() || inner.source().is_some_and(|it| it.is::<rustls::Error>())
    })
}

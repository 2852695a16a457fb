//! What went wrong with a dial or a socket, as plain data.
//!
//! The mechanism states facts here ([`FaultKind`], status, close code); whether one comes back after them is
//! the machine's decision.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest `details` in bytes; what is longer is cut.
pub const DETAILS_MAX_BYTES: usize = 512;

/// What kind of thing went wrong. The names are stable: they stand in the journal as reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The address, the path or a header cannot be used at all.
    InvalidTarget,
    /// The host's name has no address.
    Unresolved,
    /// Nobody listens there.
    Refused,
    /// No route, or another failure below TCP.
    Unreachable,
    /// The handshake did not end within `connect_timeout`.
    ConnectTimedOut,
    /// TLS failed: a certificate that is not trusted, or no TLS at the other end.
    Tls,
    /// The proxy cannot be reached, or what answers there is none.
    ProxyUnreachable,
    /// HTTP 407, or a SOCKS proxy that wants a user and a password or does not accept those that it was given.
    ProxyUnauthenticated,
    /// The proxy does not connect to the backend: it may not, or it cannot.
    ProxyRefused,
    /// HTTP 401, or close code 4401.
    Unauthenticated,
    /// HTTP 403, or close code 4403.
    Forbidden,
    /// HTTP 404 or 410: the path is not a WebSocket's.
    NotFound,
    /// HTTP 429.
    RateLimited,
    /// HTTP 408, 425 or 5xx.
    Unavailable,
    /// Another HTTP 4xx.
    Rejected,
    /// An answer that is no WebSocket handshake: HTTP 2xx or 3xx, or no HTTP at all.
    NotWebsocket,
    /// The peer closed the connection in order.
    Closed,
    /// The peer closed with code 1008.
    PolicyViolation,
    /// The connection broke without a close frame.
    Lost,
    /// A ping stayed without an answer for `ping_timeout`.
    Unanswered,
    /// The peer sent a frame or message above `message_max_bytes`.
    MessageTooLarge,
    /// The peer broke the WebSocket protocol.
    ProtocolViolation,
}

impl FaultKind {
    /// What happened and what can be done, for a person: no URL, token or path.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::InvalidTarget => "The backend's address cannot be used: check the configuration.",
            Self::Unresolved => {
                "The backend's name was not found: check the network and the configured address."
            }
            Self::Refused => "The backend does not accept connections: it may be starting, or not running.",
            Self::Unreachable => "The backend cannot be reached: check the network.",
            Self::ConnectTimedOut => {
                "The backend did not answer in time: it may be overloaded or unreachable."
            }
            Self::Tls => "No secure connection to the backend: its certificate or its TLS was not accepted.",
            Self::ProxyUnreachable => {
                "The proxy on the way to the backend cannot be reached: check the network and the proxy settings."
            }
            Self::ProxyUnauthenticated => {
                "The proxy on the way to the backend asks for a login: check the proxy settings."
            }
            Self::ProxyRefused => {
                "The proxy does not get through to the backend: check the address, or ask who runs the proxy."
            }
            Self::Unauthenticated => {
                "The backend did not accept the credentials: sign in again or renew the token."
            }
            Self::Forbidden => "The backend does not allow this connection: ask for access.",
            Self::NotFound => {
                "The backend has no WebSocket at the configured place: check the configuration."
            }
            Self::RateLimited => "The backend asks for fewer attempts: wait a little.",
            Self::Unavailable => "The backend is not available at present: wait a little.",
            Self::Rejected => "The backend refused the connection: its log may say why.",
            Self::NotWebsocket => {
                "What answered is not the backend's WebSocket: check for a proxy or a sign-in page in between."
            }
            Self::Closed => "The backend closed the connection.",
            Self::PolicyViolation => "The backend closed the connection and asked not to come back.",
            Self::Lost => "The connection to the backend broke.",
            Self::Unanswered => "The backend went silent: the connection is no longer alive.",
            Self::MessageTooLarge => "The backend sent a message larger than the limit.",
            Self::ProtocolViolation => "The backend sent something that is not valid on a WebSocket.",
        }
    }
}

/// One failed dial, or one socket's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What kind of thing went wrong.
    pub kind: FaultKind,
    /// For a person: no URL, token or path.
    pub message: String,
    /// For a log: at most [`DETAILS_MAX_BYTES`], without control characters. May hold what the peer wrote.
    pub details: String,
    /// The HTTP status of the handshake or of the proxy, where there was one.
    pub status: Option<u16>,
    /// The close code that the peer sent.
    pub close_code: Option<u16>,
    /// How long the peer asked to stay away.
    pub retry_after: Option<Duration>,
}

impl Fault {
    /// A fault of `kind`; its message for a person is the kind's own.
    #[must_use]
    pub fn new(kind: FaultKind, details: &str) -> Self {
        Self {
            kind,
            message: kind.message().to_owned(),
            details: bounded(details),
            status: None,
            close_code: None,
            retry_after: None,
        }
    }

    /// A handshake that was answered with `status` instead of 101.
    #[must_use]
    pub fn from_status(status: u16, retry_after: Option<Duration>) -> Self {
        let kind = match status {
            401 => FaultKind::Unauthenticated,
            407 => FaultKind::ProxyUnauthenticated,
            403 => FaultKind::Forbidden,
            404 | 410 => FaultKind::NotFound,
            429 => FaultKind::RateLimited,
            408 | 425 | 500.. => FaultKind::Unavailable,
            400..=499 => FaultKind::Rejected,
            _ => FaultKind::NotWebsocket,
        };
        let details = format!("the handshake was answered with HTTP {status}");
        Self { status: Some(status), retry_after, ..Self::new(kind, &details) }
    }

    /// A close frame from the peer; `code` is `None` where it carried none, `text` is the peer's own reason.
    #[must_use]
    pub fn from_close(code: Option<u16>, text: &str) -> Self {
        let kind = match code {
            Some(1008) => FaultKind::PolicyViolation,
            Some(4401) => FaultKind::Unauthenticated,
            Some(4403) => FaultKind::Forbidden,
            _ => FaultKind::Closed,
        };
        let code_text = code.map_or_else(|| "no code".to_owned(), |code| format!("code {code}"));
        let details = format!("closed by the peer with {code_text}: {text}");
        Self { close_code: code, ..Self::new(kind, &details) }
    }
}

/// `text` without control characters (a peer's escape sequences must not reach a terminal), cut to the limit.
fn bounded(text: &str) -> String {
    let mut kept = String::with_capacity(text.len().min(DETAILS_MAX_BYTES));
    for character in text.chars() {
        if kept.len() + character.len_utf8() > DETAILS_MAX_BYTES {
            break;
        }
        kept.push(if character.is_control() { ' ' } else { character });
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_what_kind_of_fault_it_is() {
        let kinds = [401, 407, 403, 404, 410, 429, 408, 425, 500, 503, 400, 426, 200, 302]
            .map(|status| Fault::from_status(status, None).kind);
        use FaultKind::*;
        assert_eq!(
            kinds,
            [
                Unauthenticated,
                ProxyUnauthenticated,
                Forbidden,
                NotFound,
                NotFound,
                RateLimited,
                Unavailable,
                Unavailable,
                Unavailable,
                Unavailable,
                Rejected,
                Rejected,
                NotWebsocket,
                NotWebsocket,
            ]
        );
    }

    #[test]
    fn a_close_code_says_what_kind_of_fault_it_is() {
        let kinds = [Some(1008), Some(4401), Some(4403), Some(1000), Some(1012), Some(4999), None]
            .map(|code| Fault::from_close(code, "").kind);
        use FaultKind::*;
        assert_eq!(kinds, [PolicyViolation, Unauthenticated, Forbidden, Closed, Closed, Closed, Closed]);
    }

    #[test]
    fn what_a_peer_wrote_is_cut_and_cannot_drive_a_terminal() {
        let fault = Fault::from_close(Some(1000), &format!("\u{1b}[2J{}", "ä".repeat(DETAILS_MAX_BYTES)));
        assert!(fault.details.len() <= DETAILS_MAX_BYTES);
        assert!(!fault.details.contains(char::is_control));
    }
}

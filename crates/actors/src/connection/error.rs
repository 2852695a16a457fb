//! Describes failed dials and sockets as plain data.
//!
//! The socket states facts here ([`ConnectionErrorKind`], status, close code), and the machine decides about the next
//! attempt. Callers see an [`Error`], from the same table as any other.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Code, Error, Reason, Secrets, excerpt, raw_excerpt, split_advice};

/// The close code for text that is not valid UTF-8.
const CLOSE_INVALID_TEXT: u16 = 1007;

/// The longest `details` that are shown, in characters.
const DETAILS_CHARS_MAX: usize = 500;

/// The kind of a failure, by which the machine decides. Others see its [`Reason`], which is finer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionErrorKind {
    /// The address, the path or a header cannot be used at all.
    InvalidTarget,
    /// The host's name has no address.
    Unresolved,
    /// The port is closed.
    Refused,
    /// No route, or another failure below TCP.
    Unreachable,
    /// The handshake did not end within `connect_timeout`.
    ConnectTimedOut,
    /// TLS failed: a certificate that is not trusted, or no TLS at the other end.
    Tls,
    /// The proxy cannot be reached, or the peer is not a proxy.
    ProxyUnreachable,
    /// HTTP 407, or a SOCKS proxy that requires a user and a password or rejects the given ones.
    ProxyUnauthenticated,
    /// The proxy refused to connect to the backend, or failed to.
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
    /// Any other HTTP 4xx.
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

impl ConnectionErrorKind {
    /// Every kind.
    pub const ALL: &[Self] = &[
        Self::InvalidTarget,
        Self::Unresolved,
        Self::Refused,
        Self::Unreachable,
        Self::ConnectTimedOut,
        Self::Tls,
        Self::ProxyUnreachable,
        Self::ProxyUnauthenticated,
        Self::ProxyRefused,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::RateLimited,
        Self::Unavailable,
        Self::Rejected,
        Self::NotWebsocket,
        Self::Closed,
        Self::PolicyViolation,
        Self::Lost,
        Self::Unanswered,
        Self::MessageTooLarge,
        Self::ProtocolViolation,
    ];

    /// Returns the reason for callers, unless a status or a close code is more specific.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::InvalidTarget => Reason::InvalidConfig,
            Self::Unresolved => Reason::HostNotFound,
            Self::Refused => Reason::ConnectionRefused,
            Self::Unreachable => Reason::ConnectionFailed,
            Self::ConnectTimedOut => Reason::ConnectTimedOut,
            Self::Tls => Reason::TlsFailed,
            Self::ProxyUnreachable => Reason::ProxyUnreachable,
            Self::ProxyUnauthenticated => Reason::ProxyUnauthenticated,
            Self::ProxyRefused => Reason::ProxyRefused,
            Self::Unauthenticated => Reason::Unauthenticated,
            Self::Forbidden | Self::PolicyViolation => Reason::Forbidden,
            Self::NotFound => Reason::NotFound,
            Self::RateLimited => Reason::RateLimited,
            Self::Unavailable => Reason::Unavailable,
            Self::Rejected => Reason::BadRequest,
            Self::NotWebsocket => Reason::NotWebsocket,
            Self::Closed => Reason::ConnectionClosed,
            Self::Lost => Reason::ConnectionReset,
            Self::Unanswered => Reason::TimedOut,
            Self::MessageTooLarge => Reason::ResponseTooLarge,
            Self::ProtocolViolation => Reason::BadResponse,
        }
    }

    /// Returns the kind of an error with this reason.
    fn of_reason(reason: Reason, status: Option<u16>, close_code: Option<u16>) -> Self {
        let of_proxy = [Self::ProxyUnreachable, Self::ProxyUnauthenticated, Self::ProxyRefused];
        if let Some(kind) = of_proxy.into_iter().find(|kind| kind.reason() == reason) {
            return kind;
        }
        match (status, close_code) {
            (Some(status), _) => Self::of_status(status),
            (None, Some(_)) => Self::of_close_code(close_code),
            // A reason of a newer version is that of a failure like others.
            (None, None) => {
                Self::ALL.iter().copied().find(|kind| kind.reason() == reason).unwrap_or(Self::Lost)
            }
        }
    }

    const fn of_status(status: u16) -> Self {
        match status {
            401 => Self::Unauthenticated,
            407 => Self::ProxyUnauthenticated,
            403 => Self::Forbidden,
            404 | 410 => Self::NotFound,
            429 => Self::RateLimited,
            408 | 425 | 500.. => Self::Unavailable,
            400..=499 => Self::Rejected,
            _ => Self::NotWebsocket,
        }
    }

    const fn of_close_code(code: Option<u16>) -> Self {
        match code {
            Some(1008) => Self::PolicyViolation,
            Some(4401) => Self::Unauthenticated,
            Some(4403) => Self::Forbidden,
            _ => Self::Closed,
        }
    }

    /// Returns whether another attempt may succeed; otherwise the peer or the address itself rules it out.
    ///
    /// A redirect or a page instead of a handshake is retried: on a laptop that is often a network's sign-in page,
    /// which disappears.
    #[must_use]
    pub(crate) const fn is_retryable(self) -> bool {
        !matches!(
            self,
            Self::InvalidTarget
                | Self::Unauthenticated
                | Self::ProxyUnauthenticated
                | Self::Forbidden
                | Self::NotFound
                | Self::Rejected
                | Self::PolicyViolation
        )
    }

    /// Returns the close code of RFC 6455 that answers an error caused by the peer; `None` for others.
    const fn answer_code(self) -> Option<u16> {
        match self {
            Self::MessageTooLarge => Some(1009),
            Self::ProtocolViolation => Some(1002),
            _ => None,
        }
    }

    /// Returns a message for a person, without URL, token or path: what happened and what to do. The message is the
    /// reason's own, except where a connection needs another than a request.
    #[must_use]
    pub const fn message(self, reason: Reason) -> &'static str {
        match self {
            Self::InvalidTarget => "The backend's address cannot be used. Check the configuration.",
            Self::NotFound => {
                "The backend has no live connection at the configured place. Check the configuration."
            }
            Self::Forbidden => {
                "The backend refuses the live connection. Check whether it offers one at the configured place, and the \
                 credentials."
            }
            Self::Rejected if !matches!(reason.code(), Code::PermissionDenied) => {
                "The backend refused the connection. Look into its log for the cause."
            }
            Self::PolicyViolation => {
                "The backend closed the connection and asked not to come back. Check the credentials, then reconnect."
            }
            Self::Lost => "The connection to the backend broke off. Wait for the next attempt, or reconnect.",
            Self::Unanswered => {
                "The backend went silent, so the connection was dropped. Wait for the next attempt, or reconnect."
            }
            Self::MessageTooLarge => {
                "The backend sent a message that is larger than the limit. Ask it for less at once."
            }
            Self::ProtocolViolation => {
                "The backend sent something that is not valid here. Check that its version is the right one."
            }
            _ => reason.message(),
        }
    }
}

/// A failed dial, or the end of a socket.
///
/// In JSON it has the fields of an [`Error`], `code`, `reason`, `retryable` and `retry_after_ms`, in place of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS), ts(as = "SerializedError<'static>"))]
pub struct ConnectionError {
    /// The kind of the failure.
    pub kind: ConnectionErrorKind,
    /// A message for a person, without URL, token or path.
    pub message: String,
    /// Details for a log: one line of at most about 500 characters. May hold text from the peer.
    pub details: String,
    /// The HTTP status of the handshake or of the proxy, if there was one.
    pub status: Option<u16>,
    /// The close code that the peer sent.
    pub close_code: Option<u16>,
    /// The delay that the peer asked for.
    pub retry_after: Option<Duration>,
    /// The close code with which the peer is answered, if the error calls for one.
    pub(super) answer_code: Option<u16>,
}

impl ConnectionError {
    /// Creates an error of `kind`, with the kind's reason and message.
    #[must_use]
    pub fn new(kind: ConnectionErrorKind, details: &str) -> Self {
        Self {
            kind,
            message: kind.message(kind.reason()).to_owned(),
            details: raw_excerpt(details),
            status: None,
            close_code: None,
            retry_after: None,
            answer_code: kind.answer_code(),
        }
    }

    /// Returns what is wrong: the message without its advice.
    #[must_use]
    pub fn problem(&self) -> &str {
        split_advice(&self.message).0
    }

    /// Returns what a person can do about it: the rest of the message, if it has one.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        split_advice(&self.message).1
    }

    /// Creates the error for text that is not valid UTF-8 (RFC 6455, 8.1).
    pub(super) fn invalid_text(details: &str) -> Self {
        Self {
            answer_code: Some(CLOSE_INVALID_TEXT),
            ..Self::new(ConnectionErrorKind::ProtocolViolation, details)
        }
    }

    /// Creates the error for a handshake that was answered with `status` instead of 101.
    #[must_use]
    pub fn from_status(status: u16, retry_after: Option<Duration>) -> Self {
        let kind = ConnectionErrorKind::of_status(status);
        let details = format!("the handshake was answered with HTTP {status}");
        Self { status: Some(status), retry_after, ..Self::new(kind, &details) }.with_reason_message()
    }

    /// Creates the error for a close frame from the peer; `code` is `None` if it carried none, `text` is the peer's
    /// reason.
    #[must_use]
    pub fn from_close(code: Option<u16>, text: &str) -> Self {
        let kind = ConnectionErrorKind::of_close_code(code);
        let code_text = code.map_or_else(|| "no code".to_owned(), |code| format!("code {code}"));
        let details = format!("closed by the peer with {code_text}: {text}");
        Self { close_code: code, ..Self::new(kind, &details) }.with_reason_message()
    }

    /// Creates the error for a close frame whose code can be read, but whose reason is no text. The code counts.
    pub(super) fn from_unreadable_close(code: u16) -> Self {
        let error = Self::from_close(Some(code), "with a reason that is not valid UTF-8");
        Self { answer_code: Some(CLOSE_INVALID_TEXT), ..error }
    }

    /// Replaces the message by that of the more specific reason.
    fn with_reason_message(self) -> Self {
        Self { message: self.kind.message(self.reason()).to_owned(), ..self }
    }

    /// Returns the reason for callers.
    #[must_use]
    pub fn reason(&self) -> Reason {
        use ConnectionErrorKind::{Closed, ProxyRefused, ProxyUnauthenticated, ProxyUnreachable};
        match self.kind {
            Closed => Reason::from_close_code(self.close_code),
            // A status from the proxy says nothing about the backend.
            ProxyUnreachable | ProxyUnauthenticated | ProxyRefused => self.kind.reason(),
            _ => self.status.and_then(Reason::from_status).unwrap_or(self.kind.reason()),
        }
    }

    /// Returns whether another dial may succeed, by itself or by hand.
    #[must_use]
    pub(crate) fn is_retryable(&self) -> bool {
        self.kind.is_retryable()
    }

    /// Returns the error without secrets. Only now are its details cut.
    #[must_use]
    pub fn redacted(self, secrets: &Secrets) -> Self {
        Self { details: excerpt(&secrets.redact(&self.details), DETAILS_CHARS_MAX), ..self }
    }
}

/// Returns the HTTP status of a handshake that was answered as by a server that has no WebSocket at the path: with a
/// refusal other than for credentials, or with a page or a redirect. A proxy's answer is none.
#[must_use]
pub fn status_without_websocket(error: &Error) -> Option<u16> {
    use ConnectionErrorKind::{Forbidden, NotFound, NotWebsocket, Rejected};
    let kind = ConnectionErrorKind::of_reason(error.reason, error.status, None);
    error.status.filter(|_| matches!(kind, Forbidden | NotFound | NotWebsocket | Rejected))
}

impl From<&ConnectionError> for Error {
    /// Converts to the error for callers. `retryable` concerns the dial, not the reason: a connection is retried
    /// after failures that end a single request.
    fn from(error: &ConnectionError) -> Self {
        let base = Self::new(error.reason());
        Self {
            message: error.message.clone(),
            status: error.status,
            retryable: error.is_retryable(),
            ..base.with_details(&error.details).with_retry_after(error.retry_after)
        }
    }
}

impl<'de> Deserialize<'de> for ConnectionError {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct StoredError {
            reason: Reason,
            message: String,
            details: String,
            status: Option<u16>,
            close_code: Option<u16>,
            retry_after_ms: Option<u64>,
        }
        let error = StoredError::deserialize(deserializer)?;
        let StoredError { reason, message, details, status, close_code, retry_after_ms } = error;
        Ok(Self {
            kind: ConnectionErrorKind::of_reason(reason, status, close_code),
            message,
            details,
            status,
            close_code,
            retry_after: retry_after_ms.map(Duration::from_millis),
            answer_code: None,
        })
    }
}

/// The members of a failure in JSON.
#[derive(Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
struct SerializedError<'a> {
    #[cfg_attr(feature = "typescript", ts(skip))]
    code: Code,
    #[cfg_attr(feature = "typescript", ts(flatten))]
    reason: Reason,
    message: &'a str,
    details: &'a str,
    status: Option<u16>,
    close_code: Option<u16>,
    retryable: bool,
    retry_after_ms: Option<u64>,
}

impl Serialize for ConnectionError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { kind: _, message, details, status, close_code, retry_after: _, answer_code: _ } = self;
        let Error { code, reason, retryable, retry_after_ms, .. } = Error::from(self);
        let (status, close_code) = (*status, *close_code);
        SerializedError { code, reason, message, details, status, close_code, retryable, retry_after_ms }
            .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::tests::words::assert_message_helps;

    #[test]
    fn every_error_has_a_helpful_message() {
        for kind in ConnectionErrorKind::ALL {
            assert_message_helps(kind.message(kind.reason()));
        }
        for status in 100..1000 {
            assert_message_helps(&ConnectionError::from_status(status, None).message);
        }
        for code in (1000..5000).map(Some).chain([None]) {
            assert_message_helps(&ConnectionError::from_close(code, "").message);
        }
    }

    #[test]
    fn error_is_retryable_where_the_policy_retries() {
        for kind in ConnectionErrorKind::ALL {
            let expected = kind.is_retryable();
            assert_eq!(Error::from(&ConnectionError::new(*kind, "")).retryable, expected, "{kind:?}");
        }
    }

    #[test]
    fn json_reads_back_as_error_and_as_connection_error() {
        let error = ConnectionError::from_status(503, Some(Duration::from_secs(2)));
        let json = serde_json::to_value(&error).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "code": "SERVER_ERROR",
                "reason": "unavailable",
                "message": Reason::Unavailable.message(),
                "details": "the handshake was answered with HTTP 503",
                "status": 503,
                "close_code": null,
                "retryable": true,
                "retry_after_ms": 2000,
            })
        );
        assert_eq!(serde_json::from_value::<Error>(json.clone()).unwrap(), Error::from(&error));
        assert_eq!(serde_json::from_value::<ConnectionError>(json).unwrap(), error);
    }

    #[test]
    fn json_of_each_error_reads_back_with_its_kind() {
        // A policy violation is always closed with its code.
        let kinds =
            ConnectionErrorKind::ALL.iter().filter(|kind| **kind != ConnectionErrorKind::PolicyViolation);
        let by_kind = kinds.map(|kind| ConnectionError::new(*kind, "x"));
        let by_status = (100..600).map(|status| ConnectionError::from_status(status, None));
        let by_code = (1000..5000).map(Some).chain([None]).map(|code| ConnectionError::from_close(code, ""));
        let of_proxy = ConnectionError {
            status: Some(502),
            ..ConnectionError::new(ConnectionErrorKind::ProxyRefused, "x")
        };
        for error in by_kind.chain(by_status).chain(by_code).chain([of_proxy]) {
            let json = serde_json::to_value(&error).unwrap();
            let back: ConnectionError = serde_json::from_value(json).unwrap();
            assert_eq!(back, ConnectionError { answer_code: None, ..error });
        }
    }

    #[test]
    fn details_are_cut_and_free_of_control_characters() {
        let secrets = Secrets::from_texts(["s3cret-t0ken".to_owned()]);
        for before in DETAILS_CHARS_MAX - 60..DETAILS_CHARS_MAX {
            let text = format!("\u{1b}[2J{}s3cret-t0ken{}", "ä".repeat(before), "y".repeat(9000));
            let details = ConnectionError::from_close(Some(1000), &text).redacted(&secrets).details;
            assert!(details.chars().count() <= DETAILS_CHARS_MAX + 1);
            assert!(!details.contains(char::is_control));
            assert!(!details.contains("s3c"), "{before}: {details}");
        }
    }
}

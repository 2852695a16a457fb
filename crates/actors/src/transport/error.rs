//! Says what failed in an attempt, and whether the server may have acted.

use std::fmt;

use ::http::{HeaderMap, HeaderName, StatusCode};

use crate::{
    error::{Error, Reason},
    request::BodyError,
};

/// The progress of an attempt when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SendProgress {
    /// The server cannot have received the request: sending it again is always safe.
    NotSent,
    /// The server may have received the request, and may have acted.
    MaybeSent,
    /// The server has begun to answer, so it received the request.
    Answered,
}

/// The kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// No server listens at the address.
    Refused,
    /// The host name does not resolve.
    HostNotFound,
    /// The proxy cannot be reached, or the server at its address is no proxy.
    ProxyUnreachable,
    /// The proxy needs a user and a password, or rejects the given ones.
    ProxyUnauthenticated,
    /// The proxy does not reach the backend. An HTTP tunnel does not say why: the proxy may not, or cannot.
    ProxyRefused,
    /// The proxy says that it may not connect to the backend, or cannot connect to such an address.
    ProxyDenied,
    /// The source of the token fails, and there is no token from before.
    NoCredentials,
    /// The backend rejected the token with 401, and its source gives another one. A repeat may succeed.
    TokenRenewed,
    /// The connection, proxy and TLS included, took longer than its limit.
    ConnectTimedOut,
    /// TLS could not be set up.
    Tls,
    /// The connection could not be made, for another cause.
    Connect,
    /// The response did not begin in time.
    TimedOut,
    /// The response began, and then no part of it came in time.
    BodyTimedOut,
    /// The connection broke before the response began.
    Reset,
    /// The connection broke within the response.
    BodyReset,
    /// The response is larger than the limit.
    TooLarge,
    /// The response is not HTTP.
    BadResponse,
    /// The response's body has a content coding that is not known.
    UnknownEncoding,
    /// The request could not be made into HTTP.
    BadRequest,
    /// The request's body could not be read to its end; the send was aborted.
    UploadUnreadable,
    /// The request's body changed while it was sent, or its length differs from the announced one; the send was
    /// aborted.
    UploadChanged,
}

impl FailureKind {
    /// Every kind.
    pub const ALL: &[Self] = &[
        Self::Refused,
        Self::HostNotFound,
        Self::ProxyUnreachable,
        Self::ProxyUnauthenticated,
        Self::ProxyRefused,
        Self::ProxyDenied,
        Self::NoCredentials,
        Self::TokenRenewed,
        Self::ConnectTimedOut,
        Self::Tls,
        Self::Connect,
        Self::TimedOut,
        Self::BodyTimedOut,
        Self::Reset,
        Self::BodyReset,
        Self::TooLarge,
        Self::BadResponse,
        Self::UnknownEncoding,
        Self::BadRequest,
        Self::UploadUnreadable,
        Self::UploadChanged,
    ];

    /// Returns whether no connection was made, as when the backend does not run.
    pub(crate) const fn is_unreachable(self) -> bool {
        use FailureKind::{Connect, ConnectTimedOut, HostNotFound, ProxyRefused, ProxyUnreachable, Refused};
        matches!(self, Refused | HostNotFound | ConnectTimedOut | Connect | ProxyUnreachable | ProxyRefused)
    }

    /// Returns the reason that callers see.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Refused => Reason::ConnectionRefused,
            Self::HostNotFound => Reason::HostNotFound,
            Self::ProxyUnreachable => Reason::ProxyUnreachable,
            Self::ProxyUnauthenticated => Reason::ProxyUnauthenticated,
            Self::ProxyRefused | Self::ProxyDenied => Reason::ProxyRefused,
            Self::NoCredentials | Self::TokenRenewed => Reason::Unauthenticated,
            Self::ConnectTimedOut => Reason::ConnectTimedOut,
            Self::Tls => Reason::TlsFailed,
            Self::Connect => Reason::ConnectionFailed,
            Self::TimedOut | Self::BodyTimedOut => Reason::TimedOut,
            Self::Reset | Self::BodyReset => Reason::ConnectionReset,
            Self::TooLarge => Reason::ResponseTooLarge,
            Self::BadResponse => Reason::BadResponse,
            Self::UnknownEncoding => Reason::UnknownEncoding,
            Self::BadRequest => Reason::InvalidRequest,
            Self::UploadUnreadable => Reason::BodyUnreadable,
            Self::UploadChanged => Reason::BodyChanged,
        }
    }
}

/// The head of a response whose rest was lost.
#[derive(Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
}

impl fmt::Debug for ResponseHead {
    /// Leaves out the headers' values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_head(f, "ResponseHead", self.status, &self.headers).finish()
    }
}

/// Begins the debug output of a response: its headers without their values.
pub(super) fn debug_head<'a, 'f>(
    f: &'a mut fmt::Formatter<'f>,
    name: &str,
    status: StatusCode,
    headers: &HeaderMap,
) -> fmt::DebugStruct<'a, 'f> {
    let mut shown = f.debug_struct(name);
    let names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    shown.field("status", &status).field("headers", &names);
    shown
}

/// Says why an attempt got no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{details}")]
pub struct TransportError {
    /// The kind of failure.
    pub kind: FailureKind,
    /// The progress of the attempt, which says whether the server may have acted.
    pub progress: SendProgress,
    /// The head of the response, if it began.
    pub head: Option<Box<ResponseHead>>,
    /// True if the connection was probably kept from an earlier request. The server may have closed it for being
    /// idle, so a repeat need not wait.
    pub is_on_kept_connection: bool,
    /// The cause, for a log; without a URL.
    pub details: String,
}

impl TransportError {
    /// Creates a failure before any response began.
    #[must_use]
    pub fn new(kind: FailureKind, reach: SendProgress, details: impl Into<String>) -> Self {
        Self { kind, progress: reach, head: None, is_on_kept_connection: false, details: details.into() }
    }

    /// Creates a failure within a response that began with `head`.
    #[must_use]
    pub(crate) fn in_body(kind: FailureKind, head: ResponseHead, details: impl Into<String>) -> Self {
        Self {
            kind,
            progress: SendProgress::Answered,
            head: Some(Box::new(head)),
            is_on_kept_connection: false,
            details: details.into(),
        }
    }

    /// Returns the status, if the response began.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.head.as_ref().map(|head| head.status.as_u16())
    }
}

impl From<&BodyError> for FailureKind {
    fn from(error: &BodyError) -> Self {
        match error {
            BodyError::Unreadable(_) => Self::UploadUnreadable,
            BodyError::Changed(_) => Self::UploadChanged,
        }
    }
}

impl From<&TransportError> for Error {
    /// Converts the failure to the error that callers see. A failing status says more than the loss of its body.
    fn from(failure: &TransportError) -> Self {
        let details = &failure.details;
        let kind = Self::new(failure.kind.reason()).with_details(details);
        let Some(status) = failure.status() else { return kind };
        if failure.kind == FailureKind::TokenRenewed {
            let message = "The backend rejected the token, and there is a new one. Try again.";
            return Self { retryable: true, ..kind }.with_status(status).with_message(message);
        }
        let error =
            Reason::from_status(status).map_or(kind, |reason| Self::new(reason).with_details(details));
        error.with_status(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn body_reset_is_network_error_and_stall_is_timeout() {
        let code = |kind| {
            let head = ResponseHead { status: StatusCode::OK, headers: HeaderMap::new() };
            Error::from(&TransportError::in_body(kind, head, "")).code
        };
        assert_eq!(code(FailureKind::BodyReset), Code::NetworkError);
        assert_eq!(code(FailureKind::BodyTimedOut), Code::Timeout);
        assert_eq!(code(FailureKind::TooLarge), Code::ServerError);
    }

    #[test]
    fn failing_status_wins_over_a_lost_body() {
        let head = ResponseHead { status: StatusCode::FORBIDDEN, headers: HeaderMap::new() };
        let failure = TransportError::in_body(FailureKind::BodyReset, head, "gone");
        let error = Error::from(&failure);
        assert_eq!((error.reason, error.status), (Reason::Forbidden, Some(403)));
        assert!(error.details.unwrap().contains("gone"));
    }
}

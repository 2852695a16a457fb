//! One attempt at one request, behind a trait so that a simulation can stand in for the network.
//!
//! - [`Transport`] makes one attempt and never decides about another; the queue does that (`queue::retry`)
//! - [`TransportError`] says what failed *and* whether the server may have acted
//! - [`HttpTransport`] is the real one, over reqwest

mod http;
mod response;

use std::{fmt, time::Duration};

use ::http::{HeaderMap, HeaderName, StatusCode};
use futures_util::{FutureExt, future::BoxFuture};

#[cfg(test)]
pub(crate) use self::http::tests::{raw_server, scripted_server};
pub use self::{
    http::{HttpSettings, HttpTransport},
    response::{FullResponse, ResponseBody, StreamingResponse},
};
use crate::{
    error::{Error, Reason, Secrets},
    request::{BodyError, Request},
};

/// Makes single attempts at requests.
///
/// It notes in the request's [`Meter`](crate::request::Meter) what it sends.
pub trait Transport: Send + Sync + 'static {
    /// Makes one attempt at `request`.
    ///
    /// It fails when it stands still for `timeout`: until the answer begins, and then between any two parts of it.
    /// An answer that keeps coming may take longer. Dropping the future ends the attempt and frees what it held.
    ///
    /// It sends the request once. Only where an answer redirects within the backend's own origin does it send a request
    /// again, to where that answer points; a hop is a part of the attempt. It never repeats a send that failed.
    ///
    /// Any HTTP status is an answer; an `Err` means that there was none, or none that could be read.
    fn send<'a>(
        &'a self,
        request: &'a Request,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<FullResponse, TransportError>>;

    /// Like [`attempt`](Self::attempt), but comes back as soon as the answer has begun. Its body is bounded by nothing
    /// but what is read of it; `timeout` applies to each part from when it is asked for, so the time in which nobody
    /// asks does not count.
    ///
    /// Unless a transport says otherwise, the answer is waited for as a whole. One that wraps another has to say
    /// otherwise, and pass this on.
    fn send_streaming<'a>(
        &'a self,
        request: &'a Request,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<StreamingResponse, TransportError>> {
        self.send(request, timeout).map(|answered| answered.map(StreamingResponse::from)).boxed()
    }

    /// What it adds to requests and must not be told again, such as a token. One that passes attempts on to another
    /// passes this on as well.
    fn secrets(&self) -> Secrets {
        Secrets::default()
    }
}

/// How far an attempt came before it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SendProgress {
    /// The server cannot have received the request: sending it again is always safe.
    NotSent,
    /// The server may have received it, and may have acted.
    MaybeSent,
    /// The server has begun to answer, so it did receive it.
    Answered,
}

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// Nothing listens there.
    Refused,
    /// The host name does not resolve.
    HostNotFound,
    /// The proxy cannot be reached, or what answers there is none.
    ProxyUnreachable,
    /// The proxy wants a user and a password, or others than it was given.
    ProxyUnauthenticated,
    /// The proxy does not get through to the backend. Why is not known of a tunnel of HTTP: it may not, or it cannot.
    ProxyRefused,
    /// The proxy says that it may not connect to the backend, or cannot connect to such an address.
    ProxyDenied,
    /// The connection, proxy and TLS included, was not made in time.
    ConnectTimedOut,
    /// TLS could not be set up.
    Tls,
    /// The connection could not be made, for another cause.
    Connect,
    /// The answer did not begin in time.
    TimedOut,
    /// The answer began and then stood still.
    BodyTimedOut,
    /// The connection broke before the answer had begun.
    Reset,
    /// The connection broke within the answer.
    BodyReset,
    /// The answer is larger than the limit.
    TooLarge,
    /// What came back is not HTTP.
    BadResponse,
    /// The request could not be made into HTTP.
    BadRequest,
    /// The request's body could not be read to its end; what had been sent of it was broken off.
    UploadUnreadable,
    /// The request's body changed while it was sent, or was not as long as announced; it was broken off.
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
        Self::ConnectTimedOut,
        Self::Tls,
        Self::Connect,
        Self::TimedOut,
        Self::BodyTimedOut,
        Self::Reset,
        Self::BodyReset,
        Self::TooLarge,
        Self::BadResponse,
        Self::BadRequest,
        Self::UploadUnreadable,
        Self::UploadChanged,
    ];

    /// The reason that callers see.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::Refused => Reason::ConnectionRefused,
            Self::HostNotFound => Reason::HostNotFound,
            Self::ProxyUnreachable => Reason::ProxyUnreachable,
            Self::ProxyUnauthenticated => Reason::ProxyUnauthenticated,
            Self::ProxyRefused | Self::ProxyDenied => Reason::ProxyRefused,
            Self::ConnectTimedOut => Reason::ConnectTimedOut,
            Self::Tls => Reason::TlsFailed,
            Self::Connect => Reason::ConnectionFailed,
            Self::TimedOut | Self::BodyTimedOut => Reason::TimedOut,
            Self::Reset | Self::BodyReset => Reason::ConnectionReset,
            Self::TooLarge => Reason::ResponseTooLarge,
            Self::BadResponse => Reason::BadResponse,
            Self::BadRequest => Reason::InvalidRequest,
            Self::UploadUnreadable => Reason::BodyUnreadable,
            Self::UploadChanged => Reason::BodyChanged,
        }
    }
}

/// How an answer began whose rest was lost.
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
        debug_head(f, "AnswerHead", self.status, &self.headers).finish()
    }
}

/// The beginning of how an answer is shown: its headers without their values.
fn debug_head<'a, 'f>(
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

/// Why an attempt gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind:?} ({progress:?}): {details}")]
pub struct TransportError {
    /// What failed.
    pub kind: FailureKind,
    /// Whether the server may have acted.
    pub progress: SendProgress,
    /// How the answer began, if it did.
    pub head: Option<Box<ResponseHead>>,
    /// Whether the connection was probably kept from an earlier request: then the server may have closed it for being
    /// idle, and a repeat need not wait.
    pub is_on_kept_connection: bool,
    /// The cause, for a log; without a URL.
    pub details: String,
}

impl TransportError {
    /// A failure before any answer had begun.
    #[must_use]
    pub fn new(kind: FailureKind, reach: SendProgress, details: impl Into<String>) -> Self {
        Self { kind, progress: reach, head: None, is_on_kept_connection: false, details: details.into() }
    }

    /// A failure within an answer that had begun with `head`.
    #[must_use]
    pub fn in_body(kind: FailureKind, head: ResponseHead, details: impl Into<String>) -> Self {
        Self {
            kind,
            progress: SendProgress::Answered,
            head: Some(Box::new(head)),
            is_on_kept_connection: false,
            details: details.into(),
        }
    }

    /// The status, if the answer had begun.
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
    /// The error as callers see it. A failing status tells more than the loss of the body that came with it.
    fn from(failure: &TransportError) -> Self {
        let details = format!("{:?}: {}", failure.kind, failure.details);
        let kind = Self::new(failure.kind.reason()).with_details(&details);
        let Some(status) = failure.status() else { return kind };
        let error =
            Reason::from_status(status).map_or(kind, |reason| Self::new(reason).with_details(&details));
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

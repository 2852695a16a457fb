//! Makes single attempts at requests, behind a trait so that a simulation can replace the network.
//!
//! - [`Transport`] makes one attempt and never decides about another; `queue::retry` does
//! - [`TransportError`] says what failed *and* whether the server may have acted
//! - [`HttpTransport`] is the real one, over reqwest; [`AddressedTransport`] follows a backend that moves
//! - [`layers`] wrap a transport: they see every attempt of the queue and of the agents

mod addressed;
mod error;
mod http;
pub mod layers;

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use ::http::{HeaderMap, StatusCode};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, Stream, StreamExt, TryFutureExt, future::BoxFuture, stream::BoxStream};

use self::error::debug_head;

#[cfg(test)]
pub(crate) use self::http::tests::{crashing_server, raw_server, scripted_server};
pub use self::{
    addressed::AddressedTransport,
    error::{FailureKind, ResponseHead, SendProgress, TransportError},
    http::{HttpTransport, settings::HttpSettings},
};
use crate::{
    error::Secrets,
    request::{ProgressSender, Request},
};

/// The most bytes that [`Transport::collect`] takes of a response's body.
pub(crate) const COLLECTED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Makes single attempts at requests.
///
/// It reports the sent bytes to the request's progress.
pub trait Transport: Send + Sync + 'static {
    /// Sends `request` once, and returns as soon as its response has begun.
    ///
    /// It fails when nothing moves for `timeout`: until the response begins, and then between any two parts of it. A
    /// response that keeps coming may take longer. The time in which the caller asks for no part does not count.
    /// Dropping the future or the response ends the attempt and frees its resources. The body may be of any size.
    ///
    /// It never repeats a send that failed. A redirect within the backend's own origin is followed, as a part of the
    /// attempt.
    ///
    /// # Errors
    ///
    /// When there was no response, or none that could be read. Any HTTP status is a response, except a 401 after which
    /// there is another token: [`FailureKind::TokenRenewed`].
    fn send<'a>(
        &'a self,
        request: &'a Request,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<StreamingResponse, TransportError>>;

    /// Sends `request` like [`send`](Self::send), and returns its whole response.
    ///
    /// It reports the received bytes to the request's progress.
    ///
    /// # Errors
    ///
    /// The errors of [`send`](Self::send) and of the body, and [`FailureKind::TooLarge`] if the body has more than
    /// 16 MiB.
    fn collect<'a>(
        &'a self,
        request: &'a Request,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<FullResponse, TransportError>> {
        self.send(request, timeout)
            .and_then(|response| response.collect(COLLECTED_BYTES_MAX, request.progress_sender()))
            .boxed()
    }

    /// Returns the secrets that it adds to requests, such as a token. No error repeats them. A layer returns those of
    /// the transport below it as well.
    fn secrets(&self) -> Secrets {
        Secrets::default()
    }
}

/// A whole response of the transport.
#[derive(Clone, PartialEq, Eq)]
pub struct FullResponse {
    /// The final status, whatever it is.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// True if redirects led to it: it is then the response of another path than the requested one.
    pub is_redirected: bool,
}

/// A response that has begun. Dropping it ends the attempt and closes its connection.
pub struct StreamingResponse {
    /// The final status, whatever it is.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The length of the body in bytes, if the backend announces it.
    pub length: Option<u64>,
    /// True if the body announces its end, by its length or in chunks. Otherwise it ends with the connection.
    pub is_end_marked: bool,
    /// True if redirects led to it: it is then the response of another path than the requested one.
    pub is_redirected: bool,
    /// The body, as a stream.
    pub body: ResponseBody,
}

impl fmt::Debug for FullResponse {
    /// Leaves out the headers' values and the body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_head(f, "FullResponse", self.status, &self.headers)
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

impl fmt::Debug for StreamingResponse {
    /// Leaves out the headers' values and the body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = debug_head(f, "StreamingResponse", self.status, &self.headers);
        debug.field("length", &self.length).field("body", &self.body).finish()
    }
}

impl From<FullResponse> for StreamingResponse {
    fn from(response: FullResponse) -> Self {
        let FullResponse { status, headers, body, is_redirected } = response;
        Self {
            status,
            headers,
            length: Some(body.len() as u64),
            is_end_marked: true,
            is_redirected,
            body: ResponseBody::from(body),
        }
    }
}

impl StreamingResponse {
    /// Reads the body to its end, with at most `bytes_max` bytes.
    async fn collect(
        self,
        bytes_max: usize,
        progress: &ProgressSender,
    ) -> Result<FullResponse, TransportError> {
        let Self { status, headers, length, is_redirected, body: mut parts, .. } = self;
        let mut body = BytesMut::new();
        let mut is_too_large = length.is_some_and(|length| length > bytes_max as u64);
        while !is_too_large {
            progress.set_received(body.len() as u64, length);
            let Some(part) = parts.next().await.transpose()? else {
                return Ok(FullResponse { status, headers, body: body.freeze(), is_redirected });
            };
            is_too_large = body.len() + part.len() > bytes_max;
            body.extend_from_slice(&part);
        }
        let head = ResponseHead { status, headers };
        Err(TransportError::in_body(
            FailureKind::TooLarge,
            head,
            format!("the response has more than {bytes_max} bytes"),
        ))
    }
}

/// The body of a response: a stream of parts. It ends after the last part, or with an error.
///
/// A truncated body never looks whole, unless nothing marks its end ([`StreamingResponse::is_end_marked`]).
pub struct ResponseBody(ResponseParts);

enum ResponseParts {
    Whole(Bytes),
    Streaming(BoxStream<'static, Result<Bytes, TransportError>>),
    Ended,
}

impl ResponseBody {
    /// Creates a body from these parts. It is not polled after an error.
    pub fn new(parts: impl Stream<Item = Result<Bytes, TransportError>> + Send + 'static) -> Self {
        Self(ResponseParts::Streaming(parts.boxed()))
    }
}

impl From<Bytes> for ResponseBody {
    /// Creates a body from bytes in memory.
    fn from(body: Bytes) -> Self {
        Self(ResponseParts::Whole(body))
    }
}

impl Stream for ResponseBody {
    type Item = Result<Bytes, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let part = match &mut self.0 {
            ResponseParts::Whole(body) => Some(std::mem::take(body)).filter(|body| !body.is_empty()).map(Ok),
            ResponseParts::Streaming(parts) => ready!(parts.poll_next_unpin(cx)),
            ResponseParts::Ended => None,
        };
        if !matches!(part, Some(Ok(_))) {
            self.0 = ResponseParts::Ended;
        }
        Poll::Ready(part)
    }
}

impl fmt::Debug for ResponseBody {
    /// Shows nothing of the body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.0 {
            ResponseParts::Whole(body) => return write!(f, "{} bytes", body.len()),
            ResponseParts::Streaming(_) => "coming",
            ResponseParts::Ended => "ended",
        };
        f.write_str(state)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, stream};

    use super::*;

    fn parts(mut body: ResponseBody) -> Vec<Option<Result<Bytes, FailureKind>>> {
        let mut next = || body.next().now_or_never().unwrap().map(|part| part.map_err(|error| error.kind));
        std::iter::repeat_with(&mut next).take(3).collect()
    }

    #[test]
    fn buffered_body_is_one_part_and_empty_body_none() {
        let body = Bytes::from_static(b"body");
        assert_eq!(parts(body.clone().into()), [Some(Ok(body)), None, None]);
        assert_eq!(parts(Bytes::new().into()), [None, None, None]);
    }

    #[tokio::test]
    async fn response_over_the_limit_is_too_large_and_has_its_head() {
        let in_parts = || stream::iter(["four", "more"].map(|part| Ok(Bytes::from_static(part.as_bytes()))));
        let response = |length| StreamingResponse {
            status: StatusCode::ACCEPTED,
            headers: HeaderMap::new(),
            length,
            is_end_marked: true,
            is_redirected: true,
            body: ResponseBody::new(in_parts()),
        };
        let progress = ProgressSender::default();
        for length in [None, Some(8)] {
            let full = response(length).collect(8, &progress).await.unwrap();
            assert_eq!((full.body, full.is_redirected), (Bytes::from_static(b"fourmore"), true));
            let failure = response(length).collect(7, &progress).await.unwrap_err();
            assert_eq!((failure.kind, failure.status()), (FailureKind::TooLarge, Some(202)));
        }
    }

    #[test]
    fn body_ends_after_an_error() {
        let broken = TransportError::new(FailureKind::BodyReset, SendProgress::Answered, "gone");
        let parts_after_error = stream::iter([Err(broken), Ok(Bytes::from_static(b"late"))]);
        assert_eq!(
            parts(ResponseBody::new(parts_after_error)),
            [Some(Err(FailureKind::BodyReset)), None, None]
        );
    }
}

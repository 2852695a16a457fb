//! Defines the transport's response: whole, or as a stream.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream::BoxStream};
use http::{HeaderMap, StatusCode};

use super::{TransportError, debug_head};

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
        let FullResponse { status, headers, body, .. } = response;
        Self {
            status,
            headers,
            length: Some(body.len() as u64),
            is_end_marked: true,
            body: ResponseBody::from(body),
        }
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
    use crate::transport::{FailureKind, SendProgress};

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

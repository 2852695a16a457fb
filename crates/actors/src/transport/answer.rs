//! What came back over the wire: whole, or as it comes.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream::BoxStream};
use http::{HeaderMap, StatusCode};

use super::{TransportError, show_head};

/// What came back over the wire.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The final status, whatever it is.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// Whether a redirect led to it: then it is the answer of another path than the one that was asked for.
    pub is_redirected: bool,
}

/// An answer that has begun. Dropping it ends the attempt and closes its connection.
pub struct OpenAnswer {
    /// The final status, whatever it is.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// How long the body will be, in bytes, if the backend says so.
    pub length: Option<u64>,
    /// Whether the body says where it ends, by its length or in chunks. Where it does not, it ends with the connection.
    pub is_end_marked: bool,
    /// The body, as it comes.
    pub body: AnswerBody,
}

impl fmt::Debug for Answer {
    /// Leaves out the headers' values and the body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_head(f, "Answer", self.status, &self.headers).field("body_bytes", &self.body.len()).finish()
    }
}

impl fmt::Debug for OpenAnswer {
    /// Leaves out the headers' values and the body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = show_head(f, "OpenAnswer", self.status, &self.headers);
        shown.field("length", &self.length).field("body", &self.body).finish()
    }
}

impl From<Answer> for OpenAnswer {
    fn from(answer: Answer) -> Self {
        let Answer { status, headers, body, .. } = answer;
        Self {
            status,
            headers,
            length: Some(body.len() as u64),
            is_end_marked: true,
            body: AnswerBody::from(body),
        }
    }
}

/// The body of an answer, as it comes: a stream of parts. It ends after the last part, or with an error. One that was
/// cut off never looks whole, but where nothing marks the end ([`OpenAnswer::is_end_marked`]).
pub struct AnswerBody(Parts);

enum Parts {
    Whole(Bytes),
    Coming(BoxStream<'static, Result<Bytes, TransportError>>),
    Ended,
}

impl AnswerBody {
    /// A body that comes in these parts. What comes after an error is not asked for.
    pub fn new(parts: impl Stream<Item = Result<Bytes, TransportError>> + Send + 'static) -> Self {
        Self(Parts::Coming(parts.boxed()))
    }
}

impl From<Bytes> for AnswerBody {
    /// A body that is there already.
    fn from(body: Bytes) -> Self {
        Self(Parts::Whole(body))
    }
}

impl Stream for AnswerBody {
    type Item = Result<Bytes, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let part = match &mut self.0 {
            Parts::Whole(body) => Some(std::mem::take(body)).filter(|body| !body.is_empty()).map(Ok),
            Parts::Coming(parts) => ready!(parts.poll_next_unpin(cx)),
            Parts::Ended => None,
        };
        if !matches!(part, Some(Ok(_))) {
            self.0 = Parts::Ended;
        }
        Poll::Ready(part)
    }
}

impl fmt::Debug for AnswerBody {
    /// Shows nothing of the body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = match &self.0 {
            Parts::Whole(body) => return write!(f, "{} bytes", body.len()),
            Parts::Coming(_) => "coming",
            Parts::Ended => "ended",
        };
        f.write_str(said)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, stream};

    use super::*;
    use crate::transport::{FailureKind, Reach};

    fn parts(mut body: AnswerBody) -> Vec<Option<Result<Bytes, FailureKind>>> {
        let mut next = || body.next().now_or_never().unwrap().map(|part| part.map_err(|error| error.kind));
        std::iter::repeat_with(&mut next).take(3).collect()
    }

    #[test]
    fn a_body_that_is_there_is_one_part_and_an_empty_one_is_none() {
        let body = Bytes::from_static(b"body");
        assert_eq!(parts(body.clone().into()), [Some(Ok(body)), None, None]);
        assert_eq!(parts(Bytes::new().into()), [None, None, None]);
    }

    #[test]
    fn nothing_comes_after_an_error() {
        let broken = TransportError::new(FailureKind::BodyReset, Reach::Answered, "gone");
        let coming = stream::iter([Err(broken), Ok(Bytes::from_static(b"late"))]);
        assert_eq!(parts(AnswerBody::new(coming)), [Some(Err(FailureKind::BodyReset)), None, None]);
    }
}

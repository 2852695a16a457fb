//! An answer on its way in.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderMap, StatusCode, header};
use reqwest::Response;

use super::{Kept, failure, outgoing::within_idle, upload::UploadWatch};
use crate::{
    request::Meter,
    transport::{Answer, AnswerBody, AnswerHead, FailureKind, OpenAnswer, TransportError},
};

/// An answer that has begun, maybe before the request was sent whole. Dropping it closes the connection, unless both
/// have come to their end.
pub(super) struct Incoming {
    response: Response,
    upload: UploadWatch,
    idle: Duration,
    is_redirected: bool,
}

type Failure = (FailureKind, String);

impl Incoming {
    /// An answer of which each part must come within `idle`, counted from when it is asked for or from the last part
    /// of the request that left.
    pub(super) fn new(response: Response, upload: UploadWatch, idle: Duration) -> Self {
        Self { response, upload, idle, is_redirected: false }
    }

    /// As what redirects led to, if there were any.
    pub(super) fn after(mut self, redirects: usize) -> Self {
        self.is_redirected = redirects > 0;
        self
    }

    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Reads it to its end, as long as it has no more than `bytes_max`.
    pub(super) async fn whole(
        &mut self,
        bytes_max: usize,
        meter: &Meter,
        kept: &Kept,
    ) -> Result<Answer, TransportError> {
        let (status, headers) = self.take_head();
        match self.read(bytes_max, meter).await {
            Ok(body) => {
                self.note_end(kept);
                Ok(Answer { status, headers, body, is_redirected: self.is_redirected })
            }
            Err((kind, details)) => {
                Err(TransportError::within(kind, AnswerHead { status, headers }, details))
            }
        }
    }

    /// Its head, with the body as it comes.
    pub(super) fn open(mut self, kept: Kept) -> OpenAnswer {
        let (status, headers) = self.take_head();
        let length = self.response.content_length();
        let is_end_marked = length.is_some() || headers.contains_key(header::TRANSFER_ENCODING);
        let head = AnswerHead { status, headers: headers.clone() };
        let parts = stream::try_unfold((self, head, kept), |(mut incoming, head, kept)| async move {
            match incoming.part().await {
                Ok(Some(part)) => Ok(Some((part, (incoming, head, kept)))),
                Ok(None) => {
                    incoming.note_end(&kept);
                    Ok(None)
                }
                Err((kind, details)) => Err(TransportError::within(kind, head, details)),
            }
        });
        OpenAnswer { status, headers, length, is_end_marked, body: AnswerBody::new(parts) }
    }

    fn take_head(&mut self) -> (StatusCode, HeaderMap) {
        (self.response.status(), std::mem::take(self.response.headers_mut()))
    }

    /// A connection that still has to send is not kept.
    fn note_end(&self, kept: &Kept) {
        if self.upload.has_ended() {
            kept.add();
        }
    }

    async fn read(&mut self, bytes_max: usize, meter: &Meter) -> Result<Bytes, Failure> {
        let too_large = || (FailureKind::TooLarge, format!("more than {bytes_max} bytes"));
        let announced = self.response.content_length();
        if announced.is_some_and(|length| length > bytes_max as u64) {
            return Err(too_large());
        }
        let mut body = BytesMut::new();
        meter.received(0, announced);
        while let Some(part) = self.part().await? {
            if body.len() + part.len() > bytes_max {
                return Err(too_large());
            }
            body.extend_from_slice(&part);
            meter.received(body.len() as u64, announced);
        }
        Ok(body.freeze())
    }

    async fn part(&mut self) -> Result<Option<Bytes>, Failure> {
        match within_idle(self.response.chunk(), &self.upload, self.idle).await {
            Some(Ok(part)) => Ok(part),
            Some(Err(error)) => Err(match self.upload.failure() {
                Some(failure) => (failure.kind, failure.details),
                None => (failure::within_answer(&error), failure::describe(error)),
            }),
            None => Err((FailureKind::BodyTimedOut, "the answer stood still".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::{super::upload::NoBody, *};

    const LONG: Duration = Duration::from_secs(60);

    /// An answer whose parts come `gap` apart.
    fn trickling(parts: usize, gap: Duration) -> Incoming {
        let part = move |left: usize| async move {
            sleep(gap).await;
            let part = Ok::<_, std::convert::Infallible>(Bytes::from_static(b"part"));
            (left > 0).then(|| (part, left - 1))
        };
        let body = reqwest::Body::wrap_stream(stream::unfold(parts, part));
        Incoming::new(Response::from(http::Response::new(body)), NoBody::new(false).1, LONG)
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_keeps_coming_may_take_longer_than_the_timeout() {
        let started = Instant::now();
        let body = trickling(10, LONG / 2).read(1000, &Meter::default()).await.unwrap();
        assert_eq!(body, "part".repeat(10));
        assert!(started.elapsed() > LONG * 5);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_stands_still_between_two_parts_is_given_up() {
        let started = Instant::now();
        let (kind, _) = trickling(10, LONG * 2).read(1000, &Meter::default()).await.unwrap_err();
        assert_eq!((kind, started.elapsed()), (FailureKind::BodyTimedOut, LONG));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_in_which_nobody_asks_for_the_next_part_does_not_count() {
        use futures_util::StreamExt;
        let mut body = trickling(3, LONG / 2).open(Kept::none_of(1)).body;
        for _ in 0..3 {
            assert_eq!(body.next().await.unwrap().unwrap(), "part");
            sleep(LONG * 10).await;
        }
        assert!(body.next().await.is_none());
    }
}

//! Reads a response.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, StatusCode, header};
use reqwest::Response;

use super::{PoolUse, error, send::with_idle_timeout, upload::UploadGuard};
use crate::transport::{FailureKind, ResponseBody, ResponseHead, StreamingResponse, TransportError};

/// A response that has begun, perhaps before the request was sent whole. Dropping it closes the connection, unless
/// both have come to their end.
pub(super) struct ResponseReader {
    response: Response,
    upload: UploadGuard,
    idle: Duration,
    is_redirected: bool,
    /// Counts the connection if it is kept.
    pool_use: Option<PoolUse>,
}

type ReadFailure = (FailureKind, String);

impl ResponseReader {
    /// Creates a reader that limits each part to `idle`, from when it is asked for or from the request's last part
    /// that left.
    pub(super) fn new(response: Response, upload: UploadGuard, idle: Duration) -> Self {
        Self { response, upload, idle, is_redirected: false, pool_use: None }
    }

    /// Counts the connection after the end, if it is kept.
    pub(super) fn leaving(mut self, pool_use: PoolUse) -> Self {
        self.pool_use = Some(pool_use);
        self
    }

    /// Marks the response as the result of redirects, if there were any.
    pub(super) fn with_redirects(mut self, redirects: usize) -> Self {
        self.is_redirected = redirects > 0;
        self
    }

    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Returns the head, with the body as a stream.
    pub(super) fn into_streaming(mut self) -> StreamingResponse {
        let (status, headers) = (self.response.status(), std::mem::take(self.response.headers_mut()));
        let (length, is_redirected) = (self.response.content_length(), self.is_redirected);
        let is_end_marked = length.is_some() || headers.contains_key(header::TRANSFER_ENCODING);
        let head = ResponseHead { status, headers: headers.clone() };
        let parts = stream::try_unfold((self, head), |(mut reader, head)| async move {
            match reader.next_part().await {
                Ok(Some(part)) => Ok(Some((part, (reader, head)))),
                Ok(None) => {
                    reader.record_end();
                    Ok(None)
                }
                Err((kind, details)) => Err(TransportError::in_body(kind, head, details)),
            }
        });
        let body = ResponseBody::new(parts);
        StreamingResponse { status, headers, length, is_end_marked, is_redirected, body }
    }

    /// A connection that still has to send is not kept.
    fn record_end(&self) {
        if let Some(pool_use) = &self.pool_use
            && self.upload.has_ended()
        {
            pool_use.record_return();
        }
    }

    async fn next_part(&mut self) -> Result<Option<Bytes>, ReadFailure> {
        match with_idle_timeout(self.response.chunk(), &self.upload, self.idle).await {
            Some(Ok(part)) => Ok(part),
            Some(Err(error)) => Err(match self.upload.failure() {
                Some(failure) => (failure.kind, failure.details),
                None => (error::kind_in_body(&error), error::describe(error)),
            }),
            None => Err((FailureKind::BodyTimedOut, "no part of the response came in time".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, TryStreamExt};
    use tokio::time::{Instant, sleep};

    use super::{super::upload::EmptyBody, *};

    const LONG: Duration = Duration::from_secs(60);

    /// Creates a response whose parts come `gap` apart.
    fn slow_response(parts: usize, gap: Duration) -> ResponseBody {
        let part = move |left: usize| async move {
            sleep(gap).await;
            let part = Ok::<_, std::convert::Infallible>(Bytes::from_static(b"part"));
            (left > 0).then(|| (part, left - 1))
        };
        let body = reqwest::Body::wrap_stream(stream::unfold(parts, part));
        let response = Response::from(http::Response::new(body));
        ResponseReader::new(response, EmptyBody::new(false).1, LONG).into_streaming().body
    }

    #[tokio::test(start_paused = true)]
    async fn moving_response_may_exceed_the_timeout() {
        let started = Instant::now();
        let parts: Vec<_> = slow_response(10, LONG / 2).try_collect().await.unwrap();
        assert_eq!(parts.concat(), "part".repeat(10).into_bytes());
        assert!(started.elapsed() > LONG * 5);
    }

    #[tokio::test(start_paused = true)]
    async fn stalled_response_times_out() {
        let started = Instant::now();
        let failure = slow_response(10, LONG * 2).try_collect::<Vec<_>>().await.unwrap_err();
        assert_eq!((failure.kind, started.elapsed()), (FailureKind::BodyTimedOut, LONG));
    }

    #[tokio::test(start_paused = true)]
    async fn time_between_reads_does_not_count_as_idle() {
        let mut body = slow_response(3, LONG / 2);
        for _ in 0..3 {
            assert_eq!(body.next().await.unwrap().unwrap(), "part");
            sleep(LONG * 10).await;
        }
        assert!(body.next().await.is_none());
    }
}

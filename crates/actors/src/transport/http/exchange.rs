//! Sends a request over one connection, and reads its response.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::{Client, Response};
use tokio::time::timeout;

use super::{
    error,
    pool_use::PoolUse,
    redirect::OutboundRequest,
    upload::{EmptyBody, Upload, UploadGuard},
};
use crate::{
    request::{Body, BodyReader, IDEMPOTENCY_KEY, Request},
    transport::{FailureKind, ResponseBody, ResponseHead, SendProgress, StreamingResponse, TransportError},
};

/// Sends the request and waits for the response to begin.
pub(super) async fn send(
    client: &Client,
    request: &Request,
    outbound: &OutboundRequest,
    idle: Duration,
) -> Result<ResponseReader, TransportError> {
    let body = match request.body().filter(|_| outbound.keeps_body) {
        // Boxed, so that requests without a body need no room for its opening.
        Some(body) => Some(Box::pin(open_body(body, idle)).await?),
        None => None,
    };
    let (sent, upload) = build_request(request, outbound, body);
    match upload.with_idle_timeout(client.execute(sent), idle).await {
        Some(Ok(response)) => Ok(ResponseReader::new(response, upload, idle)),
        Some(Err(error)) => {
            if let Some(failure) = upload.failure() {
                return Err(failure);
            }
            let unsent = error::is_unsent(&error) || upload.try_cancel();
            let progress = if unsent { SendProgress::NotSent } else { SendProgress::MaybeSent };
            Err(TransportError::new(error::kind_before_response(&error), progress, error::describe(error)))
        }
        None => {
            let unsent = upload.try_cancel();
            if !upload.was_polled() {
                let details = "no connection was made within the request's timeout";
                return Err(TransportError::new(
                    FailureKind::ConnectTimedOut,
                    SendProgress::NotSent,
                    details,
                ));
            }
            let progress = if unsent { SendProgress::NotSent } else { SendProgress::MaybeSent };
            Err(TransportError::new(FailureKind::TimedOut, progress, "the response did not begin in time"))
        }
    }
}

fn build_request(
    request: &Request,
    outbound: &OutboundRequest,
    body: Option<BodyReader>,
) -> (reqwest::Request, UploadGuard) {
    let mut outgoing = reqwest::Request::new(outbound.method.clone(), outbound.url.clone());
    *outgoing.headers_mut() = request.headers().clone();
    if let Some(authorization) = &outbound.authorization {
        outgoing.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
    }
    if let Some(key) = request.idempotency_key() {
        outgoing.headers_mut().insert(&IDEMPOTENCY_KEY, key.clone());
    }
    let Some(body) = body else {
        outgoing.headers_mut().remove(header::CONTENT_TYPE);
        request.progress_sender().start_sending(Some(0));
        // Some servers require the length 0 for these methods (RFC 9110, 8.6), and answer 411 without it.
        return with_empty_body(
            outgoing,
            [Method::POST, Method::PUT, Method::PATCH].contains(&outbound.method),
        );
    };
    request.progress_sender().start_sending(body.length());
    match body.length() {
        Some(0) => return with_empty_body(outgoing, true),
        // Set explicitly, since a stream has no length of its own and would be sent in chunks.
        Some(length) => {
            outgoing.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        None => {}
    }
    let (upload, guard) = Upload::new(body, request.progress_sender().clone());
    *outgoing.body_mut() = Some(reqwest::Body::wrap_stream(upload));
    (outgoing, guard)
}

/// Sends the head without a body, and announces that if `is_announced`.
fn with_empty_body(mut outgoing: reqwest::Request, is_announced: bool) -> (reqwest::Request, UploadGuard) {
    let (body, guard) = EmptyBody::new(is_announced);
    *outgoing.body_mut() = Some(reqwest::Body::wrap(body));
    (outgoing, guard)
}

async fn open_body(body: &Body, idle: Duration) -> Result<BodyReader, TransportError> {
    let refuse = |kind, details: &str| Err(TransportError::new(kind, SendProgress::NotSent, details));
    match timeout(idle, body.open()).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) => refuse(FailureKind::from(&error), &error.to_string()),
        Err(_) => refuse(FailureKind::TimedOut, "the body could not be opened in time"),
    }
}

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

    /// Rejects a body whose coding is not known. A caller that named its own codings gets what it asked for.
    pub(super) fn checked(self, request: &Request) -> Result<Self, TransportError> {
        let codings = self.headers().get_all(header::CONTENT_ENCODING);
        let unknown = codings.iter().find(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
        let has_body = request.method() != Method::HEAD
            && ![StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&self.status());
        match unknown {
            Some(coding) if has_body && !request.headers().contains_key(header::ACCEPT_ENCODING) => {
                let details = format!("the body's content-encoding {coding:?} is not known");
                let head = ResponseHead { status: self.status(), headers: self.headers().clone() };
                Err(TransportError::in_body(FailureKind::UnknownEncoding, head, details))
            }
            _ => Ok(self),
        }
    }

    pub(super) fn is_redirected(&self) -> bool {
        self.is_redirected
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
        match self.upload.with_idle_timeout(self.response.chunk(), self.idle).await {
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

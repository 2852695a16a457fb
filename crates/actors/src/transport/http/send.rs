//! Sends a request over one connection, and waits for the response to begin.

use std::time::Duration;

use http::{HeaderValue, Method, header};
use reqwest::Client;
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    error,
    receive::ResponseReader,
    redirect::OutboundRequest,
    upload::{EmptyBody, Upload, UploadGuard},
};
use crate::{
    request::{Body, BodyReader, IDEMPOTENCY_KEY, Request},
    transport::{FailureKind, SendProgress, TransportError},
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
    match with_idle_timeout(client.execute(sent), &upload, idle).await {
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

/// Waits for the response, at most `idle` from the start or from the last part of the body that left. Leaving parts
/// wake nothing: the timer checks for them when it fires.
pub(super) async fn with_idle_timeout<T>(
    response: impl Future<Output = T>,
    upload: &UploadGuard,
    idle: Duration,
) -> Option<T> {
    let mut response = std::pin::pin!(response);
    let mut deadline = Instant::now() + idle;
    loop {
        if let Ok(response) = timeout_at(deadline, &mut response).await {
            return Some(response);
        }
        deadline = upload.last_sent_at().map(|at| at + idle).filter(|later| *later > deadline)?;
    }
}

//! A request on its way out, over one connection, until the answer begins.

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

/// Sends the request and waits for the answer to begin.
pub(super) async fn send(
    client: &Client,
    request: &Request,
    hop: &OutboundRequest,
    idle: Duration,
) -> Result<ResponseReader, TransportError> {
    let body = match request.body().filter(|_| hop.keeps_body) {
        // Boxed, so that requests without a body need not make room for its opening.
        Some(body) => Some(Box::pin(open_body(body, idle)).await?),
        None => None,
    };
    let (wire, upload) = build_request(request, hop, body);
    match with_idle_timeout(client.execute(wire), &upload, idle).await {
        Some(Ok(response)) => Ok(ResponseReader::new(response, upload, idle)),
        Some(Err(error)) => {
            if let Some(failure) = upload.failure() {
                return Err(failure);
            }
            let unsent = error::is_unsent(&error) || upload.try_cancel();
            let reach = if unsent { SendProgress::NotSent } else { SendProgress::MaybeSent };
            Err(TransportError::new(error::kind_before_response(&error), reach, error::describe(error)))
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
            let reach = if unsent { SendProgress::NotSent } else { SendProgress::MaybeSent };
            Err(TransportError::new(FailureKind::TimedOut, reach, "no answer began in time"))
        }
    }
}

fn build_request(
    request: &Request,
    hop: &OutboundRequest,
    body: Option<BodyReader>,
) -> (reqwest::Request, UploadGuard) {
    let mut wire = reqwest::Request::new(hop.method.clone(), hop.url.clone());
    *wire.headers_mut() = request.headers().clone();
    if let Some(key) = request.idempotency_key() {
        wire.headers_mut().insert(&IDEMPOTENCY_KEY, key.clone());
    }
    let Some(body) = body else {
        wire.headers_mut().remove(header::CONTENT_TYPE);
        request.progress_sender().start_sending(Some(0));
        // For these a server may insist on hearing that there is none (RFC 9110, 8.6), and some answer 411 otherwise.
        return with_empty_body(wire, [Method::POST, Method::PUT, Method::PATCH].contains(&hop.method));
    };
    request.progress_sender().start_sending(body.length());
    match body.length() {
        Some(0) => return with_empty_body(wire, true),
        // Said outright, since a stream has no length of its own and would be sent in chunks.
        Some(length) => {
            wire.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        None => {}
    }
    let (upload, watch) = Upload::new(body, request.progress_sender().clone());
    *wire.body_mut() = Some(reqwest::Body::wrap_stream(upload));
    (wire, watch)
}

/// With nothing behind the head, which says so where `is_announced`.
fn with_empty_body(mut wire: reqwest::Request, is_announced: bool) -> (reqwest::Request, UploadGuard) {
    let (body, watch) = EmptyBody::new(is_announced);
    *wire.body_mut() = Some(reqwest::Body::wrap(body));
    (wire, watch)
}

async fn open_body(body: &Body, idle: Duration) -> Result<BodyReader, TransportError> {
    let refuse = |kind, details: &str| Err(TransportError::new(kind, SendProgress::NotSent, details));
    match timeout(idle, body.open()).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) => refuse(FailureKind::from(&error), &error.to_string()),
        Err(_) => refuse(FailureKind::TimedOut, "the body could not be opened in time"),
    }
}

/// Waits for `answer`, but no longer than `idle` from the start or from the last part of the body that left. What leaves
/// wakes nobody: it is asked about when the time is up.
pub(super) async fn with_idle_timeout<T>(
    answer: impl Future<Output = T>,
    upload: &UploadGuard,
    idle: Duration,
) -> Option<T> {
    let mut answer = std::pin::pin!(answer);
    let mut deadline = Instant::now() + idle;
    loop {
        if let Ok(answer) = timeout_at(deadline, &mut answer).await {
            return Some(answer);
        }
        deadline = upload.last_sent_at().map(|at| at + idle).filter(|later| *later > deadline)?;
    }
}

//! A request on its way out, over one connection, until the answer begins.

use std::time::Duration;

use http::{HeaderValue, Method, header};
use reqwest::Client;
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    failure,
    incoming::Incoming,
    redirect::Hop,
    upload::{NoBody, Upload, UploadWatch},
};
use crate::{
    request::{Body, IDEMPOTENCY_KEY, OpenBody, Request},
    transport::{FailureKind, Reach, TransportError},
};

/// Sends the request and waits for the answer to begin.
pub(super) async fn send(
    client: &Client,
    request: &Request,
    hop: &Hop,
    idle: Duration,
) -> Result<Incoming, TransportError> {
    let body = match request.body().filter(|_| hop.keeps_body) {
        // Boxed, so that requests without a body need not make room for its opening.
        Some(body) => Some(Box::pin(open(body, idle)).await?),
        None => None,
    };
    let (wire, upload) = assemble(request, hop, body);
    match within_idle(client.execute(wire), &upload, idle).await {
        Some(Ok(response)) => Ok(Incoming::new(response, upload, idle)),
        Some(Err(error)) => {
            if let Some(failure) = upload.failure() {
                return Err(failure);
            }
            let unsent = failure::is_unsent(&error) || upload.withdraw();
            let reach = if unsent { Reach::NotSent } else { Reach::MaybeSent };
            Err(TransportError::new(failure::before_answer(&error), reach, failure::describe(error)))
        }
        None => {
            let unsent = upload.withdraw();
            if !upload.was_asked_for() {
                let details = "no connection was made within the request's timeout";
                return Err(TransportError::new(FailureKind::ConnectTimedOut, Reach::NotSent, details));
            }
            let reach = if unsent { Reach::NotSent } else { Reach::MaybeSent };
            Err(TransportError::new(FailureKind::TimedOut, reach, "no answer began in time"))
        }
    }
}

fn assemble(request: &Request, hop: &Hop, body: Option<OpenBody>) -> (reqwest::Request, UploadWatch) {
    let mut wire = reqwest::Request::new(hop.method.clone(), hop.url.clone());
    *wire.headers_mut() = request.headers().clone();
    if let Some(key) = request.idempotency_key() {
        wire.headers_mut().insert(&IDEMPOTENCY_KEY, key.clone());
    }
    let Some(body) = body else {
        wire.headers_mut().remove(header::CONTENT_TYPE);
        request.meter().send(Some(0));
        // For these a server may insist on hearing that there is none (RFC 9110, 8.6), and some answer 411 otherwise.
        return without_body(wire, [Method::POST, Method::PUT, Method::PATCH].contains(&hop.method));
    };
    request.meter().send(body.length());
    match body.length() {
        Some(0) => return without_body(wire, true),
        // Said outright, since a stream has no length of its own and would be sent in chunks.
        Some(length) => {
            wire.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        None => {}
    }
    let (upload, watch) = Upload::new(body, request.meter().clone());
    *wire.body_mut() = Some(reqwest::Body::wrap_stream(upload));
    (wire, watch)
}

/// With nothing behind the head, which says so where `is_announced`.
fn without_body(mut wire: reqwest::Request, is_announced: bool) -> (reqwest::Request, UploadWatch) {
    let (body, watch) = NoBody::new(is_announced);
    *wire.body_mut() = Some(reqwest::Body::wrap(body));
    (wire, watch)
}

async fn open(body: &Body, idle: Duration) -> Result<OpenBody, TransportError> {
    let refuse = |kind, details: &str| Err(TransportError::new(kind, Reach::NotSent, details));
    match timeout(idle, body.open()).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) => refuse(FailureKind::from(&error), &error.to_string()),
        Err(_) => refuse(FailureKind::TimedOut, "the body could not be opened in time"),
    }
}

/// Waits for `answer`, but no longer than `idle` from the start or from the last part of the body that left. What leaves
/// wakes nobody: it is asked about when the time is up.
pub(super) async fn within_idle<T>(
    answer: impl Future<Output = T>,
    upload: &UploadWatch,
    idle: Duration,
) -> Option<T> {
    let mut answer = std::pin::pin!(answer);
    let mut deadline = Instant::now() + idle;
    loop {
        if let Ok(answer) = timeout_at(deadline, &mut answer).await {
            return Some(answer);
        }
        deadline = upload.moved_at().map(|at| at + idle).filter(|later| *later > deadline)?;
    }
}

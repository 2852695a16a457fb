//! The requests of a schedule, and their answers.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use mainstay::actors::request::RequestBuilder;
use mainstay::{Download, Error, Request, RequestId, Response};
use serde_json::json;

use crate::counted::TAG;
use crate::schedule::{Asked, Call, Form, LEDGER, NOTES, Reading};

/// In what parts a stream brings a body.
const PART_BYTES: usize = 7_000;
/// What all ask for who share.
pub(crate) const SHARED: &str = "shared";

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) id: RequestId,
    pub(crate) status: u16,
    pub(crate) attempts: u32,
    pub(crate) body: Bytes,
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        let Response { request_id: id, status, attempts, body, .. } = response;
        Self { id, status: status.as_u16(), attempts, body }
    }
}

/// Reads an answer as it comes.
pub(crate) async fn read(opened: Result<Download, Error>, reading: Reading) -> Result<Option<Answer>, Error> {
    let mut download = opened?;
    let mut body = BytesMut::new();
    while let Some(part) = download.chunk().await? {
        if reading == Reading::Partly {
            return Ok(None);
        }
        body.extend_from_slice(&part);
    }
    let Download { request_id: id, status, attempts, .. } = download;
    Ok(Some(Answer { id, status: status.as_u16(), attempts, body: body.freeze() }))
}

/// The request of a call.
pub(crate) fn request(tag: &str, call: &Call) -> Request {
    let message = || json!({ "text": tag }).to_string().into_bytes();
    let builder = match call.what {
        Asked::Get => Request::get(format!("/api/search?q={tag}")),
        Asked::Shared => Request::get(format!("/api/search?q={SHARED}")).shared(),
        Asked::Put => with_body(Request::put(format!("/api/agents/{NOTES}/state")), message(), call.body),
        Asked::Post => {
            with_body(Request::post(format!("/api/agents/{LEDGER}/message")), message(), call.body)
        }
        Asked::KeyedPost { is_generated } => {
            let post =
                with_body(Request::post(format!("/api/agents/{LEDGER}/message")), message(), call.body);
            if is_generated { post.generated_idempotency_key() } else { post.idempotency_key(&key(tag)) }
        }
        Asked::Echo { bytes } => {
            with_body(Request::post("/api/echo"), echo(tag, bytes), call.body).idempotency_key(&key(tag))
        }
    };
    // Only what is the same to the last header can be shared.
    let tag = if call.what == Asked::Shared { SHARED } else { tag };
    let mut builder = builder.header(TAG, tag).priority(call.priority);
    if let Some(ms) = call.timeout_ms {
        builder = builder.timeout(Duration::from_millis(ms));
    }
    if let Some(ms) = call.wait_timeout_ms {
        builder = builder.wait_timeout(Duration::from_millis(ms));
    }
    if let Some(retries) = call.retries {
        builder = builder.retries(retries);
    }
    builder.build().expect("schedules hold valid requests")
}

fn with_body(builder: RequestBuilder, body: Vec<u8>, form: Form) -> RequestBuilder {
    let length = Some(body.len() as u64);
    let body = Bytes::from(body);
    let parts = {
        let body = body.clone();
        move || {
            let parts: Vec<_> =
                body.chunks(PART_BYTES).map(|part| Ok(Bytes::copy_from_slice(part))).collect();
            stream::iter(parts)
        }
    };
    match form {
        Form::InMemory => builder.body(body),
        Form::Stream { has_length } => builder.body_stream(length.filter(|_| has_length), parts),
        Form::Once => builder.body_once(length, parts()),
    }
}

/// The key that a caller gives.
pub(crate) fn key(tag: &str) -> String {
    format!("key-of-{tag}")
}

/// What is to come back from an echo.
pub(crate) fn echo(tag: &str, bytes: usize) -> Vec<u8> {
    tag.bytes().cycle().take(bytes).collect()
}

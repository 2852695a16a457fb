//! Makes the requests of a schedule, and reads their responses.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use mainstay::RequestBuilder;
use mainstay::{Download, Error, Request, RequestId, Response};
use serde_json::json;

use crate::counting_transport::TAG;
use crate::schedule::{BodyKind, LEDGER, NOTES, ReadMode, RequestKind, ScheduledCall};

/// The size of the parts of a streaming body.
const PART_BYTES: usize = 7_000;
/// The path of all shared requests.
pub(crate) const SHARED: &str = "shared";

/// A complete response.
#[derive(Debug)]
pub(crate) struct CallAnswer {
    pub(crate) id: RequestId,
    pub(crate) status: u16,
    pub(crate) attempts: u32,
    pub(crate) body: Bytes,
}

impl From<Response> for CallAnswer {
    fn from(response: Response) -> Self {
        let Response { request_id: id, status, attempts, body, .. } = response;
        Self { id, status: status.as_u16(), attempts, body }
    }
}

/// Reads a response as it arrives.
pub(crate) async fn read_download(
    opened: Result<Download, Error>,
    reading: ReadMode,
) -> Result<Option<CallAnswer>, Error> {
    let mut download = opened?;
    let mut body = BytesMut::new();
    while let Some(part) = download.chunk().await? {
        if reading == ReadMode::Partial {
            return Ok(None);
        }
        body.extend_from_slice(&part);
    }
    let Download { request_id: id, status, attempts, .. } = download;
    Ok(Some(CallAnswer { id, status: status.as_u16(), attempts, body: body.freeze() }))
}

/// Builds the request of a call.
pub(crate) fn request(tag: &str, call: &ScheduledCall) -> Request {
    let message = || json!({ "text": tag }).to_string().into_bytes();
    let builder = match call.kind {
        RequestKind::Get => Request::get(format!("/api/search?q={tag}")),
        RequestKind::Shared => Request::get(format!("/api/search?q={SHARED}")).shared(),
        RequestKind::Put => {
            with_body(Request::put(format!("/api/agents/{NOTES}/state")), message(), call.body)
        }
        RequestKind::Post => {
            with_body(Request::post(format!("/api/agents/{LEDGER}/message")), message(), call.body)
        }
        RequestKind::KeyedPost { is_generated } => {
            let post =
                with_body(Request::post(format!("/api/agents/{LEDGER}/message")), message(), call.body);
            if is_generated { post.generated_idempotency_key() } else { post.idempotency_key(&key(tag)) }
        }
        RequestKind::Echo { bytes } => {
            with_body(Request::post("/api/echo"), echo(tag, bytes), call.body).idempotency_key(&key(tag))
        }
    };
    // Requests can be shared only if they are equal to the last header.
    let tag = if call.kind == RequestKind::Shared { SHARED } else { tag };
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

fn with_body(builder: RequestBuilder, body: Vec<u8>, form: BodyKind) -> RequestBuilder {
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
        BodyKind::InMemory => builder.body(body),
        BodyKind::Stream { has_length } => builder.body_stream(length.filter(|_| has_length), parts),
        BodyKind::Once => builder.body_stream_once(length, parts()),
    }
}

/// Returns the key of a caller.
pub(crate) fn key(tag: &str) -> String {
    format!("key-of-{tag}")
}

/// Returns the expected body of an echo.
pub(crate) fn echo(tag: &str, bytes: usize) -> Vec<u8> {
    tag.bytes().cycle().take(bytes).collect()
}

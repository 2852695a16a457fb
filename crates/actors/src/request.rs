//! Defines a request to the backend, and the response to it.
//!
//! A [`Request`] is checked when it is built: every one that exists is valid and within the limits below.
//!
//! - `builder`: builds a request from a caller's arguments; `path`: checks its path
//! - `body`: in memory, a file or a stream; opened again for each attempt
//! - `progress`: reports how far a request has come
//! - `response`: a response as a whole

pub(crate) mod body;
mod builder;
mod path;
mod progress;
mod response;
#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use self::{
    body::{Body, BodyError, BodyReader},
    builder::RequestBuilder,
    progress::{ProgressSender, TransferProgress},
    response::Response,
};
use crate::error::Secrets;
pub use crate::request_id::RequestId;

/// The largest body that a request may carry in memory. Files and streams have no limit.
pub(crate) const REQUEST_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The largest number of headers of a request.
pub(crate) const REQUEST_HEADERS_MAX: usize = 64;

/// The largest total size of a request's headers, names and values together, in bytes.
pub(crate) const REQUEST_HEADERS_BYTES_MAX: usize = 16 * 1024;

/// The longest path of a request, with its query, in bytes.
pub(crate) const REQUEST_PATH_BYTES_MAX: usize = 8 * 1024;

/// The longest idempotency key, in bytes.
pub(crate) const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// The largest number of retries of a request.
pub(crate) const RETRIES_MAX: u32 = 100;

/// The longest timeout of a request: a day.
pub(crate) const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The header that carries the idempotency key.
pub(crate) static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The lane of the queue in which a request waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// First: a person waits for the response.
    High,
    /// The default.
    #[default]
    Normal,
    /// Last: only when no other request waits.
    Low,
}

impl Priority {
    /// Every priority, the most urgent first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];
}

/// A request to the backend. It is valid by construction; see [`Request::builder`].
#[derive(Clone)]
pub struct Request {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Option<Body>,
    priority: Priority,
    timeout: Option<Duration>,
    wait_timeout: Option<Duration>,
    deadline: Option<Duration>,
    retries: Option<u32>,
    key: IdempotencyKey,
    is_shared: bool,
    follows_redirected_writes: bool,
    progress_sender: ProgressSender,
}

/// The idempotency key of a request.
#[derive(Clone, PartialEq, Eq)]
enum IdempotencyKey {
    /// No key: a repeat of a request that is not idempotent by its method could act twice.
    None,
    /// The queue makes a key when it accepts the request.
    Requested,
    /// Every attempt carries this key.
    Given(HeaderValue),
}

impl Request {
    /// Starts a request with `method` to `path`. The path is relative to the backend's base address, starts with `/`
    /// and may have a query.
    pub fn builder(method: Method, path: impl Into<String>) -> RequestBuilder {
        RequestBuilder::new(Self {
            method,
            path: path.into(),
            headers: HeaderMap::new(),
            body: None,
            priority: Priority::default(),
            timeout: None,
            wait_timeout: None,
            deadline: None,
            retries: None,
            key: IdempotencyKey::None,
            is_shared: false,
            follows_redirected_writes: false,
            progress_sender: ProgressSender::default(),
        })
    }

    /// Starts a GET request; see [`builder`](Self::builder).
    pub fn get(path: impl Into<String>) -> RequestBuilder {
        Self::builder(Method::GET, path)
    }

    /// Starts a POST request; see [`builder`](Self::builder).
    pub fn post(path: impl Into<String>) -> RequestBuilder {
        Self::builder(Method::POST, path)
    }

    /// Starts a PUT request; see [`builder`](Self::builder).
    pub fn put(path: impl Into<String>) -> RequestBuilder {
        Self::builder(Method::PUT, path)
    }

    /// Starts a DELETE request; see [`builder`](Self::builder).
    pub fn delete(path: impl Into<String>) -> RequestBuilder {
        Self::builder(Method::DELETE, path)
    }

    /// Returns the method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Returns the path with its query, relative to the backend's base address.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the path without its query, which may hold secrets and stays out of logs.
    #[must_use]
    pub(crate) fn path_without_query(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// Returns the caller's headers, without the idempotency key.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Returns the body, if there is one.
    #[must_use]
    pub fn body(&self) -> Option<&Body> {
        self.body.as_ref()
    }

    /// Returns the lane of the queue in which it waits.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// Returns the longest silence within one attempt; `None` for the queue's default.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Returns the longest wait in the queue; `None` for the queue's default.
    #[must_use]
    pub fn wait_timeout(&self) -> Option<Duration> {
        self.wait_timeout
    }

    /// Returns the longest time in all, zero for no limit; `None` for the queue's default.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// Returns the number of retries; `None` for the queue's default.
    #[must_use]
    pub fn retries(&self) -> Option<u32> {
        self.retries
    }

    /// Returns the idempotency key, sent as `Idempotency-Key` with every attempt.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<&HeaderValue> {
        match &self.key {
            IdempotencyKey::Given(key) => Some(key),
            IdempotencyKey::None | IdempotencyKey::Requested => None,
        }
    }

    /// Returns whether it may share the attempts of an equal request; see [`RequestBuilder::shared`].
    #[must_use]
    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Returns whether 301, 302 and 303 are followed after a write; see [`RequestBuilder::follow_redirected_writes`].
    #[must_use]
    pub(crate) fn follows_redirected_writes(&self) -> bool {
        self.follows_redirected_writes
    }

    /// Returns whether both requests get the same response under the same timeouts and retries.
    pub(crate) fn is_equivalent_to(&self, other: &Self) -> bool {
        let manner =
            |request: &Self| (request.timeout, request.wait_timeout, request.deadline, request.retries);
        self.path == other.path
            && self.method == other.method
            && self.headers == other.headers
            && manner(self) == manner(other)
    }

    /// Watches the request's progress. Call it before sending, as often as needed.
    ///
    /// The watch follows this request and the clones made of it from now on, and closes when the last of them is
    /// dropped.
    #[must_use]
    pub fn progress(&mut self) -> watch::Receiver<TransferProgress> {
        self.progress_sender.subscribe()
    }

    /// Returns the sender with which the transport reports progress.
    #[must_use]
    pub(crate) fn progress_sender(&self) -> &ProgressSender {
        &self.progress_sender
    }

    /// Returns whether an idempotency key is still to be made: see [`generate_key`](Self::generate_key).
    #[must_use]
    pub(crate) fn needs_generated_key(&self) -> bool {
        self.key == IdempotencyKey::Requested
    }

    /// Sets the number of retries if the request sets none. Called once, when the request is accepted.
    pub(crate) fn settle_retries(&mut self, retries: u32) {
        self.retries.get_or_insert(retries);
    }

    /// Makes the idempotency key that the caller asked for, from 128 random bits.
    ///
    /// Changes nothing if none was asked for or one exists. Called once, when the request is accepted, so that all
    /// attempts share the key.
    pub(crate) fn generate_key(&mut self, random: u128) {
        if self.needs_generated_key()
            && let Ok(key) = HeaderValue::from_str(&uuid_v4(random))
        {
            self.key = IdempotencyKey::Given(key);
        }
    }

    /// Returns `beside` and the request's own secrets: its headers' values, its key, its query, and sensitive members
    /// of a JSON body in memory.
    #[must_use]
    pub fn secrets(&self, beside: Secrets) -> Secrets {
        let query = self.path.split_once('?').map(|(_, query)| query);
        let body = self.body.as_ref().and_then(Body::bytes);
        let secrets = beside.with_headers(&self.headers).with_query(query).with_body(body);
        match self.idempotency_key() {
            Some(key) => secrets.with_header(&IDEMPOTENCY_KEY, key),
            None => secrets,
        }
    }

    /// Returns whether it may be sent twice: its method is idempotent (RFC 9110, 9.2.2), or it has a key. Its body
    /// may still be spent; see [`Body::is_spent`].
    #[must_use]
    pub(crate) fn is_repeatable(&self) -> bool {
        self.method.is_idempotent() || self.key != IdempotencyKey::None
    }
}

impl fmt::Debug for Request {
    /// Leaves out the query, the headers' values and the body: they may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path_without_query())
            .field("headers", &self.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>())
            .field("body", &self.body)
            .field("priority", &self.priority)
            .field("timeout", &self.timeout)
            .field("wait_timeout", &self.wait_timeout)
            .field("deadline", &self.deadline)
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}

/// Formats 128 random bits as a version 4 UUID (RFC 9562).
fn uuid_v4(random: u128) -> String {
    let bits = (random & !(0xf << 76 | 0x3 << 62)) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

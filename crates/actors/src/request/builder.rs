//! From what a caller says to a request that is valid and within the limits.

use std::{io, path::Path, sync::LazyLock, time::Duration};

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde::Serialize;

use super::{
    Body, IDEMPOTENCY_KEY, IDEMPOTENCY_KEY_BYTES_MAX, IdempotencyKey, Priority, REQUEST_BODY_BYTES_MAX,
    REQUEST_HEADERS_BYTES_MAX, REQUEST_HEADERS_MAX, RETRIES_MAX, Request, TIMEOUT_MAX, path,
};
use crate::error::{Error, Reason, is_credential};

/// Headers that belong to the transport: a caller that set them could break the framing of the connection.
static FRAMING_HEADERS: LazyLock<[HeaderName; 9]> = LazyLock::new(|| {
    [
        header::HOST,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::UPGRADE,
        header::TE,
        header::TRAILER,
        header::EXPECT,
        HeaderName::from_static("keep-alive"),
    ]
});

/// Builds a [`Request`]. The first mistake is kept and told by [`build`](Self::build).
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct RequestBuilder {
    request: Request,
    error: Option<Error>,
}

impl RequestBuilder {
    pub(super) fn new(request: Request) -> Self {
        Self { request, error: None }
    }

    /// Adds a header. `Idempotency-Key` is taken as [`idempotency_key`](Self::idempotency_key).
    pub fn header(mut self, name: &str, value: &str) -> Self {
        match parse_header(name, value) {
            Ok((name, value)) if name == IDEMPOTENCY_KEY => self.request.key = IdempotencyKey::Given(value),
            Ok((name, value)) => {
                // Appending to a map that is full panics inside the map.
                if self.request.headers.try_append(name, value).is_err() {
                    self.set_error(too_many_headers());
                }
            }
            Err(error) => self.set_error(error),
        }
        self
    }

    /// The body as it is, at most [`REQUEST_BODY_BYTES_MAX`]. The content type is for the caller to set.
    pub fn body(self, body: impl Into<Bytes>) -> Self {
        self.with_body(Body::from(body.into()))
    }

    /// The file at `path` as the body, of any size: each attempt opens it anew and reads it as it is sent, off the
    /// async threads. The content type is for the caller to set.
    ///
    /// The request ends with [`Reason::BodyUnreadable`] if the file is missing, cannot be read, or is no file; and with
    /// [`Reason::BodyChanged`] if it is written to while it is sent. In that case the backend sees that the request was
    /// broken off. A change that leaves length and time of modification as they were is not noticed.
    pub fn file(self, path: impl AsRef<Path>) -> Self {
        self.with_body(Body::from_file(path.as_ref()))
    }

    /// A stream as the body, of any size: `open` makes a fresh one for each attempt, and each time the same bytes
    /// must come out. Without a `length` it is sent in chunks.
    ///
    /// What the stream brings is sent in parts of at most [`BODY_PART_BYTES_MAX`](super::BODY_PART_BYTES_MAX), and it
    /// is asked for no more than the connection takes. The time that it takes to bring a part counts as standing still.
    ///
    /// The request ends with [`Reason::BodyUnreadable`] if the stream fails or panics, and with
    /// [`Reason::BodyChanged`] if it is longer or shorter than `length`; the backend then sees that the request was
    /// broken off.
    pub fn body_stream<S>(self, length: Option<u64>, open: impl Fn() -> S + Send + Sync + 'static) -> Self
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        self.with_body(Body::from_factory(length, open))
    }

    /// Like [`body_stream`](Self::body_stream), with a stream that is there only once. Once the connection has asked
    /// for its first part the request cannot be repeated, whatever its method; and a redirect that would need the body
    /// again is not followed.
    pub fn body_stream_once(
        self,
        length: Option<u64>,
        stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Self {
        self.with_body(Body::from_stream(length, stream))
    }

    fn with_body(mut self, body: Body) -> Self {
        self.request.body = Some(body);
        self
    }

    /// `value` as a JSON body, with its content type.
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(json) => {
                let kind = HeaderValue::from_static("application/json");
                self.request.headers.insert(header::CONTENT_TYPE, kind);
                self.body(json)
            }
            Err(cause) => {
                let error = Error::invalid("The request's body must be something that JSON can hold.");
                self.set_error(error.with_details(&cause.to_string()));
                self
            }
        }
    }

    /// Which lane of the queue it waits in.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.request.priority = priority;
        self
    }

    /// How long one attempt may stand still, instead of the queue's default: until the answer begins, and then
    /// between any two parts of it. More than zero, at most [`TIMEOUT_MAX`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.request.timeout = Some(timeout);
        self
    }

    /// How long it may wait in the queue, instead of the queue's default. At most [`TIMEOUT_MAX`].
    pub fn wait_timeout(mut self, timeout: Duration) -> Self {
        self.request.wait_timeout = Some(timeout);
        self
    }

    /// How often it may be repeated, instead of the queue's default. At most [`RETRIES_MAX`].
    pub fn retries(mut self, retries: u32) -> Self {
        self.request.retries = Some(retries);
        self
    }

    /// The key by which the backend recognises a repeat: visible ASCII, at most [`IDEMPOTENCY_KEY_BYTES_MAX`].
    pub fn idempotency_key(self, key: &str) -> Self {
        self.header(IDEMPOTENCY_KEY.as_str(), key)
    }

    /// Asks for a key to be made when the queue accepts the request. Only a backend that honours the key is safe
    /// from acting twice, so this is never done unasked.
    pub fn generated_idempotency_key(mut self) -> Self {
        self.request.key = IdempotencyKey::Requested;
        self
    }

    /// Lets it share the attempts and the answer of a request that is the same and that is waiting or under way, if
    /// that one is shared as well: same path, headers, timeouts and retries. For a GET without a body alone.
    ///
    /// Each caller keeps an id, a wait and a fate of its own; the request is called off when the last one leaves. The
    /// answer may have begun before this caller asked: whoever has just changed something should not share. An answer
    /// that is read as it comes is never shared. Nor is the progress: that of a request which shares another's attempts stays
    /// where it was.
    pub fn shared(mut self) -> Self {
        self.request.is_shared = true;
        self
    }

    /// The request, if it is valid and within the limits.
    ///
    /// # Errors
    ///
    /// [`Reason::InvalidRequest`] with the first rule that it breaks.
    pub fn build(self) -> Result<Request, Error> {
        if let Some(error) = self.error {
            return Err(error);
        }
        self.request.check()?;
        Ok(self.request)
    }

    fn set_error(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }
}

impl Request {
    /// The same request with these headers on top; `None` if they are more than a request may carry.
    pub(crate) fn with_extra_headers(&self, headers: &HeaderMap) -> Option<Self> {
        let mut request = self.clone();
        for (name, value) in headers {
            request.headers.try_append(name.clone(), value.clone()).ok()?;
        }
        request.check_headers().is_ok().then_some(request)
    }

    fn check(&self) -> Result<(), Error> {
        if self.method == Method::CONNECT || self.method == Method::TRACE {
            return Err(Error::invalid(
                "The request's method must be one that acts on a path, such as GET or POST.",
            ));
        }
        if self.is_shared && (self.method != Method::GET || self.body.is_some()) {
            return Err(Error::invalid("Only a GET without a body can be shared with others."));
        }
        path::check(&self.path)?;
        self.check_headers()?;
        self.check_numbers()?;
        let in_memory = self.body.as_ref().and_then(Body::bytes);
        if in_memory.is_some_and(|body| body.len() > REQUEST_BODY_BYTES_MAX) {
            return Err(Error::new(Reason::RequestTooLarge)
                .with_message("The request's body is larger than 16 MiB. Send it from a file or a stream."));
        }
        Ok(())
    }

    fn check_headers(&self) -> Result<(), Error> {
        let bytes: usize = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if self.headers.len() > REQUEST_HEADERS_MAX || bytes > REQUEST_HEADERS_BYTES_MAX {
            return Err(too_many_headers());
        }
        match &self.key {
            IdempotencyKey::Given(key) if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX => {
                Err(Error::invalid("The idempotency key must have 1 to 255 characters."))
            }
            _ => Ok(()),
        }
    }

    fn check_numbers(&self) -> Result<(), Error> {
        if self.timeout.is_some_and(|timeout| timeout.is_zero() || timeout > TIMEOUT_MAX) {
            return Err(Error::invalid("The request's timeout must be more than zero and at most a day."));
        }
        if self.wait_timeout.is_some_and(|timeout| timeout > TIMEOUT_MAX) {
            return Err(Error::invalid("The request's time to wait in the queue must be at most a day."));
        }
        if self.retries.is_some_and(|retries| retries > RETRIES_MAX) {
            return Err(Error::invalid("The request must ask for at most 100 retries."));
        }
        Ok(())
    }
}

fn parse_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Error> {
    let shown = |error: Error| error.with_details(&format!("header {name}"));
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
        shown(Error::invalid("A header's name must be of letters, digits and dashes, without spaces."))
    })?;
    if FRAMING_HEADERS.contains(&name) {
        return Err(shown(Error::invalid(
            "A header that frames the connection is set by the transport. Leave it out.",
        )));
    }
    let mut value = HeaderValue::from_str(value).map_err(|_| {
        shown(Error::invalid("A header's value must be of visible ASCII characters and spaces."))
    })?;
    value.set_sensitive(is_credential(&name));
    Ok((name, value))
}

fn too_many_headers() -> Error {
    Error::new(Reason::RequestTooLarge)
        .with_message("The request has more than 64 headers, or more than 16 KiB of them. Send fewer.")
}

//! Builds a valid request within the limits from a caller's arguments.

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

/// The headers that belong to the transport: a caller that set them could break the connection's framing.
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

/// Builds a [`Request`]. It keeps the first mistake, and [`build`](Self::build) returns it.
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
                // Appending to a full map panics inside the map.
                if self.request.headers.try_append(name, value).is_err() {
                    self.set_error(too_many_headers());
                }
            }
            Err(error) => self.set_error(error),
        }
        self
    }

    /// Sets the body, at most 16 MiB. The caller sets the content type.
    pub fn body(self, body: impl Into<Bytes>) -> Self {
        self.with_body(Body::from(body.into()))
    }

    /// Sets the file at `path` as the body, of any size. Each attempt opens it again and reads it while sending, off
    /// the async threads. The caller sets the content type.
    ///
    /// The request fails with [`Reason::BodyUnreadable`] if the file is missing, cannot be read, or is no regular
    /// file. It fails with [`Reason::BodyChanged`] if the file is written to while it is sent; the backend then sees
    /// an aborted request. A change that keeps length and modification time is not noticed.
    pub fn file(self, path: impl AsRef<Path>) -> Self {
        self.with_body(Body::from_file(path.as_ref()))
    }

    /// Sets a stream as the body, of any size. Each attempt calls `open`, which must yield the same bytes each time.
    /// Without a `length` it is sent in chunks.
    ///
    /// It is sent in parts of at most 64 KiB, and polled only as fast as
    /// the connection takes them. Its own delays count as silence.
    ///
    /// The request fails with [`Reason::BodyUnreadable`] if the stream fails or panics. It fails with
    /// [`Reason::BodyChanged`] if the stream is longer or shorter than `length`. In both cases the backend sees an
    /// aborted request.
    pub fn body_stream<S>(self, length: Option<u64>, open: impl Fn() -> S + Send + Sync + 'static) -> Self
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        self.with_body(Body::from_factory(length, open))
    }

    /// Sets a single-use stream as the body; see [`body_stream`](Self::body_stream).
    ///
    /// Once the connection has asked for its first part, the request cannot be repeated, whatever its method. A
    /// redirect that would need the body again is not followed.
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

    /// Sets `value` as a JSON body, with its content type.
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

    /// Sets the lane of the queue in which it waits.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.request.priority = priority;
        self
    }

    /// Sets the longest silence within one attempt, instead of the queue's default. It applies until the response
    /// begins, and then between any two of its parts. More than zero, at most 24 h.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.request.timeout = Some(timeout);
        self
    }

    /// Sets the longest wait in the queue, instead of the queue's default. At most 24 h.
    pub fn wait_timeout(mut self, timeout: Duration) -> Self {
        self.request.wait_timeout = Some(timeout);
        self
    }

    /// Sets the longest time in all, instead of the queue's default: from the acceptance to the end of the response,
    /// with every wait, attempt and delay. Zero for no limit. At most 24 h.
    ///
    /// It then ends as [`Reason::DeadlineExceeded`], or as `outcome_unknown` if the backend may have acted and a repeat
    /// could act twice.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.request.deadline = Some(deadline);
        self
    }

    /// Sets the number of retries, instead of the queue's default. At most 100.
    pub fn retries(mut self, retries: u32) -> Self {
        self.request.retries = Some(retries);
        self
    }

    /// Sets the key by which the backend recognises a repeat: visible ASCII, at most 255 bytes.
    pub fn idempotency_key(self, key: &str) -> Self {
        self.header(IDEMPOTENCY_KEY.as_str(), key)
    }

    /// Has the queue make a key when it accepts the request. Only a backend that honours the key never acts twice, so
    /// a key is never made unasked.
    pub fn generated_idempotency_key(mut self) -> Self {
        self.request.key = IdempotencyKey::Requested;
        self
    }

    /// Shares the attempts and the response of an equal request that waits or is under way, if that one is shared as
    /// well.
    ///
    /// Equal requests have the same path, headers, timeouts and retries. Only a GET without a body can be shared.
    /// Each caller keeps an id, a wait and an outcome of its own; the request is cancelled when the last one leaves.
    /// The response may have begun before this caller asked, so do not share after a change. A streamed response is
    /// never shared, and progress is not either.
    pub fn shared(mut self) -> Self {
        self.request.is_shared = true;
        self
    }

    /// Follows 301, 302 and 303 also after a write (any method but GET, HEAD and OPTIONS), as RFC 9110 has it: mostly
    /// with a GET without the body, whose answer then stands for that of the write.
    ///
    /// Without this, such a request ends as [`Reason::Redirected`], with the target in `details`, unless that is a path with
    /// a query. The backend may have acted on it. 307 and 308 repeat the method and the body, and are always followed.
    pub fn follow_redirected_writes(mut self) -> Self {
        self.request.follows_redirected_writes = true;
        self
    }

    /// Builds the request, if it is valid and within the limits.
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
    /// Returns the same request with these headers added; `None` if they exceed a request's limit.
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
        if self.deadline.is_some_and(|deadline| deadline > TIMEOUT_MAX) {
            return Err(Error::invalid("The request's deadline must be at most a day."));
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

//! A request to the backend, and the response to it.
//!
//! A [`Request`] is checked when it is built: one that exists is valid and within the limits below.

pub(crate) mod id;
mod path;

use std::{fmt, sync::LazyLock, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use self::id::RequestId;
use crate::error::{Error, Reason, Secrets, is_credential, start_of};

/// The largest body that a request may carry.
pub const REQUEST_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The most headers that a request may carry.
pub const REQUEST_HEADERS_MAX: usize = 64;

/// The most that a request's headers may amount to, names and values together.
pub const REQUEST_HEADERS_BYTES_MAX: usize = 16 * 1024;

/// The longest path of a request, with its query.
pub const REQUEST_PATH_BYTES_MAX: usize = 8 * 1024;

/// The longest idempotency key.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// The most retries that a request may ask for.
pub const RETRIES_MAX: u32 = 100;

/// The longest timeout that a request may ask for: a day.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The header that carries the idempotency key.
pub static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

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

/// Which lane of the queue a request waits in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// First: somebody is waiting in front of the screen.
    High,
    /// As usual.
    #[default]
    Normal,
    /// When nothing else is to be done.
    Low,
}

impl Priority {
    /// Every priority, the most urgent first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];
}

/// One request to the backend. It is valid by construction; see [`Request::builder`].
#[derive(Clone)]
pub struct Request {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Option<Bytes>,
    priority: Priority,
    timeout: Option<Duration>,
    wait_timeout: Option<Duration>,
    retries: Option<u32>,
    key: Key,
}

/// The idempotency key of a request.
#[derive(Clone, PartialEq, Eq)]
enum Key {
    /// None: a repeat of a request that is not idempotent by its method could act twice.
    None,
    /// One is to be made when the request is accepted.
    Wanted,
    /// This one, on every attempt.
    Given(HeaderValue),
}

impl Request {
    /// Starts a request with `method` to `path`, which is relative to the backend's base address, starts with `/`
    /// and may carry a query.
    pub fn builder(method: Method, path: impl Into<String>) -> RequestBuilder {
        RequestBuilder {
            request: Self {
                method,
                path: path.into(),
                headers: HeaderMap::new(),
                body: None,
                priority: Priority::default(),
                timeout: None,
                wait_timeout: None,
                retries: None,
                key: Key::None,
            },
            error: None,
        }
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

    /// The method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The path with its query, relative to the backend's base address.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The path without its query, which may hold what does not belong into a log.
    #[must_use]
    pub fn path_without_query(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// The caller's headers, without the idempotency key.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The body, if there is one.
    #[must_use]
    pub fn body(&self) -> Option<&Bytes> {
        self.body.as_ref()
    }

    /// Which lane of the queue it waits in.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// How long one attempt may stand still; `None` for the queue's default.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// How long it may wait in the queue; `None` for the queue's default.
    #[must_use]
    pub fn wait_timeout(&self) -> Option<Duration> {
        self.wait_timeout
    }

    /// How often it may be repeated; `None` for the queue's default.
    #[must_use]
    pub fn retries(&self) -> Option<u32> {
        self.retries
    }

    /// The idempotency key, sent as `Idempotency-Key` with every attempt.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<&HeaderValue> {
        match &self.key {
            Key::Given(key) => Some(key),
            Key::None | Key::Wanted => None,
        }
    }

    /// Makes the idempotency key that the caller asked for, from 128 random bits; changes nothing if none was asked
    /// for or there is one already. To be called once, when the request is accepted, so that all attempts share it.
    pub fn settle_key(&mut self, random: u128) {
        if self.key == Key::Wanted
            && let Ok(key) = HeaderValue::from_str(&uuid(random))
        {
            self.key = Key::Given(key);
        }
    }

    /// `beside`, and what the request itself sends and must not be told again: its headers' values, its idempotency key
    /// and its query.
    #[must_use]
    pub fn secrets(&self, beside: Secrets) -> Secrets {
        let query = self.path.split_once('?').map(|(_, query)| query);
        let secrets = beside.with_headers(&self.headers).with_query(query);
        match self.idempotency_key() {
            Some(key) => secrets.with_header(&IDEMPOTENCY_KEY, key),
            None => secrets,
        }
    }

    /// Whether acting on it changes nothing at the backend, by its method (RFC 9110, 9.2.1).
    #[must_use]
    pub fn is_safe(&self) -> bool {
        self.method.is_safe()
    }

    /// Whether it may be sent twice: its method is idempotent (RFC 9110, 9.2.2), or it carries a key.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        self.method.is_idempotent() || self.key != Key::None
    }
}

impl fmt::Debug for Request {
    /// Leaves out the query, the headers' values and the body: they may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path_without_query())
            .field("headers", &self.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>())
            .field("body_bytes", &self.body.as_ref().map(Bytes::len))
            .field("priority", &self.priority)
            .field("timeout", &self.timeout)
            .field("wait_timeout", &self.wait_timeout)
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}

/// 128 random bits in the form of a version 4 UUID (RFC 9562).
fn uuid(random: u128) -> String {
    let bits = (random & !(0xf << 76 | 0x3 << 62)) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// Builds a [`Request`]. The first mistake is kept and told by [`build`](Self::build).
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct RequestBuilder {
    request: Request,
    error: Option<Error>,
}

impl RequestBuilder {
    /// Adds a header. `Idempotency-Key` is taken as [`idempotency_key`](Self::idempotency_key).
    pub fn header(mut self, name: &str, value: &str) -> Self {
        match parse_header(name, value) {
            Ok((name, value)) if name == IDEMPOTENCY_KEY => self.request.key = Key::Given(value),
            Ok((name, value)) => {
                // Appending to a map that is full panics inside the map.
                if self.request.headers.try_append(name, value).is_err() {
                    self.refuse(too_many_headers());
                }
            }
            Err(error) => self.refuse(error),
        }
        self
    }

    /// The body as it is. The content type is for the caller to set.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.request.body = Some(body.into());
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
                self.refuse(error.with_details(&cause.to_string()));
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
        self.request.key = Key::Wanted;
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

    fn refuse(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }
}

impl Request {
    fn check(&self) -> Result<(), Error> {
        if self.method == Method::CONNECT || self.method == Method::TRACE {
            return Err(Error::invalid(
                "The request's method must be one that acts on a path, such as GET or POST.",
            ));
        }
        path::check(&self.path)?;
        self.check_headers()?;
        self.check_numbers()?;
        if self.body.as_ref().is_some_and(|body| body.len() > REQUEST_BODY_BYTES_MAX) {
            return Err(Error::new(Reason::RequestTooLarge)
                .with_message("The request's body is larger than 16 MiB. Send less at once."));
        }
        Ok(())
    }

    fn check_headers(&self) -> Result<(), Error> {
        let bytes: usize = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if self.headers.len() > REQUEST_HEADERS_MAX || bytes > REQUEST_HEADERS_BYTES_MAX {
            return Err(too_many_headers());
        }
        match &self.key {
            Key::Given(key) if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX => {
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

/// What the backend answered, for the caller that asked.
#[derive(Clone)]
pub struct Response {
    /// The status: 2xx, or 304 to a conditional request.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// From the moment that the request was accepted to the last byte of the answer, in milliseconds.
    pub ms: u64,
    /// Whether it came from the cache.
    pub cached: bool,
    /// How many attempts it took; 0 if it came from the cache.
    pub attempts: u32,
    /// The request that it answers.
    pub request_id: RequestId,
    /// What the request sent and must not be told in an error about its answer.
    pub secrets: Secrets,
}

impl Response {
    /// The body as JSON.
    ///
    /// # Errors
    ///
    /// [`Reason::BadResponse`] (`SERVER_ERROR`) with the start of the body in `details`, if it is not JSON or not of
    /// the shape of `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|cause| {
            Error::new(Reason::BadResponse)
                .with_status(self.status.as_u16())
                .with_details(&format!("{cause}; the body starts with: {}", start_of(&self.body)))
                .with_attempts(self.attempts)
                .with_request_id(self.request_id)
                .without(&self.secrets)
        })
    }
}

impl fmt::Debug for Response {
    /// Leaves out the headers' values and the body: a backend may repeat there what is secret, or say what is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &self.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>())
            .field("body_bytes", &self.body.len())
            .field("ms", &self.ms)
            .field("cached", &self.cached)
            .field("attempts", &self.attempts)
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Code, words::assert_helps};

    fn refused(builder: RequestBuilder) -> Error {
        let error = builder.build().unwrap_err();
        assert_eq!(error.code, Code::InvalidInput);
        assert!(!error.retryable);
        // A rule's own words, not the fallback of the table.
        assert_ne!(error.message, error.reason.message());
        assert_helps(&error.message);
        error
    }

    #[test]
    fn a_request_keeps_what_it_was_given() {
        let request = Request::post("/api/echo?x=1")
            .json(&serde_json::json!({"a": 1}))
            .header("X-Trace", "7")
            .priority(Priority::High)
            .timeout(Duration::from_secs(5))
            .wait_timeout(Duration::ZERO)
            .retries(0)
            .idempotency_key("k-1")
            .build()
            .unwrap();
        assert_eq!(request.method(), Method::POST);
        assert_eq!((request.path(), request.path_without_query()), ("/api/echo?x=1", "/api/echo"));
        assert_eq!(request.headers()[header::CONTENT_TYPE], "application/json");
        assert_eq!(request.headers()["x-trace"], "7");
        assert_eq!(request.body().unwrap(), r#"{"a":1}"#);
        assert_eq!(request.priority(), Priority::High);
        assert_eq!(request.timeout(), Some(Duration::from_secs(5)));
        assert_eq!(request.wait_timeout(), Some(Duration::ZERO));
        assert_eq!(request.retries(), Some(0));
        assert_eq!(request.idempotency_key().unwrap(), "k-1");
    }

    #[test]
    fn only_a_safe_or_idempotent_method_or_a_key_makes_a_request_repeatable() {
        let repeatable = |method: Method| Request::builder(method, "/").build().unwrap().is_repeatable();
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE] {
            assert!(repeatable(method));
        }
        assert!(!repeatable(Method::POST) && !repeatable(Method::PATCH));
        assert!(Request::post("/").idempotency_key("k").build().unwrap().is_repeatable());
        assert!(Request::post("/").generated_idempotency_key().build().unwrap().is_repeatable());
    }

    #[test]
    fn a_key_is_made_once_and_only_when_asked_for() {
        let mut wanted = Request::post("/").generated_idempotency_key().build().unwrap();
        wanted.settle_key(u128::MAX);
        wanted.settle_key(0);
        assert_eq!(wanted.idempotency_key().unwrap(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        let mut unasked = Request::post("/").build().unwrap();
        unasked.settle_key(1);
        assert_eq!(unasked.idempotency_key(), None);
        let mut given = Request::post("/").idempotency_key("mine").build().unwrap();
        given.settle_key(1);
        assert_eq!(given.idempotency_key().unwrap(), "mine");
    }

    #[test]
    fn a_header_that_could_break_the_connection_is_refused() {
        for name in ["Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Keep-Alive"] {
            refused(Request::get("/").header(name, "x"));
        }
        let error = refused(Request::get("/").header("X-A", "one\r\nX-B: two"));
        assert_eq!(error.details.as_deref(), Some("header X-A"));
        refused(Request::get("/").header("two words", "x"));
    }

    #[test]
    fn every_part_has_a_limit() {
        refused(Request::post("/").body(vec![0; REQUEST_BODY_BYTES_MAX + 1]));
        assert!(Request::post("/").body(vec![0; REQUEST_BODY_BYTES_MAX]).build().is_ok());
        let many = (0..=REQUEST_HEADERS_MAX)
            .fold(Request::get("/"), |builder, n| builder.header("x", &n.to_string()));
        refused(many);
        refused((0..100_000).fold(Request::get("/"), |builder, n| builder.header(&format!("x{n}"), "")));
        refused(Request::get("/").header("x", &"v".repeat(REQUEST_HEADERS_BYTES_MAX)));
        refused(Request::get("/").retries(RETRIES_MAX + 1));
        refused(Request::get("/").timeout(Duration::ZERO));
        refused(Request::get("/").timeout(TIMEOUT_MAX + Duration::from_secs(1)));
        refused(Request::get("/").wait_timeout(Duration::MAX));
        refused(Request::post("/").idempotency_key(""));
        refused(Request::post("/").idempotency_key(&"k".repeat(IDEMPOTENCY_KEY_BYTES_MAX + 1)));
    }

    #[test]
    fn a_method_without_a_path_is_refused_and_so_is_a_body_that_is_not_json() {
        refused(Request::builder(Method::CONNECT, "/"));
        let keyed_by_numbers = std::collections::HashMap::from([(vec![1], 1)]);
        refused(Request::post("/").json(&keyed_by_numbers));
    }

    #[test]
    fn a_request_shows_no_secret_when_it_is_logged() {
        let request = Request::post("/x?token=sesame")
            .header("Authorization", "sesame")
            .body("sesame")
            .idempotency_key("sesame");
        assert!(!format!("{:?}", request.build().unwrap()).contains("sesame"));
    }

    #[test]
    fn bad_json_is_a_server_error_with_the_start_of_the_body() {
        let response = Response {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"<html>maintenance</html>"),
            ms: 3,
            cached: false,
            attempts: 2,
            request_id: RequestId(9),
            secrets: Secrets::of(["maintenance".to_owned()]),
        };
        let error = response.json::<serde_json::Value>().unwrap_err();
        assert_eq!((error.code, error.reason), (Code::ServerError, Reason::BadResponse));
        assert!(error.details.unwrap().contains("<html>[redacted]</html>"));
        assert_eq!((error.status, error.attempts, error.request_id), (Some(200), 2, Some(RequestId(9))));
    }
}

//! The real transport: HTTP/1.1 over reqwest.
//!
//! - `failure` reads reqwest's errors, `redirect` decides where a redirect leads
//! - `upload` knows whether a request has left
//!
//! One attempt may use more than one connection in two cases, neither of which is a retry: a redirect within the
//! backend's own origin, and a safe request that met a pooled connection which the server had closed meanwhile.

mod failure;
mod redirect;
#[cfg(test)]
pub(super) mod tests;
mod upload;

use std::{
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, header};
use reqwest::{Body, Client, Response, Url};
use tokio::time::{Instant, timeout, timeout_at};

use self::{
    redirect::{Hop, REDIRECTS_MAX},
    upload::{Upload, UploadWatch},
};
use super::{Answer, AnswerHead, FailureKind, Reach, Transport, TransportError};
use crate::{
    error::{Error, Reason, Secrets},
    request::{IDEMPOTENCY_KEY, Request},
};

/// How long an unused connection is kept. Common servers (uvicorn, Node) close theirs after 5 s: letting go before
/// they do keeps a request from being written into a connection that is just being closed.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// The most unused connections that are kept.
const POOL_IDLE_MAX: usize = 8;

/// What an [`HttpTransport`] is made from.
#[derive(Clone)]
pub struct HttpSettings {
    /// The backend's base address: `http` or `https`, without credentials, query or fragment.
    pub base_url: String,
    /// Headers for every request; those of the request itself win.
    pub headers: HeaderMap,
    /// A token that goes along as `Authorization: Bearer …`, unless the request brings its own.
    pub bearer_token: Option<String>,
    /// How long a connection may take to be made, TLS included.
    pub connect_timeout: Duration,
    /// The largest answer that is read.
    pub response_bytes_max: usize,
}

impl HttpSettings {
    /// Settings for the backend at `base_url`: 10 s to connect, answers of at most 16 MiB.
    #[must_use]
    pub fn new(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            headers: HeaderMap::new(),
            bearer_token: None,
            connect_timeout: Duration::from_secs(10),
            response_bytes_max: 16 * 1024 * 1024,
        }
    }
}

impl fmt::Debug for HttpSettings {
    /// Leaves out the token and the headers' values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSettings")
            .field("base_url", &self.base_url)
            .field("headers", &self.headers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>())
            .field("bearer_token", &self.bearer_token.is_some())
            .field("connect_timeout", &self.connect_timeout)
            .field("response_bytes_max", &self.response_bytes_max)
            .finish()
    }
}

/// [`Transport`] over HTTP/1.1.
///
/// Headers that hold credentials never leave the origin of the base address. The proxy settings of the system are
/// used, except for a backend on this computer.
pub struct HttpTransport {
    base: Url,
    /// Keeps connections for the next request.
    pooled: Client,
    /// Makes a connection for each request.
    fresh: Client,
    /// How many answers came over connections that may still be kept: at most so many kept ones can be stale.
    kept: AtomicUsize,
    response_bytes_max: usize,
    secrets: Secrets,
}

impl HttpTransport {
    /// A transport to one backend. Connects to nothing yet.
    ///
    /// # Errors
    ///
    /// [`Reason::InvalidConfig`] if the address or the token cannot be used, [`Reason::Internal`] if TLS cannot be
    /// set up on this computer.
    pub fn new(settings: &HttpSettings) -> Result<Self, Error> {
        let base = parse_base(&settings.base_url)?;
        let headers = default_headers(settings)?;
        let client = |idle_max| build_client(settings, &base, &headers, idle_max);
        Ok(Self {
            pooled: client(POOL_IDLE_MAX)?,
            fresh: client(0)?,
            base,
            kept: AtomicUsize::new(0),
            response_bytes_max: settings.response_bytes_max,
            secrets: Secrets::of(settings.bearer_token.clone()).with_headers(&headers).at_hand(),
        })
    }

    async fn exchange(&self, request: &Request, idle: Duration) -> Result<Answer, TransportError> {
        let mut hop = self.first_hop(request)?;
        for redirects in 0..=REDIRECTS_MAX {
            let response =
                self.begin(request, &hop, idle).await.map_err(|failure| after(redirects, failure))?;
            let next = redirect::next(&hop.method, &hop.url, response.status(), response.headers());
            match next {
                Some(next) if redirects < REDIRECTS_MAX => {
                    hop = Hop { keeps_body: hop.keeps_body && next.keeps_body, ..next };
                }
                _ => return self.finish(response, idle).await,
            }
        }
        // The last round above always returns.
        Err(TransportError::new(FailureKind::BadResponse, Reach::MaybeSent, "too many redirects"))
    }

    fn first_hop(&self, request: &Request) -> Result<Hop, TransportError> {
        let refuse = |details: &str| TransportError::new(FailureKind::BadRequest, Reach::NotSent, details);
        let joined = format!("{}{}", self.base.as_str().trim_end_matches('/'), request.path());
        let url = Url::parse(&joined).map_err(|cause| refuse(&cause.to_string()))?;
        if url.origin() != self.base.origin() {
            return Err(refuse("the path leads away from the backend"));
        }
        Ok(Hop { method: request.method().clone(), url, keeps_body: true })
    }

    /// Sends the request and waits for the answer to begin.
    async fn begin(&self, request: &Request, hop: &Hop, idle: Duration) -> Result<Response, TransportError> {
        let started = Instant::now();
        match send(&self.pooled, request, hop, idle).await {
            Err(failure) if self.was_stale(&hop.method, &failure) => {
                send(&self.fresh, request, hop, idle.saturating_sub(started.elapsed())).await
            }
            other => other,
        }
    }

    /// Whether a failure may be due to a kept connection that the server had closed, and the request can be sent again
    /// without a second thought (RFC 9110, 9.2.2). Each answer that left a connection behind excuses one failure, so a
    /// backend that breaks every connection does not get every request twice.
    fn was_stale(&self, method: &Method, failure: &TransportError) -> bool {
        let take = |kept: usize| kept.checked_sub(1);
        failure.kind == FailureKind::Reset
            && method.is_safe()
            && self.kept.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Reads the rest of the answer.
    async fn finish(&self, mut response: Response, idle: Duration) -> Result<Answer, TransportError> {
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let announced = response.content_length();
        match read(&mut response, announced, self.response_bytes_max, idle).await {
            Ok(body) => {
                let add = |kept: usize| Some((kept + 1).min(POOL_IDLE_MAX));
                // The closure never declines.
                let _ = self.kept.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
                Ok(Answer { status, headers, body })
            }
            Err((kind, details)) => {
                Err(TransportError::within(kind, AnswerHead { status, headers }, details))
            }
        }
    }
}

impl Transport for HttpTransport {
    fn attempt<'a>(
        &'a self,
        request: &'a Request,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Answer, TransportError>> {
        Box::pin(self.exchange(request, timeout))
    }

    fn secrets(&self) -> Secrets {
        self.secrets.clone()
    }
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransport").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// A failure after `redirects` answers that pointed elsewhere: the server did receive the request by then.
fn after(redirects: usize, mut failure: TransportError) -> TransportError {
    if redirects > 0 {
        failure.reach = failure.reach.max(Reach::MaybeSent);
    }
    failure
}

/// One request on one connection, until the answer begins.
async fn send(
    client: &Client,
    request: &Request,
    hop: &Hop,
    idle: Duration,
) -> Result<Response, TransportError> {
    let (wire, upload) = assemble(request, hop);
    match within_idle(client.execute(wire), upload.as_ref(), idle).await {
        Some(Ok(response)) => Ok(response),
        Some(Err(error)) => {
            let unsent = failure::is_unsent(&error) || upload.is_some_and(|upload| upload.withdraw());
            let reach = if unsent { Reach::NotSent } else { Reach::MaybeSent };
            Err(TransportError::new(failure::before_answer(&error), reach, failure::describe(error)))
        }
        None => {
            let unsent = upload.is_some_and(|upload| upload.withdraw());
            let reach = if unsent { Reach::NotSent } else { Reach::MaybeSent };
            Err(TransportError::new(FailureKind::TimedOut, reach, "no answer began in time"))
        }
    }
}

fn assemble(request: &Request, hop: &Hop) -> (reqwest::Request, Option<UploadWatch>) {
    let mut wire = reqwest::Request::new(hop.method.clone(), hop.url.clone());
    *wire.headers_mut() = request.headers().clone();
    if let Some(key) = request.idempotency_key() {
        wire.headers_mut().insert(&IDEMPOTENCY_KEY, key.clone());
    }
    let Some(body) = request.body().filter(|_| hop.keeps_body) else {
        wire.headers_mut().remove(header::CONTENT_TYPE);
        return (wire, None);
    };
    // Said outright, since a stream has no length of its own and would be sent in chunks.
    wire.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    if body.is_empty() {
        return (wire, None);
    }
    let (upload, watch) = Upload::new(body.clone());
    *wire.body_mut() = Some(Body::wrap_stream(upload));
    (wire, Some(watch))
}

/// Waits for `answer`, but no longer than `idle` from the start or from the last part of the body that left.
async fn within_idle<T>(
    answer: impl Future<Output = T>,
    upload: Option<&UploadWatch>,
    idle: Duration,
) -> Option<T> {
    let mut answer = std::pin::pin!(answer);
    let mut deadline = Instant::now() + idle;
    loop {
        let moved = async {
            match upload {
                Some(upload) => upload.moved().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            answer = timeout_at(deadline, &mut answer) => return answer.ok(),
            () = moved => deadline = Instant::now() + idle,
        }
    }
}

type ReadFailure = (FailureKind, String);

async fn read(
    response: &mut Response,
    announced: Option<u64>,
    bytes_max: usize,
    idle: Duration,
) -> Result<Bytes, ReadFailure> {
    let too_large = || (FailureKind::TooLarge, format!("more than {bytes_max} bytes"));
    if announced.is_some_and(|length| length > bytes_max as u64) {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    while let Some(part) = read_part(response, idle).await? {
        if body.len() + part.len() > bytes_max {
            return Err(too_large());
        }
        body.extend_from_slice(&part);
    }
    Ok(body.freeze())
}

async fn read_part(response: &mut Response, idle: Duration) -> Result<Option<Bytes>, ReadFailure> {
    match timeout(idle, response.chunk()).await {
        Ok(Ok(part)) => Ok(part),
        Ok(Err(error)) => Err((failure::within_answer(&error), failure::describe(error))),
        Err(_) => Err((FailureKind::BodyTimedOut, "the answer stood still".to_owned())),
    }
}

fn parse_base(text: &str) -> Result<Url, Error> {
    let refuse = |message: &str| Err(Error::new(Reason::InvalidConfig).with_message(message));
    let Ok(url) = Url::parse(text) else {
        return refuse(
            "The backend's address cannot be read. It must be like that of a web page, with http or https.",
        );
    };
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return refuse("The backend's address must begin with http or https and name a host.");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse(
            "The backend's address must not hold a name or password. Put a token into the environment.",
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse("The backend's address must end with its path, without a query or fragment.");
    }
    Ok(url)
}

fn default_headers(settings: &HttpSettings) -> Result<HeaderMap, Error> {
    let mut headers = settings.headers.clone();
    if let Some(token) = &settings.bearer_token {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
            Error::new(Reason::InvalidConfig)
                .with_message("The backend's token must be of visible ASCII characters, on one line.")
        })?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    Ok(headers)
}

fn build_client(
    settings: &HttpSettings,
    base: &Url,
    headers: &HeaderMap,
    idle_max: usize,
) -> Result<Client, Error> {
    let mut builder = Client::builder()
        .user_agent(concat!("mainstay/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers.clone())
        .connect_timeout(settings.connect_timeout)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .pool_max_idle_per_host(idle_max)
        // Both are decided here instead, where it is known what may be sent twice.
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never());
    if is_loopback(base) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| Error::new(Reason::Internal).with_details(&failure::describe(error)))
}

/// Whether the backend is on this computer, where no proxy could reach it.
fn is_loopback(base: &Url) -> bool {
    let host = base.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

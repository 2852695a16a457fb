//! The settings of the transport, and the clients that are built of them.

use std::{fmt, time::Duration};

use http::{HeaderMap, HeaderValue, header};
use reqwest::Client;

use super::error::describe;
use crate::{
    credentials::Credentials,
    error::{Error, Reason, Secrets},
    network::{Route, proxy::Proxy, tls},
};

/// The time for which an unused connection is kept. Common servers (uvicorn, Node) close theirs after 5 s. Closing
/// earlier avoids a request on a connection that the server is about to close.
pub(super) const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// The default number of unused connections that are kept.
const POOL_IDLE_MAX: usize = 8;

/// The settings of an [`HttpTransport`](super::HttpTransport).
#[derive(Clone)]
pub struct HttpSettings {
    /// The backend's base address: `http` or `https`, without credentials, query or fragment.
    pub base_url: String,
    /// Headers for every request; those of the request itself win.
    pub headers: HeaderMap,
    /// The source of the token that is sent as `Authorization: Bearer …`, unless the request has its own.
    pub credentials: Credentials,
    /// The time limit for making a connection, proxy and TLS included.
    pub connect_timeout: Duration,
    /// The route to the backend.
    pub route: Route,
    /// The number of unused connections that are kept, each for 4 s. It should be at least the number of concurrent
    /// requests: with fewer, every burst closes connections that the next one has to make again.
    pub idle_connections_max: usize,
}

impl HttpSettings {
    /// Returns settings for the backend at `base_url`: direct, 10 s to connect, 8 connections kept.
    #[must_use]
    pub fn new(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            headers: HeaderMap::new(),
            credentials: Credentials::none(),
            connect_timeout: Duration::from_secs(10),
            route: Route::default(),
            idle_connections_max: POOL_IDLE_MAX,
        }
    }
}

impl fmt::Debug for HttpSettings {
    /// Leaves out the token and the headers' values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSettings")
            .field("base_url", &self.base_url)
            .field("headers", &self.headers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>())
            .field("credentials", &self.credentials)
            .field("connect_timeout", &self.connect_timeout)
            .field("route", &self.route)
            .field("idle_connections_max", &self.idle_connections_max)
            .finish()
    }
}

/// Returns the secrets that every request sends: the tokens, the headers, and the proxy's credentials.
pub(super) fn configured_secrets(settings: &HttpSettings) -> Secrets {
    let of_proxy = settings.route.proxy.iter().flat_map(Proxy::secrets).cloned();
    let tokens = settings.credentials.seen();
    Secrets::from_texts(of_proxy.chain(tokens)).with_headers(&settings.headers).materialize()
}

/// Builds a client that keeps `idle_max` unused connections.
pub(super) fn build_client(
    settings: &HttpSettings,
    is_secure: bool,
    idle_max: usize,
) -> Result<Client, Error> {
    let mut headers = settings.headers.clone();
    // Asked for nothing else, a backend sends the length of its body, and spends no time on packing it.
    headers.entry(header::ACCEPT_ENCODING).or_insert(HeaderValue::from_static("identity"));
    let builder = Client::builder()
        .user_agent(concat!("mainstay/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .connect_timeout(settings.connect_timeout)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .pool_max_idle_per_host(idle_max)
        // The transport decides both itself, since it knows what may be sent twice.
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never());
    let route = &settings.route;
    let builder = tls::configure(builder, &route.trust, route.needs_tls(is_secure)).map_err(setup_error)?;
    let builder = match &route.proxy {
        Some(proxy) => builder.proxy(proxy.to_reqwest().map_err(|error| setup_error(describe(error)))?),
        // The route's proxy was chosen already.
        None => builder.no_proxy(),
    };
    builder.build().map_err(|error| setup_error(describe(error)))
}

fn setup_error(cause: impl fmt::Display) -> Error {
    Error::new(Reason::Internal).with_details(&cause.to_string())
}

//! The address and the headers of the backend's WebSocket.
//!
//! No secret reaches a log by accident: `Debug` shows neither header values nor the query, and no error repeats its
//! input.

use std::{borrow::Cow, fmt, sync::Arc};

use http::{
    HeaderMap, HeaderName, HeaderValue, Request,
    header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL},
};
use thiserror::Error;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use url::Url;

use super::error::{ConnectionError, ConnectionErrorKind};
use super::network_watch::{self, LocalAddresses};
use super::socket::{Resolver, StreamConnector};
use crate::credentials::Credentials;
use crate::error::Secrets;
use crate::network::{
    BackendAddress, Route,
    proxy::Proxy,
    urls::{BaseUrl, BaseUrlError, Endpoint},
};

/// The most custom headers.
pub(crate) const HEADERS_MAX: usize = 64;

/// The headers that the WebSocket handshake sets itself.
const RESERVED_HEADERS: [&str; 7] = [
    "connection",
    "host",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "upgrade",
];

/// The reason why an address or a header cannot be used, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TargetError {
    /// The base is not the address of a backend.
    #[error("backend.url {0}")]
    Base(#[from] BaseUrlError),
    /// The path cannot stand in a URL.
    #[error("connection.path: not a path; it should read like /ws")]
    Path,
    /// A header's name or value holds characters that must not be sent.
    #[error(
        "backend.headers, backend.headers_env: the header {name:?} holds characters that a header cannot hold"
    )]
    Header {
        /// The name as given.
        name: String,
    },
    /// A header belongs to the handshake.
    #[error(
        "backend.headers, backend.headers_env: {name} is set by the WebSocket handshake and should not stand there"
    )]
    Reserved {
        /// The name as given.
        name: String,
    },
    /// A header is given twice, or a token beside an `authorization`.
    #[error(
        "backend.headers, backend.headers_env: {name} is given twice; a token from backend.token_env is an authorization header"
    )]
    Duplicate {
        /// The name as given.
        name: String,
    },
    /// More than 64 headers.
    #[error("backend.headers, backend.headers_env: more than {HEADERS_MAX} headers together")]
    TooMany,
    /// The token holds what a header cannot hold.
    #[error("the token named by backend.token_env holds characters that a header cannot hold")]
    Token,
    /// A subprotocol is not a name as RFC 6455 wants it, or is offered twice.
    #[error("connection.subprotocols: {name:?} is no name of a subprotocol, or stands there twice")]
    Subprotocol {
        /// The name as given.
        name: String,
    },
}

/// A backend's WebSocket: its address, its headers, and the route to it.
#[derive(Clone)]
pub struct SocketTarget {
    url: Url,
    endpoint: Endpoint,
    headers: HeaderMap,
    subprotocols: Vec<String>,
    credentials: Credentials,
    /// The query parameter that carries the token instead of a header.
    token_query: Option<String>,
    route: Route,
    resolver: Resolver,
    connector: Option<Arc<dyn StreamConnector>>,
    local_addresses: Arc<dyn Fn() -> LocalAddresses + Send + Sync>,
    /// The address and the token of each dial, if they change with each start of the backend; and the path below it.
    assigned: Option<(watch::Receiver<Option<BackendAddress>>, Arc<str>)>,
}

impl SocketTarget {
    /// Creates the target for `path` at the backend `base`: the same address with `ws` for `http` and `wss` for
    /// `https`, and `path` appended to the path of `base`. `path` may have a query.
    ///
    /// # Errors
    /// Returns which of the two is unusable and what would be right.
    pub fn new(base: &str, path: &str) -> Result<Self, TargetError> {
        let url = BaseUrl::parse(base)?.join_websocket(path.trim()).ok_or(TargetError::Path)?;
        let endpoint = Endpoint::from_url(&url, 80).ok_or(BaseUrlError::HostOrPort)?;
        Ok(Self {
            url,
            endpoint,
            headers: HeaderMap::new(),
            subprotocols: Vec::new(),
            credentials: Credentials::none(),
            token_query: None,
            route: Route::default(),
            resolver: Resolver::new(),
            connector: None,
            local_addresses: Arc::new(network_watch::local_addresses),
            assigned: None,
        })
    }

    /// Sends this header with every handshake.
    ///
    /// # Errors
    /// Returns which header is unusable and why; its value is not repeated.
    pub fn with_header(self, name: &str, value: &str) -> Result<Self, TargetError> {
        let unusable = || TargetError::Header { name: name.to_owned() };
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable())?;
        if RESERVED_HEADERS.contains(&parsed.as_str()) {
            return Err(TargetError::Reserved { name: name.to_owned() });
        }
        self.insert(parsed, HeaderValue::from_str(value).map_err(|_| unusable())?)
    }

    /// Sends `token` as a bearer token with every handshake.
    ///
    /// # Errors
    /// Fails if the token cannot stand in a header, or an `authorization` header exists already.
    pub fn with_bearer(self, token: &str) -> Result<Self, TargetError> {
        bearer(token).ok_or(TargetError::Token)?;
        self.with_credentials(Credentials::fixed(token))
    }

    /// Asks `credentials` for a bearer token before every handshake.
    ///
    /// # Errors
    /// Fails if an `authorization` header exists already.
    pub fn with_credentials(mut self, credentials: Credentials) -> Result<Self, TargetError> {
        if !credentials.is_none() && self.headers.contains_key(AUTHORIZATION) {
            return Err(TargetError::Duplicate { name: AUTHORIZATION.as_str().to_owned() });
        }
        self.credentials = credentials;
        Ok(self)
    }

    /// Sends the token as the query parameter of this name instead of in a header, unless the name is empty.
    #[must_use]
    pub fn with_token_query(mut self, name: &str) -> Self {
        self.token_query = Some(name.to_owned()).filter(|name| !name.is_empty());
        self
    }

    /// Offers these subprotocols to the backend, the preferred one first.
    ///
    /// # Errors
    /// Returns the first that is no token of HTTP (RFC 6455, 4.1), or stands there twice.
    pub fn with_subprotocols(mut self, names: impl IntoIterator<Item = String>) -> Result<Self, TargetError> {
        for name in names {
            // A header's name is a token as well.
            if HeaderName::from_bytes(name.as_bytes()).is_err() || self.subprotocols.contains(&name) {
                return Err(TargetError::Subprotocol { name });
            }
            self.subprotocols.push(name);
        }
        Ok(self)
    }

    /// Dials the address that `assigned` has at the moment of each dial, with its token, and `path` below it.
    #[must_use]
    pub fn with_assigned_address(
        mut self,
        assigned: watch::Receiver<Option<BackendAddress>>,
        path: &str,
    ) -> Self {
        self.assigned = Some((assigned, path.trim().into()));
        self
    }

    /// Returns the target of a dial that begins now.
    pub(super) fn at_present(&self) -> Result<Self, ConnectionError> {
        let Some((assigned, path)) = &self.assigned else { return Ok(self.clone()) };
        let Some(address) = assigned.borrow().clone() else {
            let kind = ConnectionErrorKind::Refused;
            return Err(ConnectionError::new(kind, "the backend is not ready, so it has no address"));
        };
        let invalid =
            |_| ConnectionError::new(ConnectionErrorKind::InvalidTarget, "the address cannot be used");
        let target = Self::new(&address.url.to_string(), path).map_err(invalid)?;
        let mut target = Self { url: target.url, endpoint: target.endpoint, ..self.clone() };
        if let Some(token) = &address.token {
            target = target.with_bearer(token).map_err(invalid)?;
        }
        Ok(target)
    }

    /// Connects by this route, instead of directly with the platform's trusted roots.
    #[must_use]
    pub fn with_route(mut self, route: Route) -> Self {
        self.route = route;
        self
    }

    /// Connects by `connector` instead of TCP: the host then only names the backend, in the handshake and for TLS.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn with_connector(mut self, connector: Arc<dyn StreamConnector>) -> Self {
        self.connector = Some(connector);
        self
    }

    /// Returns the address. Do not show it: its query may hold secrets.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// Returns the secrets that it sends: its headers' values, its query, the tokens, and the proxy's credentials.
    #[must_use]
    pub(crate) fn secrets(&self) -> Secrets {
        let of_proxy = self.route.proxy.iter().flat_map(Proxy::secrets).cloned();
        Secrets::from_texts(of_proxy.chain(self.credentials.seen()))
            .with_headers(&self.headers)
            .with_query(self.url.query())
    }

    fn insert(mut self, name: HeaderName, mut value: HeaderValue) -> Result<Self, TargetError> {
        if self.headers.len() >= HEADERS_MAX {
            return Err(TargetError::TooMany);
        }
        let has_token = name == AUTHORIZATION && !self.credentials.is_none();
        if has_token || self.headers.contains_key(&name) {
            return Err(TargetError::Duplicate { name: name.as_str().to_owned() });
        }
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(self)
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    pub(super) fn connector(&self) -> Option<&Arc<dyn StreamConnector>> {
        self.connector.as_ref()
    }

    pub(super) fn is_secure(&self) -> bool {
        self.url.scheme() == "wss"
    }

    /// Returns whether the token may be another one at the next dial.
    #[must_use]
    pub fn renews_token(&self) -> bool {
        self.credentials.may_change()
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Returns the addresses from which the computer reaches the network now.
    pub(super) fn local_addresses(&self) -> LocalAddresses {
        (self.local_addresses)()
    }

    /// Takes these addresses for the computer's.
    #[cfg(test)]
    #[must_use]
    pub(super) fn with_local_addresses(
        mut self,
        addresses: impl Fn() -> LocalAddresses + Send + Sync + 'static,
    ) -> Self {
        self.local_addresses = Arc::new(addresses);
        self
    }

    /// Returns a handshake request with a new key and this token; `None` if the address cannot be requested, or the
    /// token cannot be sent.
    pub(super) fn handshake_request(&self, token: Option<&str>) -> Option<Request<()>> {
        let mut url = Cow::Borrowed(&self.url);
        if let (Some(name), Some(token)) = (&self.token_query, token) {
            url.to_mut().query_pairs_mut().append_pair(name, token);
        }
        let mut request = url.as_str().into_client_request().ok()?;
        let headers = request.headers_mut();
        headers.extend(self.headers.clone());
        if let (None, Some(token)) = (&self.token_query, token) {
            headers.insert(AUTHORIZATION, bearer(token)?);
        }
        if !self.subprotocols.is_empty() {
            let offered = self.subprotocols.join(", ");
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(&offered).ok()?);
        }
        Some(request)
    }

    pub(super) fn route(&self) -> &Route {
        &self.route
    }
}

/// Returns the header's value for a bearer token; `None` if the token cannot stand in a header.
fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl fmt::Debug for SocketTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketTarget")
            .field("scheme", &self.url.scheme())
            .field("endpoint", &self.endpoint)
            .field("path", &self.url.path())
            .field("headers", &self.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>())
            .field("route", &self.route)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(base: &str, path: &str) -> String {
        SocketTarget::new(base, path).unwrap().url().to_string()
    }

    #[test]
    fn websocket_url_is_base_with_ws_scheme_and_path() {
        assert_eq!(url("http://localhost:8000", "/ws"), "ws://localhost:8000/ws");
        assert_eq!(url("https://backend.example/", "ws"), "wss://backend.example/ws");
        assert_eq!(url("http://[::1]:8000/api/", "/ws?v=2"), "ws://[::1]:8000/api/ws?v=2");
    }

    #[test]
    fn port_defaults_by_scheme() {
        let endpoint = |base| SocketTarget::new(base, "/ws").unwrap().endpoint().to_string();
        assert_eq!(endpoint("https://a.example"), "a.example:443");
        assert_eq!(endpoint("http://[::1]"), "[::1]:80");
    }

    #[test]
    fn unusable_address_says_what_is_wrong() {
        let error = |base, path| SocketTarget::new(base, path).unwrap_err();
        assert_eq!(error("ftp://localhost", "/ws"), TargetError::Base(BaseUrlError::Scheme));
        assert_eq!(error("http://localhost?token=s3cret", "/ws"), TargetError::Base(BaseUrlError::Query));
        assert_eq!(error("http://localhost", "/w s"), TargetError::Path);
        assert_eq!(error("http://localhost/base", "/../ws"), TargetError::Path);
    }

    #[test]
    fn reserved_or_duplicate_header_is_refused() {
        let target = || SocketTarget::new("http://localhost", "/ws").unwrap();
        let reserved = target().with_header("Upgrade", "h2c").unwrap_err();
        assert_eq!(reserved, TargetError::Reserved { name: "Upgrade".into() });
        let twice = target().with_header("Authorization", "Basic x").unwrap().with_bearer("t").unwrap_err();
        assert_eq!(twice, TargetError::Duplicate { name: "authorization".into() });
        let broken = target().with_header("x-note", "a\r\nb").unwrap_err();
        assert_eq!(broken, TargetError::Header { name: "x-note".into() });
    }

    #[test]
    fn handshake_debug_output_hides_header_values() {
        let target = SocketTarget::new("http://localhost", "/ws").unwrap().with_bearer("s3cret").unwrap();
        let shown = format!("{:?}", target.handshake_request(Some("s3cret")).unwrap());
        assert!(shown.contains("authorization") && !shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn token_stands_in_the_query_or_in_the_header() {
        let target = || SocketTarget::new("http://localhost", "/ws?v=2").unwrap();
        let request = target().with_token_query("access token").handshake_request(Some("a+b&c")).unwrap();
        assert_eq!(request.uri().query(), Some("v=2&access+token=a%2Bb%26c"));
        assert_eq!(request.headers().get(AUTHORIZATION), None);
        let request = target().handshake_request(Some("a+b&c")).unwrap();
        assert_eq!(request.headers()[AUTHORIZATION], "Bearer a+b&c");
        assert_eq!(request.uri().query(), Some("v=2"));
        assert!(target().handshake_request(Some("two\nlines")).is_none());
    }

    #[test]
    fn unusable_subprotocol_is_refused() {
        let offer = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned());
            SocketTarget::new("http://localhost", "/ws").unwrap().with_subprotocols(names)
        };
        let request = offer(&["chat.v2", "chat.v1"]).unwrap().handshake_request(None).unwrap();
        assert_eq!(request.headers()[SEC_WEBSOCKET_PROTOCOL], "chat.v2, chat.v1");
        for (names, refused) in [(&["a b"][..], "a b"), (&["a,b"], "a,b"), (&[""], ""), (&["a", "a"], "a")] {
            let expected = TargetError::Subprotocol { name: refused.to_owned() };
            assert_eq!(offer(names).unwrap_err(), expected);
        }
    }

    #[test]
    fn assigned_target_is_the_address_of_the_moment() {
        let assigned = watch::Sender::new(None);
        let target = SocketTarget::new("http://127.0.0.1", "/ws").unwrap();
        let target = target.with_assigned_address(assigned.subscribe(), "/ws");
        assert_eq!(target.at_present().unwrap_err().kind, ConnectionErrorKind::Refused);
        for (port, token) in [(81, "first"), (82, "second")] {
            let url = BaseUrl::parse(&format!("http://127.0.0.1:{port}")).unwrap();
            assigned.send_replace(Some(BackendAddress { url, token: Some(token.to_owned()) }));
            let now = target.at_present().unwrap();
            assert_eq!(now.url().as_str(), format!("ws://127.0.0.1:{port}/ws"));
            assert_eq!(now.endpoint().port, port);
            assert_eq!(now.credentials.seen(), [token]);
        }
    }

    #[test]
    fn no_secret_shows_in_debug_output_or_in_an_error() {
        let target = SocketTarget::new("http://localhost", "/ws?key=s3cret").unwrap();
        let target = target.with_bearer("s3cret").unwrap().with_header("x-key", "s3cret").unwrap();
        let broken = target.clone().with_header("x-other", "s3cret\n").unwrap_err();
        let credentials = SocketTarget::new("http://user:s3cret@localhost", "/ws").unwrap_err();
        for shown in [format!("{target:?}"), format!("{broken:?} {broken}"), format!("{credentials:?}")] {
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }
}

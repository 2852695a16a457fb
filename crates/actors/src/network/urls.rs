//! Parses the URLs of backends and proxies. HTTP, the WebSocket, the choice of a proxy and the configuration share the
//! result, so all of them read an address alike.
//!
//! The parser is the `url` crate, which follows the WHATWG's URL Standard. What that parser repairs, such as a
//! backslash or a missing slash, is refused here: in a configured address it is a mistake.

use std::{
    cell::Cell,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use http::Uri;
use thiserror::Error;
use url::{Host, ParseError, Position, SyntaxViolation, Url};

/// The longest name of a host, in bytes: the limit of DNS.
const HOST_BYTES_MAX: usize = 253;

/// Says why a text is no base URL, as the rest of a sentence. It repeats nothing of the text, which may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BaseUrlError {
    /// The text names a user or a password.
    #[error(
        "must not hold a user or password: put a token in an environment variable and name that in \"token_env\""
    )]
    Credentials,
    /// The text has a query or a fragment.
    #[error(
        "must not have a query or fragment: put a token in an environment variable and name that in \"token_env\""
    )]
    Query,
    /// The scheme is missing or another one.
    #[error("must start with \"http://\" or \"https://\"")]
    Scheme,
    /// The host or the port is missing or not valid.
    #[error("must have a valid host, and a port from 1 to 65535 if any, as in \"http://localhost:8000\"")]
    HostOrPort,
    /// The path holds characters that a URL cannot hold.
    #[error("must be a URL, with everything special in its path percent-encoded")]
    Path,
}

/// The address of a backend: `http` or `https`, a host, perhaps a port and a path.
///
/// It is normalised: the host is in lower case and in ASCII, `127.1` is `127.0.0.1`, and the path has no dot segments.
/// It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(Url);

impl BaseUrl {
    /// Parses a backend's address. Spaces around it do not count.
    ///
    /// # Errors
    /// Returns the first rule that the text breaks, secrets first.
    pub fn parse(text: &str) -> Result<Self, BaseUrlError> {
        let parsed = ParsedUrl::parse(text).map_err(|error| match error {
            _ if text.contains('@') => BaseUrlError::Credentials,
            ParseError::RelativeUrlWithoutBase => BaseUrlError::Scheme,
            _ => BaseUrlError::HostOrPort,
        })?;
        let ParsedUrl { url, has_credentials, violation } = parsed;
        let is_http = matches!(url.scheme(), "http" | "https");
        if has_credentials || (!is_http && text.contains('@')) {
            return Err(BaseUrlError::Credentials);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(BaseUrlError::Query);
        }
        if !is_http {
            return Err(BaseUrlError::Scheme);
        }
        if Endpoint::from_url(&url, 0).is_none() || violation == Some(SyntaxViolation::ExpectedDoubleSlash) {
            return Err(BaseUrlError::HostOrPort);
        }
        violation.map_or(Ok(Self(url)), |_| Err(BaseUrlError::Path))
    }

    /// Returns the same address without its path, and the path.
    #[must_use]
    pub fn split_path(&self) -> (Self, &str) {
        let mut origin = self.0.clone();
        origin.set_path("/");
        (Self(origin), self.0.path())
    }

    /// Returns whether the host is this computer, by its name or address.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.0.host() {
            Some(Host::Domain(name)) => {
                let name = name.trim_end_matches('.');
                name == "localhost" || name.ends_with(".localhost")
            }
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
            None => false,
        }
    }

    /// Returns the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or_default()
    }

    /// Returns the host, as a name or an address without brackets.
    #[must_use]
    pub fn host(&self) -> String {
        match self.0.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => String::new(),
        }
    }

    /// Returns the address of the same server for a client on this computer: a server that listens on all addresses is
    /// reached by the loopback address. `None` if it listens on others only.
    #[must_use]
    pub(crate) fn on_this_computer(mut self) -> Option<Self> {
        let loopback = match self.0.host() {
            Some(Host::Ipv4(address)) if address.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Some(Host::Ipv6(address)) if address.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            _ => return self.is_loopback().then_some(self),
        };
        self.0.set_ip_host(loopback).ok()?;
        Some(self)
    }

    /// Returns whether it is reached over TLS.
    #[must_use]
    pub(crate) fn is_secure(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Returns the address of the backend's WebSocket at `path`, which may have a query. See [`join`](Self::join).
    pub(crate) fn join_websocket(&self, path: &str) -> Option<Url> {
        let mut url = self.join(path)?;
        url.set_scheme(if self.is_secure() { "wss" } else { "ws" }).ok()?;
        Some(url)
    }

    /// Returns the address of `path` below this one. `path` may have a query.
    ///
    /// Returns `None` if a parser would read the path as another one, such as `/a/../b` or `/a b`.
    pub(crate) fn join(&self, path: &str) -> Option<Url> {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let path = [self.0.path().trim_end_matches('/'), "/", path.trim_start_matches('/')].concat();
        let mut url = self.0.clone();
        url.set_path(&path);
        url.set_query(query);
        (url.path() == path).then_some(url)
    }

    /// Returns the address without its path, for the rules of proxies.
    pub(crate) fn to_uri(&self) -> Option<Uri> {
        self.0[..Position::BeforePath].parse().ok()
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Returns whether `path` is a URL's path as every parser reads it: it starts with a slash, everything special is
/// percent-encoded, and there are no dot segments, no query and no fragment.
#[must_use]
pub fn is_plain_path(path: &str) -> bool {
    path.starts_with('/') && Url::parse(&format!("http://host{path}")).is_ok_and(|url| url.path() == path)
}

/// A host and a port to connect to. `Display` writes an IPv6 address in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) host: Host,
    pub(crate) port: u16,
}

impl Endpoint {
    /// Returns the host and the port of a URL; `None` if it has no valid host, or port 0.
    pub(crate) fn from_url(url: &Url, default_port: u16) -> Option<Self> {
        Self::new(url.host_str()?, url.port_or_known_default().unwrap_or(default_port))
            .filter(|_| url.port() != Some(0))
    }

    /// Parses a host as it stands in a URL. The parser of URLs does so only for `http` and its like, but not for the
    /// schemes of SOCKS.
    pub(crate) fn new(host: &str, port: u16) -> Option<Self> {
        let host = Host::parse(host).ok()?;
        let is_valid = match &host {
            Host::Domain(name) => {
                let name = name.strip_suffix('.').unwrap_or(name);
                name.len() <= HOST_BYTES_MAX && name.split('.').all(is_label)
            }
            Host::Ipv4(_) | Host::Ipv6(_) => true,
        };
        is_valid.then_some(Self { host, port })
    }

    /// Returns the host, with an IPv6 address without its brackets.
    pub(crate) fn host_name(&self) -> String {
        match &self.host {
            Host::Ipv6(address) => address.to_string(),
            host => host.to_string(),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

fn is_label(label: &str) -> bool {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !label.is_empty() && label.bytes().all(is_valid)
}

/// A parsed URL, and what the parser noticed in its text.
pub(super) struct ParsedUrl {
    pub(super) url: Url,
    /// True if there is an `@` behind a user or a password, even an empty one.
    pub(super) has_credentials: bool,
    /// A mistake that the parser repaired.
    pub(super) violation: Option<SyntaxViolation>,
}

impl ParsedUrl {
    pub(super) fn parse(text: &str) -> Result<Self, ParseError> {
        let (has_credentials, violation) = (Cell::new(false), Cell::new(None));
        let observe = |found| match found {
            SyntaxViolation::EmbeddedCredentials => has_credentials.set(true),
            found => violation.set(Some(violation.get().unwrap_or(found))),
        };
        let text = text.trim();
        let url = Url::options().syntax_violation_callback(Some(&observe)).parse(text)?;
        // The parser takes an empty port for the default one, but a template without its value leaves it as well.
        let authority = text.split("://").nth(1).and_then(|rest| rest.split(['/', '?', '#']).next());
        if authority.is_some_and(|authority| authority.ends_with(':')) {
            return Err(ParseError::InvalidPort);
        }
        Ok(Self { url, has_credentials: has_credentials.get(), violation: violation.get() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        BaseUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).to_string()
    }

    #[test]
    fn base_url_is_normalised() {
        for (text, expected) in [
            ("http://localhost:8000", "http://localhost:8000/"),
            (" HTTPS://Example.COM:443/Base/ ", "https://example.com/Base/"),
            ("http://127.1:8000", "http://127.0.0.1:8000/"),
            ("http://0x7f.0.0.1", "http://127.0.0.1/"),
            ("http://[::0001]:80", "http://[::1]/"),
            ("http://bücher.example/é", "http://xn--bcher-kva.example/%C3%A9"),
            ("http://host/a/../b/./c", "http://host/b/c"),
            ("http://my_host./mail@home", "http://my_host./mail@home"),
        ] {
            assert_eq!(parsed(text), expected);
        }
    }

    #[test]
    fn invalid_base_url_gives_its_rule() {
        use BaseUrlError::*;
        for (text, error) in [
            ("", Scheme),
            ("/only/a/path", Scheme),
            ("localhost:8000", Scheme),
            ("ws://localhost", Scheme),
            ("file:///tmp", Scheme),
            ("http://", HostOrPort),
            ("http:/host", HostOrPort),
            ("http:///path", HostOrPort),
            ("http://:8000", HostOrPort),
            ("http://host:", HostOrPort),
            ("http://host:/path", HostOrPort),
            ("http://host:0", HostOrPort),
            ("http://host:65536", HostOrPort),
            ("http://host:+80", HostOrPort),
            ("http://a..b", HostOrPort),
            ("http://a b", HostOrPort),
            ("http://[::1", HostOrPort),
            ("http://a!b", HostOrPort),
            ("http://1.2.3.256", HostOrPort),
            ("http://[1.2.3.4]", HostOrPort),
            ("http://host/a b", Path),
            ("http://host/%zz", Path),
            ("http://host\\path", Path),
            ("http://ho\tst", Path),
            ("http://host?x=1", Query),
            ("http://host/#x", Query),
            ("http://user:hush@host", Credentials),
            ("http://@host", Credentials),
            ("http://user:hu/sh@host", Credentials),
            ("user:hush@host", Credentials),
            ("ws://hush@host?x", Credentials),
        ] {
            assert_eq!(BaseUrl::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn every_spelling_of_this_computer_is_loopback() {
        let is_loopback = |host: &str| BaseUrl::parse(&format!("http://{host}:8000")).unwrap().is_loopback();
        for host in ["localhost", "LOCALHOST", "app.localhost.", "127.3.2.1", "127.1", "2130706433", "[::1]"]
        {
            assert!(is_loopback(host), "{host}");
        }
        assert!(is_loopback("[::ffff:127.0.0.1]"));
        for host in ["localhost.example", "10.0.0.1", "[::2]", "128.1", "notlocalhost"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn server_on_all_addresses_is_reached_by_loopback() {
        let reached = |url: &str| Some(BaseUrl::parse(url).unwrap().on_this_computer()?.to_string());
        assert_eq!(reached("http://0.0.0.0:8000/api").as_deref(), Some("http://127.0.0.1:8000/api"));
        assert_eq!(reached("http://[::]:8000").as_deref(), Some("http://[::1]:8000/"));
        assert_eq!(reached("http://localhost:8000").as_deref(), Some("http://localhost:8000/"));
        assert_eq!(reached("http://example.com:8000"), None);
    }

    #[test]
    fn http_and_websocket_use_the_same_path() {
        for (base, path, expected) in [
            ("http://h:1", "/ws", "h:1/ws"),
            ("http://h/a/../b", "ws", "h/b/ws"),
            ("https://[::1]/api/", "/ws?v='2'", "[::1]/api/ws?v=%272%27"),
            ("http://h", "/a//b/", "h/a//b/"),
            ("http://h/base", "/", "h/base/"),
        ] {
            let base = BaseUrl::parse(base).unwrap();
            let (http, ws) = if base.is_secure() { ("https", "wss") } else { ("http", "ws") };
            assert_eq!(base.join(path).unwrap().as_str(), format!("{http}://{expected}"));
            assert_eq!(base.join_websocket(path).unwrap().as_str(), format!("{ws}://{expected}"));
        }
    }

    #[test]
    fn path_that_parsers_read_differently_is_refused() {
        let base = BaseUrl::parse("http://h/base").unwrap();
        for path in ["/../x", "/a/./b", "/a/%2e%2e/b", "/a b", "/a\\b", "/a#b", "/é", "/a\nb"] {
            assert_eq!(base.join(path), None, "{path}");
            assert!(!is_plain_path(path), "{path}");
        }
        assert!(["/", "/ws", "/a/b-c_d~/%20"].into_iter().all(is_plain_path));
        assert!(!["", "ws", "/ws?x"].into_iter().any(is_plain_path));
    }

    #[test]
    fn endpoint_shows_brackets_and_its_host_name_has_none() {
        let endpoint = Endpoint::new("[::1]", 80).unwrap();
        assert_eq!((endpoint.to_string().as_str(), endpoint.host_name().as_str()), ("[::1]:80", "::1"));
        assert_eq!(Endpoint::new("127.1", 80).unwrap().to_string(), "127.0.0.1:80");
        assert_eq!(Endpoint::new("", 80), None);
    }
}

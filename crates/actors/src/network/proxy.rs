//! Which proxy is used. Decided once for a backend, from plain data; nothing here connects.

use std::{fmt, net::IpAddr};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderValue, Uri, uri::Authority};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use thiserror::Error;

/// How one speaks to a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyScheme {
    /// HTTP in the clear.
    Http,
    /// HTTP over TLS.
    Https,
    /// SOCKS5; the backend's name is resolved here.
    Socks5,
    /// SOCKS5; the backend's name is resolved by the proxy.
    Socks5h,
}

/// Why an address is none of a proxy. Repeats nothing of it: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ProxyUrlError {
    /// Another scheme, or none.
    #[error("must start with \"http://\", \"https://\", \"socks5://\" or \"socks5h://\"")]
    Scheme,
    /// No host, or one that cannot be, or such a port.
    #[error("must have a valid host, and a port from 1 to 65535 if any, as in \"http://proxy.example:3128\"")]
    HostOrPort,
    /// Something stands behind the port.
    #[error("must end behind its host and port: a proxy has no path")]
    Path,
    /// A user or password that cannot be read.
    #[error("must have every special character of its user and password percent-encoded, as in %40 for @")]
    Credentials,
}

/// The system names a proxy that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the environment or the system names a SOCKS4 proxy, and only HTTP and SOCKS5 proxies can be used")]
pub struct UnsupportedProxy;

/// What was configured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ProxyChoice {
    /// What the environment and the system say; none for a backend on this computer, which no proxy could reach.
    #[default]
    System,
    /// None, whatever they say.
    Direct,
    /// This one for every backend, whatever they say: who names a proxy means it, on this computer as well.
    Explicit(Proxy),
}

impl ProxyChoice {
    /// The proxy for a backend; `None` goes straight to it. `system` is asked only where that matters.
    ///
    /// # Errors
    /// The system names a proxy for this backend that cannot be used.
    pub fn resolve(
        &self,
        backend: &Uri,
        system: impl FnOnce() -> SystemProxies,
    ) -> Result<Option<Proxy>, UnsupportedProxy> {
        match self {
            Self::Explicit(proxy) => Ok(Some(proxy.clone())),
            Self::System if !backend.host().is_some_and(is_loopback) => {
                system().0.intercept(&to_http_scheme(backend)).map(Proxy::from_intercept).transpose()
            }
            Self::System | Self::Direct => Ok(None),
        }
    }
}

/// The proxies that the environment and the system name, by the rules of reqwest and curl.
pub struct SystemProxies(Matcher);

/// Their variables as data: each is empty where it is not set.
#[derive(Clone, Default)]
pub struct ProxyVariables {
    /// `HTTP_PROXY`: for `http` and `ws`.
    pub http: String,
    /// `HTTPS_PROXY`: for `https` and `wss`.
    pub https: String,
    /// `ALL_PROXY`: for whatever has none of its own.
    pub all: String,
    /// `NO_PROXY`: names, domains, addresses and networks that are reached without, separated by commas.
    pub no_proxy: String,
}

impl SystemProxies {
    /// Reads the environment of this process, and where it has nothing, the settings of macOS or Windows.
    #[must_use]
    pub fn from_system() -> Self {
        Self(Matcher::from_system())
    }

    /// Those of these variables alone.
    #[must_use]
    pub fn from_variables(variables: ProxyVariables) -> Self {
        let ProxyVariables { http, https, all, no_proxy: no } = variables;
        Self(Matcher::builder().http(http).https(https).all(all).no(no).build())
    }
}

/// One proxy. `Debug` shows neither user nor password.
#[derive(Clone)]
pub struct Proxy {
    scheme: ProxyScheme,
    /// As it stands in a URL: an IPv6 address is in brackets.
    host: String,
    port: u16,
    /// The address without credentials, and the credentials.
    intercept: Intercept,
    /// What must never be written.
    secrets: Vec<String>,
}

impl Proxy {
    /// Reads the address of a proxy, perhaps with a user and a password, both percent-encoded. A port that is not there
    /// is 80, 443 or 1080.
    ///
    /// # Errors
    /// See [`ProxyUrlError`].
    pub fn parse(url: &str) -> Result<Self, ProxyUrlError> {
        let (name, rest) = url.trim().split_once("://").ok_or(ProxyUrlError::Scheme)?;
        let scheme = ProxyScheme::from_name(name).ok_or(ProxyUrlError::Scheme)?;
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
        if !matches!(path, "" | "/") {
            return Err(ProxyUrlError::Path);
        }
        let (credentials, place) =
            authority.rsplit_once('@').map_or((None, authority), |(user, place)| (Some(user), place));
        let (host, port) = host_and_port(place, scheme).ok_or(ProxyUrlError::HostOrPort)?;
        if credentials.is_some_and(|credentials| credentials.contains('@')) {
            return Err(ProxyUrlError::Credentials);
        }
        let at = credentials.map_or_else(String::new, |credentials| format!("{credentials}@"));
        let found = parse_intercept(&format!("{}://{at}{host}:{port}", scheme.name()));
        let mut proxy =
            found.and_then(|found| Self::from_intercept(found).ok()).ok_or(ProxyUrlError::Credentials)?;
        proxy.secrets.extend(credentials.into_iter().flat_map(credential_secrets));
        proxy.secrets.retain(|secret| !secret.is_empty());
        proxy.secrets.sort_unstable();
        proxy.secrets.dedup();
        Ok(proxy)
    }

    fn from_intercept(intercept: Intercept) -> Result<Self, UnsupportedProxy> {
        let uri = intercept.uri();
        let scheme = uri.scheme_str().and_then(ProxyScheme::from_name).ok_or(UnsupportedProxy)?;
        let host = uri.host().unwrap_or_default().to_owned();
        let port = uri.port_u16().unwrap_or(scheme.default_port());
        let header = intercept.basic_auth().and_then(|header| header.to_str().ok());
        let encoded = header.and_then(|header| header.strip_prefix("Basic ")).map(str::to_owned);
        // A user without a password may be a token.
        let in_the_clear = encoded.as_deref().and_then(decode_basic).map(|text| match text.split_once(':') {
            Some((user, "")) => user.to_owned(),
            Some((_, password)) => password.to_owned(),
            None => text,
        });
        let password = intercept.raw_auth().map(|(_, password)| password.to_owned());
        let secrets = encoded
            .into_iter()
            .chain(in_the_clear)
            .chain(password)
            .filter(|secret| !secret.is_empty())
            .collect();
        Ok(Self { scheme, host, port, intercept, secrets })
    }

    /// How one speaks to it.
    #[must_use]
    pub fn scheme(&self) -> ProxyScheme {
        self.scheme
    }

    /// Whether it asks for a user or a password.
    #[must_use]
    pub fn has_credentials(&self) -> bool {
        self.intercept.basic_auth().is_some() || self.intercept.raw_auth().is_some()
    }

    /// What must never be written: the password, in each form in which it might turn up.
    #[must_use]
    pub fn secrets(&self) -> &[String] {
        &self.secrets
    }

    /// Host (an IPv6 address without its brackets) and port.
    pub(crate) fn host_and_port(&self) -> (&str, u16) {
        (without_brackets(&self.host), self.port)
    }

    /// Whether one speaks TLS to the proxy itself.
    pub(crate) fn is_secure(&self) -> bool {
        self.scheme == ProxyScheme::Https
    }

    /// Whether requests in the clear are handed to the proxy itself, rather than to the backend through a tunnel.
    pub(crate) fn should_forward(&self, is_backend_secure: bool) -> bool {
        !is_backend_secure && matches!(self.scheme, ProxyScheme::Http | ProxyScheme::Https)
    }

    /// The value of `Proxy-Authorization`, for HTTP proxies.
    pub(crate) fn authorization(&self) -> Option<&HeaderValue> {
        self.intercept.basic_auth()
    }

    /// User and password, for SOCKS proxies.
    pub(crate) fn user_and_password(&self) -> Option<(&str, &str)> {
        self.intercept.raw_auth()
    }

    /// The same proxy for reqwest, which uses it for everything.
    pub(crate) fn to_reqwest(&self) -> Result<reqwest::Proxy, reqwest::Error> {
        let credentials = self.user_and_password().map_or_else(String::new, |(user, password)| {
            format!("{}:{}@", percent_encode(user), percent_encode(password))
        });
        let url = format!("{}://{credentials}{}:{}", self.scheme.name(), self.host, self.port);
        let proxy = reqwest::Proxy::all(url)?;
        Ok(match self.authorization() {
            Some(header) => proxy.custom_http_auth(header.clone()),
            None => proxy,
        })
    }
}

impl PartialEq for Proxy {
    fn eq(&self, other: &Self) -> bool {
        let parts = |proxy: &Self| (proxy.scheme, proxy.port);
        parts(self) == parts(other)
            && self.host == other.host
            && self.authorization() == other.authorization()
            && self.user_and_password() == other.user_and_password()
    }
}

impl Eq for Proxy {}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("scheme", &self.scheme)
            .field("host", &self.host)
            .field("port", &self.port)
            .field("has_credentials", &self.has_credentials())
            .finish()
    }
}

impl ProxyScheme {
    const ALL: [Self; 4] = [Self::Http, Self::Https, Self::Socks5, Self::Socks5h];

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.name().eq_ignore_ascii_case(name))
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5 => "socks5",
            Self::Socks5h => "socks5h",
        }
    }

    const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Socks5 | Self::Socks5h => 1080,
        }
    }
}

/// Whether a host as it stands in a URL is this computer, by its name or address.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let address = without_brackets(host).parse::<IpAddr>();
    name == "localhost"
        || name.ends_with(".localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn host_and_port(place: &str, scheme: ProxyScheme) -> Option<(&str, u16)> {
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (place, None),
    };
    let port = match port {
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().ok()?,
        Some(_) => return None,
        None => scheme.default_port(),
    };
    let is_whole = |authority: &Authority| authority.host() == host && !host.is_empty();
    (port > 0 && host.parse().is_ok_and(|authority| is_whole(&authority))).then_some((host, port))
}

/// The password of `user:password` as it is written and as it is meant; what stands alone may be a token.
fn credential_secrets(credentials: &str) -> Vec<String> {
    // For SOCKS they are decoded and kept as text, for HTTP they become a header.
    let read = parse_intercept(&format!("socks5://{credentials}@proxy.invalid"));
    let (user, password) = read.as_ref().and_then(Intercept::raw_auth).unwrap_or_default();
    match credentials.split_once(':') {
        Some((_, written)) => vec![written.to_owned(), password.to_owned()],
        None => vec![credentials.to_owned(), user.to_owned()],
    }
}

/// What stands in a Basic header.
fn decode_basic(encoded: &str) -> Option<String> {
    String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()
}

/// What hyper-util, and so reqwest, makes of a proxy's address.
fn parse_intercept(url: &str) -> Option<Intercept> {
    Matcher::builder().all(url).build().intercept(&Uri::from_static("http://backend.invalid"))
}

/// The rules of proxies know `http` and `https` alone; a WebSocket goes the way of the one below it.
fn to_http_scheme(backend: &Uri) -> Uri {
    let scheme = match backend.scheme_str() {
        Some("ws") => "http",
        Some("wss") => "https",
        _ => return backend.clone(),
    };
    let mut parts = backend.clone().into_parts();
    parts.scheme = scheme.parse().ok();
    Uri::from_parts(parts).unwrap_or_else(|_| backend.clone())
}

fn percent_encode(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests;

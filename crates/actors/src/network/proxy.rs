//! Chooses the proxy for a backend, once, from plain data. Nothing here connects.

use std::{fmt, net::IpAddr};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderValue, Uri, uri::Authority};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use thiserror::Error;

/// The protocol of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyScheme {
    /// HTTP without TLS.
    Http,
    /// HTTP over TLS.
    Https,
    /// SOCKS5; this computer resolves the backend's name.
    Socks5,
    /// SOCKS5; the proxy resolves the backend's name.
    Socks5h,
}

/// Says why a text is no address of a proxy. It repeats nothing of the text, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ProxyUrlError {
    /// The scheme is missing or not supported.
    #[error("must start with \"http://\", \"https://\", \"socks5://\" or \"socks5h://\"")]
    Scheme,
    /// The host or the port is missing or not valid.
    #[error("must have a valid host, and a port from 1 to 65535 if any, as in \"http://proxy.example:3128\"")]
    HostOrPort,
    /// The address has a path, a query or a fragment.
    #[error("must end behind its host and port: a proxy has no path")]
    Path,
    /// The user or the password cannot be read.
    #[error("must have every special character of its user and password percent-encoded, as in %40 for @")]
    Credentials,
}

/// The system names a proxy that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the environment or the system names a SOCKS4 proxy, and only HTTP and SOCKS5 proxies can be used")]
pub struct UnsupportedProxy;

/// The configured choice of a proxy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ProxyChoice {
    /// The proxy that the environment and the system name; none for a backend on this computer, which no proxy could
    /// reach.
    #[default]
    System,
    /// No proxy, whatever the environment and the system say.
    Direct,
    /// Use this proxy for every backend, also for one on this computer.
    Explicit(Proxy),
}

impl ProxyChoice {
    /// Returns the proxy for a backend; `None` connects directly. `system` is called only for
    /// [`ProxyChoice::System`].
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

/// The environment's variables as data; each is empty if it is not set.
#[derive(Clone, Default)]
pub struct ProxyVariables {
    /// `HTTP_PROXY`: for `http` and `ws`.
    pub http: String,
    /// `HTTPS_PROXY`: for `https` and `wss`.
    pub https: String,
    /// `ALL_PROXY`: for a scheme without a variable of its own.
    pub all: String,
    /// `NO_PROXY`: names, domains, addresses and networks to reach directly, separated by commas.
    pub no_proxy: String,
}

impl SystemProxies {
    /// Reads the environment of this process, or else the settings of macOS or Windows.
    #[must_use]
    pub fn from_system() -> Self {
        Self(Matcher::from_system())
    }

    /// Uses only these variables.
    #[must_use]
    pub fn from_variables(variables: ProxyVariables) -> Self {
        let ProxyVariables { http, https, all, no_proxy: no } = variables;
        Self(Matcher::builder().http(http).https(https).all(all).no(no).build())
    }
}

/// A proxy. `Debug` shows neither user nor password.
#[derive(Clone)]
pub struct Proxy {
    scheme: ProxyScheme,
    /// The host as it stands in a URL: an IPv6 address is in brackets.
    host: String,
    port: u16,
    /// The address without credentials, and the credentials.
    intercept: Intercept,
    /// The texts that must never be written.
    secrets: Vec<String>,
}

impl Proxy {
    /// Parses a proxy's address, with or without a percent-encoded user and password. The default port is 80, 443 or
    /// 1080.
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
        let (credentials, host_port) =
            authority.rsplit_once('@').map_or((None, authority), |(user, host_port)| (Some(user), host_port));
        let (host, port) = host_and_port(host_port, scheme).ok_or(ProxyUrlError::HostOrPort)?;
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

    /// Returns the proxy's protocol.
    #[must_use]
    pub fn scheme(&self) -> ProxyScheme {
        self.scheme
    }

    /// Returns whether the address has a user or a password.
    #[must_use]
    pub fn has_credentials(&self) -> bool {
        self.intercept.basic_auth().is_some() || self.intercept.raw_auth().is_some()
    }

    /// Returns the texts that must never be written: the password, in each form that it can take.
    #[must_use]
    pub fn secrets(&self) -> &[String] {
        &self.secrets
    }

    /// Returns the host (an IPv6 address without its brackets) and the port.
    pub(crate) fn host_and_port(&self) -> (&str, u16) {
        (without_brackets(&self.host), self.port)
    }

    /// Returns whether the connection to the proxy itself uses TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.scheme == ProxyScheme::Https
    }

    /// Returns whether the proxy itself forwards requests, instead of opening a tunnel to the backend.
    pub(crate) fn should_forward(&self, is_backend_secure: bool) -> bool {
        !is_backend_secure && matches!(self.scheme, ProxyScheme::Http | ProxyScheme::Https)
    }

    /// Returns the value of `Proxy-Authorization`, for HTTP proxies.
    pub(crate) fn authorization(&self) -> Option<&HeaderValue> {
        self.intercept.basic_auth()
    }

    /// Returns user and password, for SOCKS proxies.
    pub(crate) fn user_and_password(&self) -> Option<(&str, &str)> {
        self.intercept.raw_auth()
    }

    /// Returns the same proxy for reqwest, which uses it for every request.
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

/// Returns whether a URL's host is this computer, by its name or address.
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

fn host_and_port(host_port: &str, scheme: ProxyScheme) -> Option<(&str, u16)> {
    let (host, port) = match host_port.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (host_port, None),
    };
    let port = match port {
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().ok()?,
        Some(_) => return None,
        None => scheme.default_port(),
    };
    let is_whole = |authority: &Authority| authority.host() == host && !host.is_empty();
    (port > 0 && host.parse().is_ok_and(|authority| is_whole(&authority))).then_some((host, port))
}

/// Returns the password of `user:password` as written and as decoded. A user alone may be a token.
fn credential_secrets(credentials: &str) -> Vec<String> {
    // SOCKS credentials are decoded and kept as text; HTTP credentials become a header.
    let read = parse_intercept(&format!("socks5://{credentials}@proxy.invalid"));
    let (user, password) = read.as_ref().and_then(Intercept::raw_auth).unwrap_or_default();
    match credentials.split_once(':') {
        Some((_, written)) => vec![written.to_owned(), password.to_owned()],
        None => vec![credentials.to_owned(), user.to_owned()],
    }
}

/// Decodes the value of a Basic header.
fn decode_basic(encoded: &str) -> Option<String> {
    String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()
}

/// Parses a proxy's address as hyper-util does, and so reqwest.
fn parse_intercept(url: &str) -> Option<Intercept> {
    Matcher::builder().all(url).build().intercept(&Uri::from_static("http://backend.invalid"))
}

/// Maps `ws` to `http` and `wss` to `https`, since the rules of proxies know no other schemes.
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

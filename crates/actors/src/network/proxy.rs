//! Chooses the proxy for a backend, once, from plain data. Nothing here connects.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use thiserror::Error;
use url::{ParseError, Position};

use super::urls::{BaseUrl, Endpoint, ParsedUrl};

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
#[error(
    "the environment or the system names a proxy that cannot be used, such as one of SOCKS4: only HTTP and SOCKS5 \
     proxies with a valid host can"
)]
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
        backend: &BaseUrl,
        system: impl FnOnce() -> SystemProxies,
    ) -> Result<Option<Proxy>, UnsupportedProxy> {
        match self {
            Self::Explicit(proxy) => Ok(Some(proxy.clone())),
            Self::System if !backend.is_loopback() => {
                let intercept = backend.to_uri().and_then(|uri| system().0.intercept(&uri));
                intercept.map(Proxy::from_intercept).transpose()
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

/// A proxy. `Display` and `Debug` show neither user nor password.
#[derive(Clone)]
pub struct Proxy {
    scheme: ProxyScheme,
    endpoint: Endpoint,
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
    pub fn parse(text: &str) -> Result<Self, ProxyUrlError> {
        let ParsedUrl { url, has_credentials, violation } =
            ParsedUrl::parse(text).map_err(|error| match error {
                ParseError::RelativeUrlWithoutBase => ProxyUrlError::Scheme,
                _ => ProxyUrlError::HostOrPort,
            })?;
        let scheme = ProxyScheme::from_name(url.scheme()).ok_or(ProxyUrlError::Scheme)?;
        if url.cannot_be_a_base() {
            return Err(ProxyUrlError::Scheme);
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(ProxyUrlError::Path);
        }
        let endpoint = Endpoint::from_url(&url, scheme.default_port()).ok_or(ProxyUrlError::HostOrPort)?;
        if violation.is_some() {
            return Err(if has_credentials { ProxyUrlError::Credentials } else { ProxyUrlError::HostOrPort });
        }
        let userinfo = &url[Position::BeforeUsername..Position::BeforeHost];
        let found = parse_intercept(&format!("{}://{userinfo}{endpoint}", scheme.name()));
        let mut proxy =
            found.and_then(|found| Self::from_intercept(found).ok()).ok_or(ProxyUrlError::Credentials)?;
        proxy.secrets.extend(written_credentials(text).into_iter().flat_map(credential_secrets));
        proxy.secrets.retain(|secret| !secret.is_empty());
        proxy.secrets.sort_unstable();
        proxy.secrets.dedup();
        Ok(proxy)
    }

    fn from_intercept(intercept: Intercept) -> Result<Self, UnsupportedProxy> {
        let uri = intercept.uri();
        let scheme = uri.scheme_str().and_then(ProxyScheme::from_name).ok_or(UnsupportedProxy)?;
        let port = uri.port_u16().unwrap_or(scheme.default_port());
        let endpoint = Endpoint::new(uri.host().unwrap_or_default(), port).ok_or(UnsupportedProxy)?;
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
        Ok(Self { scheme, endpoint, intercept, secrets })
    }

    /// Returns the proxy's protocol.
    #[must_use]
    pub fn scheme(&self) -> ProxyScheme {
        self.scheme
    }

    /// Returns whether the address has a user or a password.
    #[must_use]
    pub(crate) fn has_credentials(&self) -> bool {
        self.intercept.basic_auth().is_some() || self.intercept.raw_auth().is_some()
    }

    /// Returns the texts that must never be written: the password, in each form that it can take.
    #[must_use]
    pub fn secrets(&self) -> &[String] {
        &self.secrets
    }

    /// Returns where the proxy listens.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
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
        let url = format!("{}://{credentials}{}", self.scheme.name(), self.endpoint);
        let proxy = reqwest::Proxy::all(url)?;
        Ok(match self.authorization() {
            Some(header) => proxy.custom_http_auth(header.clone()),
            None => proxy,
        })
    }
}

impl PartialEq for Proxy {
    fn eq(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && self.endpoint == other.endpoint
            && self.authorization() == other.authorization()
            && self.user_and_password() == other.user_and_password()
    }
}

impl Eq for Proxy {}

impl fmt::Display for Proxy {
    /// Writes the address without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.endpoint)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("scheme", &self.scheme)
            .field("endpoint", &self.endpoint)
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

/// Returns the user and the password of a valid address as they are written.
fn written_credentials(text: &str) -> Option<&str> {
    Some(text.split_once("://")?.1.rsplit_once('@')?.0)
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

fn percent_encode(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests;

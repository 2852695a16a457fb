//! How the backend is reached: whom TLS trusts, and through which proxy one goes.
//!
//! - [`trust`]: the platform's roots and private authorities, as the one TLS configuration of HTTP and WebSocket
//! - [`proxy`]: which proxy is used, decided once for a backend from the settings and the system
//! - `refusal`: what went wrong with the proxy, and not with the backend
//!
//! A [`Route`] holds what was decided. The HTTP transport and the WebSocket are given the same one, so that both take
//! the same way. Nothing here connects.

pub mod proxy;
pub(crate) mod proxy_error;
pub mod tls;

use std::{sync::Arc, time::Duration};

use rustls::ClientConfig;

use self::{proxy::Proxy, tls::TlsTrust};

/// The availability of the backend, as one component observes it and others use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendAvailability {
    /// The backend is connected.
    Up,
    /// Dials to the backend fail.
    Down,
    /// Nothing is known: no connection is wanted, the first dial is in flight, or the backend refused the connection.
    Unknown,
}

/// The way to one backend. The default goes straight there and trusts what the platform trusts.
#[derive(Debug, Clone)]
pub struct Route {
    /// Whom TLS trusts, for the backend and for a proxy that is spoken to over TLS.
    pub trust: TlsTrust,
    /// The proxy in between; `None` goes straight to the backend.
    pub proxy: Option<Proxy>,
    /// How long the WebSocket's dial may take to reach the proxy itself: its name, TCP and its own TLS. Less than the
    /// time for the whole dial, so that a proxy which never answers is told from a backend which never does.
    pub proxy_timeout: Duration,
}

impl Default for Route {
    fn default() -> Self {
        Self { trust: TlsTrust::default(), proxy: None, proxy_timeout: Duration::from_secs(5) }
    }
}

impl Route {
    /// The TLS configuration for HTTP to a backend that is spoken to over TLS or not. Where there is no TLS on the whole
    /// way it trusts nobody, and the platform's roots are not read.
    pub(crate) fn tls_config(&self, is_secure: bool) -> Result<Arc<ClientConfig>, rustls::Error> {
        let is_needed = is_secure || self.proxy.as_ref().is_some_and(Proxy::is_secure);
        if is_needed { self.trust.client_config() } else { tls::without_roots() }
    }
}

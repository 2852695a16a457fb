//! Holds the TLS trust and the proxy with which the backend is reached.
//!
//! - [`tls`]: the platform's roots and private authorities, as the one TLS configuration of HTTP and WebSocket
//! - [`proxy`]: chooses the proxy of a backend from the settings and the system
//! - `proxy_error`: tells the proxy's failures from the backend's
//! - [`BackendAddress`]: the address of one start of a backend that the runtime starts
//! - [`urls`]: parses the addresses of backends and proxies, for every other place
//!
//! A [`Route`] holds the result. The HTTP transport and the WebSocket share one route, so both take the same path.
//! Nothing here connects.

mod backend_address;
pub mod proxy;
pub(crate) mod proxy_error;
pub mod tls;
pub mod urls;

use std::time::Duration;

pub use self::backend_address::BackendAddress;
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

/// Counts the ends of the backend's own process, if the runtime starts it; else both stay 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackendEnds {
    /// The number of times that the process ended by itself.
    pub exits: u64,
    /// The number of times that the runtime began or finished to end it.
    pub stops: u64,
}

/// The route to one backend. The default connects directly and trusts what the platform trusts.
#[derive(Debug, Clone)]
pub struct Route {
    /// The authorities that TLS trusts, for the backend and for a proxy over TLS.
    pub trust: TlsTrust,
    /// The proxy in between; `None` connects directly.
    pub proxy: Option<Proxy>,
    /// The time for the WebSocket's dial to reach the proxy itself: its name, TCP and its own TLS. It is shorter than
    /// the limit of the whole dial, so that a silent proxy differs from a silent backend.
    pub proxy_timeout: Duration,
}

impl Default for Route {
    fn default() -> Self {
        Self { trust: TlsTrust::default(), proxy: None, proxy_timeout: Duration::from_secs(5) }
    }
}

impl Route {
    /// Returns whether a connection to this backend needs TLS, for itself or for the proxy.
    pub(crate) fn needs_tls(&self, is_secure: bool) -> bool {
        is_secure || self.proxy.as_ref().is_some_and(Proxy::is_secure)
    }
}

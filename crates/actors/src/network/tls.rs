//! Puts TLS on connections, if the build has it.
//!
//! - `enabled`: the authorities that TLS trusts, and its configuration. The only place that knows rustls
//! - `disabled`: takes its place in a build without TLS, and refuses what needs it

#[cfg(not(feature = "_tls"))]
mod disabled;
#[cfg(feature = "_tls")]
mod enabled;

#[cfg(not(feature = "_tls"))]
pub use self::disabled::*;
#[cfg(feature = "_tls")]
pub use self::enabled::*;

/// The end of a connection with TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsPeer {
    /// The backend, with which HTTP/1.1 is agreed on.
    Backend,
    /// A proxy, whose connection is a tunnel.
    Proxy,
}

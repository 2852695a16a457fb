//! Puts TLS on connections, if the build has it.
//!
//! - `trust`: the authorities that TLS trusts, the file that names them, and connections with them
//! - `rustls`: the TLS of rustls, and the only place that knows it
//! - `native`: the TLS of the platform, in a build without rustls, and the only place that knows it
//! - `disabled`: takes their place in a build without TLS, and refuses what needs it

#[cfg(not(feature = "_tls"))]
mod disabled;
#[cfg(all(feature = "tls-native", not(feature = "_rustls")))]
mod native;
#[cfg(feature = "_rustls")]
mod rustls;
#[cfg(feature = "_tls")]
mod trust;

use std::error::Error as StdError;
use std::io;

#[cfg(not(feature = "_tls"))]
use self::disabled as implementation;
#[cfg(all(feature = "tls-native", not(feature = "_rustls")))]
use self::native as implementation;
#[cfg(feature = "_rustls")]
use self::rustls as implementation;

#[cfg(not(feature = "_tls"))]
pub use self::disabled::*;
pub(crate) use self::implementation::is_tls_failure;
#[cfg(feature = "_tls")]
pub use self::{
    implementation::{TlsError, TlsSettings},
    trust::*,
};

/// The end of a connection with TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsPeer {
    /// The backend, with which HTTP/1.1 is agreed on.
    Backend,
    /// A proxy, whose connection is a tunnel.
    Proxy,
}

/// Returns whether TLS itself failed, not the stream below it.
pub(crate) fn is_tls_error(error: &io::Error) -> bool {
    let inner = error.get_ref().map(|inner| inner as &(dyn StdError + 'static));
    inner.is_some_and(|inner| is_tls_failure(inner) || inner.source().is_some_and(is_tls_failure))
}

//! Refuses what needs TLS, with an error that names the features that have it.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tokio_tungstenite::MaybeTlsStream;

use super::TlsPeer;

/// Says that this build has no TLS.
#[derive(Debug, Clone, Copy, Error)]
#[error(
    "this build of Mainstay has no TLS: build it with the feature tls-ring, tls-aws-lc or tls-native, or use addresses with http and ws"
)]
pub struct NoTls;

/// The authorities that TLS trusts: none, since this build has no TLS.
#[derive(Debug, Clone, Copy, Default)]
pub struct TlsTrust(());

/// An unusable file of certificates.
#[derive(Debug, Error)]
#[error("{}: {kind}", file.display())]
pub struct CaFileError {
    /// The file.
    pub file: PathBuf,
    /// The defect.
    #[source]
    pub kind: NoTls,
}

impl TlsTrust {
    /// Refuses the file.
    ///
    /// # Errors
    /// Always: this build has no TLS.
    pub fn with_ca_file(file: &Path) -> Result<Self, CaFileError> {
        Err(CaFileError { file: file.to_owned(), kind: NoTls })
    }
}

/// Leaves the client as it is.
///
/// # Errors
/// TLS is needed.
pub(crate) fn configure(
    client: reqwest::ClientBuilder,
    _: &TlsTrust,
    is_needed: bool,
) -> Result<reqwest::ClientBuilder, NoTls> {
    if is_needed { Err(NoTls) } else { Ok(client) }
}

/// Refuses to connect.
#[allow(clippy::unused_async, reason = "with TLS it waits for the handshake")]
pub(crate) async fn connect<S>(_: &TlsTrust, _: TlsPeer, _: String, _: S) -> io::Result<MaybeTlsStream<S>> {
    Err(io::Error::other(NoTls))
}

/// Returns whether TLS was needed.
pub(crate) fn is_tls_failure(cause: &(dyn StdError + 'static)) -> bool {
    cause.is::<NoTls>()
}

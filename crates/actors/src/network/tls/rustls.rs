//! Puts TLS on connections with rustls.

use std::error::Error as StdError;
use std::{io, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName},
};
use rustls_platform_verifier::Verifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::MaybeTlsStream;

use super::TlsPeer;

/// TLS settings of an embedder's own, with this build: a configuration of rustls.
pub type TlsSettings = Arc<ClientConfig>;

/// The error of TLS settings that cannot be used.
pub type TlsError = rustls::Error;

/// Builds the settings that trust the platform's roots and these authorities. Reads the platform's roots.
pub(super) fn build_settings(authorities: &[CertificateDer<'static>]) -> Result<TlsSettings, TlsError> {
    let provider = crypto_provider();
    let verifier = if authorities.is_empty() {
        Verifier::new(Arc::clone(&provider))?
    } else {
        Verifier::new_with_extra_roots(authorities.iter().cloned(), Arc::clone(&provider))?
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // Both clients speak HTTP/1.1 only, and a server that also offers HTTP/2 must know.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Returns whether this is an X.509 certificate that can be an authority's.
pub(super) fn is_certificate(der: &CertificateDer<'static>) -> bool {
    RootCertStore::empty().add(der.clone()).is_ok()
}

/// Makes an HTTP client use these settings. One that needs no TLS trusts no certificate, and the platform's roots are
/// not read.
pub(super) fn configure(
    client: reqwest::ClientBuilder,
    settings: impl FnOnce() -> Result<TlsSettings, TlsError>,
    is_needed: bool,
) -> Result<reqwest::ClientBuilder, TlsError> {
    let config = if is_needed { settings()? } else { without_roots()? };
    Ok(client.tls_backend_preconfigured(ClientConfig::clone(&config)))
}

/// Puts TLS on top of a stream to this host.
pub(super) async fn connect<S>(
    mut config: TlsSettings,
    peer: TlsPeer,
    host: String,
    stream: S,
) -> io::Result<MaybeTlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if peer == TlsPeer::Proxy {
        // As reqwest does it: ALPN concerns the backend, not the proxy.
        Arc::make_mut(&mut config).alpn_protocols.clear();
    }
    let name = ServerName::try_from(host)
        .map_err(|error| io::Error::other(rustls::Error::General(error.to_string())))?;
    TlsConnector::from(config).connect(name, stream).await.map(MaybeTlsStream::Rustls)
}

/// Returns whether TLS itself failed with this cause.
pub(crate) fn is_tls_failure(cause: &(dyn StdError + 'static)) -> bool {
    cause.is::<rustls::Error>()
}

/// Returns a configuration that no server satisfies, for routes without TLS.
fn without_roots() -> Result<TlsSettings, TlsError> {
    let config = ClientConfig::builder_with_provider(crypto_provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The provider is explicit, since `ClientConfig::builder` panics in a process whose dependencies enable two of them.
/// With both features, AWS-LC is used, since ring is the default.
fn crypto_provider() -> Arc<CryptoProvider> {
    #[cfg(feature = "tls-aws-lc")]
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(not(feature = "tls-aws-lc"))]
    let provider = rustls::crypto::ring::default_provider();
    Arc::new(provider)
}

//! Puts TLS on connections with the platform's own: Schannel, Secure Transport or OpenSSL.

use std::error::Error as StdError;
use std::io;

use native_tls::{Certificate, Protocol, TlsConnector};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::MaybeTlsStream;

use super::TlsPeer;

/// TLS settings of an embedder's own, with this build: a connector of the platform's TLS. It must not agree on HTTP/2.
pub type TlsSettings = TlsConnector;

/// The error of TLS settings that cannot be used.
pub type TlsError = native_tls::Error;

/// The marks of a stream that broke off, in errors that no longer have the stream's own: of OpenSSL and Schannel, then
/// the codes of Secure Transport for a closed connection.
const BROKEN_STREAM: [&str; 6] =
    ["unexpected eof", "connectionreset", "connectionaborted", "-9805", "-9806", "-9816"];

/// Builds the settings that trust the platform's roots and these authorities. OpenSSL reads the roots meanwhile.
pub(super) fn build_settings(authorities: &[CertificateDer<'static>]) -> Result<TlsSettings, TlsError> {
    let mut builder = TlsConnector::builder();
    builder.min_protocol_version(Some(Protocol::Tlsv12));
    // Both clients speak HTTP/1.1 only, and a server that also offers HTTP/2 must know.
    builder.request_alpns(&["http/1.1"]);
    for authority in authorities {
        builder.add_root_certificate(Certificate::from_der(authority)?);
    }
    builder.build()
}

/// Returns whether this is an X.509 certificate.
pub(super) fn is_certificate(der: &CertificateDer<'static>) -> bool {
    Certificate::from_der(der).is_ok()
}

/// Makes an HTTP client use these settings, also one that needs no TLS: OpenSSL would read the roots even for settings
/// without them.
pub(super) fn configure(
    client: reqwest::ClientBuilder,
    settings: impl FnOnce() -> Result<TlsSettings, TlsError>,
    _is_needed: bool,
) -> Result<reqwest::ClientBuilder, TlsError> {
    Ok(client.tls_backend_preconfigured(settings()?))
}

/// Puts TLS on top of a stream to this host. A proxy is asked for HTTP/1.1 as well, as reqwest does it here.
pub(super) async fn connect<S>(
    connector: TlsSettings,
    _: TlsPeer,
    host: String,
    stream: S,
) -> io::Result<MaybeTlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let connector = tokio_native_tls::TlsConnector::from(connector);
    connector.connect(&host, stream).await.map(MaybeTlsStream::NativeTls).map_err(io::Error::other)
}

/// Returns whether TLS itself failed with this cause, and not because its stream broke off.
pub(crate) fn is_tls_failure(cause: &(dyn StdError + 'static)) -> bool {
    let Some(error) = cause.downcast_ref::<native_tls::Error>() else { return false };
    let text = format!("{error} {error:?}").to_lowercase();
    let is_of_stream = error.source().is_some_and(|source| source.is::<io::Error>());
    !is_of_stream && !BROKEN_STREAM.iter().any(|mark| text.contains(mark))
}

//! Uses the TLS of the platform: Schannel, Secure Transport or OpenSSL.

use std::error::Error as StdError;
use std::io;

use native_tls::{Certificate, Protocol, TlsConnector};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::MaybeTlsStream;

use super::{TlsPeer, TlsTrust};

/// What a trust becomes on its first use.
pub(super) type TlsSettings = TlsConnector;

/// The marks of a stream that broke off, in errors that no longer have the stream's own: of OpenSSL and Schannel, then
/// the codes of Secure Transport for a closed connection.
const BROKEN_STREAM: [&str; 6] =
    ["unexpected eof", "connectionreset", "connectionaborted", "-9805", "-9806", "-9816"];

impl TlsTrust {
    /// Uses exactly `connector`, for embedders with a client certificate of their own. It must not agree on HTTP/2.
    #[must_use]
    pub fn preconfigured(connector: TlsConnector) -> Self {
        Self::with_settings(connector)
    }

    /// Returns the connector. The first call may read the platform's roots, and blocks meanwhile.
    ///
    /// # Errors
    /// The platform's TLS cannot be set up, or does not accept an authority.
    pub fn connector(&self) -> Result<TlsConnector, native_tls::Error> {
        self.settings(|authorities| {
            let mut builder = TlsConnector::builder();
            builder.min_protocol_version(Some(Protocol::Tlsv12));
            // Both clients speak HTTP/1.1 only, and a server that also offers HTTP/2 must know.
            builder.request_alpns(&["http/1.1"]);
            for authority in authorities {
                builder.add_root_certificate(Certificate::from_der(authority)?);
            }
            builder.build()
        })
    }
}

/// Returns whether this is an X.509 certificate.
pub(super) fn is_certificate(der: &CertificateDer<'static>) -> bool {
    Certificate::from_der(der).is_ok()
}

/// Makes an HTTP client use TLS with this trust. One that needs no TLS has it too: its own would read the roots again.
pub(crate) fn configure(
    client: reqwest::ClientBuilder,
    trust: &TlsTrust,
    _is_needed: bool,
) -> Result<reqwest::ClientBuilder, native_tls::Error> {
    Ok(client.tls_backend_preconfigured(trust.connector()?))
}

/// Puts TLS on top of a stream to this host. A proxy is asked for HTTP/1.1 as well, as reqwest does it.
///
/// # Errors
/// The trust, the name or the handshake failed, or the stream broke; [`is_tls_error`](super::is_tls_error) tells these
/// apart.
pub(crate) async fn connect<S>(
    trust: &TlsTrust,
    _: TlsPeer,
    host: String,
    stream: S,
) -> io::Result<MaybeTlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let connector = tokio_native_tls::TlsConnector::from(trust.connector().map_err(io::Error::other)?);
    connector.connect(&host, stream).await.map(MaybeTlsStream::NativeTls).map_err(io::Error::other)
}

/// Returns whether TLS itself failed with this cause, and not because its stream broke off.
pub(crate) fn is_tls_failure(cause: &(dyn StdError + 'static)) -> bool {
    let Some(error) = cause.downcast_ref::<native_tls::Error>() else { return false };
    let text = format!("{error} {error:?}").to_lowercase();
    let is_of_stream = error.source().is_some_and(|source| source.is::<io::Error>());
    !is_of_stream && !BROKEN_STREAM.iter().any(|mark| text.contains(mark))
}

//! Holds the authorities that TLS trusts, and reads them from a file.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use rustls_pki_types::{CertificateDer, pem::PemObject};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::MaybeTlsStream;

use super::{
    TlsPeer,
    implementation::{self, TlsError, TlsSettings},
};

/// The largest file of certificates that is read, in bytes. The bundles that systems ship have less than a tenth of
/// it.
pub(crate) const CA_FILE_BYTES_MAX: usize = 4 << 20;

/// An unusable file of certificates: which one, what is wrong, and what would be right.
#[derive(Debug, Error)]
#[error("{}: {kind}", file.display())]
pub struct CaFileError {
    /// The file.
    pub file: PathBuf,
    /// The defect.
    #[source]
    pub kind: CaErrorKind,
}

/// A defect of certificates. It repeats nothing of the file, which may be a private key given by mistake.
#[derive(Debug, Error)]
pub enum CaErrorKind {
    /// The file cannot be read.
    #[error("cannot be read: {0}; it should be a file with the certificates of your authorities, in PEM")]
    Unreadable(io::Error),
    /// The file is empty.
    #[error("is empty; it should hold the certificates of your authorities, in PEM")]
    Empty,
    /// The file is larger than 4 MiB.
    #[error("is larger than {} MiB; it should hold the certificates of your authorities alone", CA_FILE_BYTES_MAX >> 20)]
    TooLarge,
    /// The file is no PEM, or has no certificate in it.
    #[error(
        "holds no certificate in PEM, which begins with -----BEGIN CERTIFICATE-----; \
         convert one in DER by: openssl x509 -inform der -in FILE -out FILE.pem"
    )]
    NoCertificate,
    /// A section of the file is truncated or garbled.
    #[error("is broken PEM at certificate {number}; copy the file again, with its BEGIN and END lines")]
    BrokenPem {
        /// The certificate's number, from 1.
        number: usize,
    },
    /// A section of the file is well-formed PEM, but holds no certificate.
    #[error("holds something that is no X.509 certificate, at certificate {number}; copy that one again")]
    NotACertificate {
        /// The certificate's number, from 1.
        number: usize,
    },
}

/// The authorities that TLS trusts: the platform's, and those that were added. Cheap to clone; clones share the built
/// settings.
#[derive(Clone, Default)]
pub struct TlsTrust {
    authorities: Vec<CertificateDer<'static>>,
    /// Built on first use, because reading the platform's roots takes a moment.
    cached_settings: Arc<OnceLock<TlsSettings>>,
}

impl TlsTrust {
    /// Trusts the platform's roots and the authorities of a file of PEM certificates. Reads the file once, and blocks
    /// meanwhile.
    ///
    /// # Errors
    /// The file cannot be read or holds something else; see [`CaErrorKind`].
    pub fn with_ca_file(file: &Path) -> Result<Self, CaFileError> {
        let read = read_bounded(file).and_then(|pem| Self::with_authorities(&pem));
        read.map_err(|kind| CaFileError { file: file.to_owned(), kind })
    }

    /// Trusts the platform's roots and the authorities in a PEM text.
    ///
    /// # Errors
    /// See [`CaErrorKind`].
    pub fn with_authorities(pem: &[u8]) -> Result<Self, CaErrorKind> {
        if pem.trim_ascii().is_empty() {
            return Err(CaErrorKind::Empty);
        }
        let mut authorities = Vec::new();
        for (index, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
            let number = index + 1;
            let certificate = certificate.map_err(|_| CaErrorKind::BrokenPem { number })?;
            if !implementation::is_certificate(&certificate) {
                return Err(CaErrorKind::NotACertificate { number });
            }
            authorities.push(certificate);
        }
        if authorities.is_empty() {
            return Err(CaErrorKind::NoCertificate);
        }
        Ok(Self { authorities, cached_settings: Arc::default() })
    }

    /// Uses exactly these settings, for embedders with a verifier or a client certificate of their own.
    #[must_use]
    pub fn preconfigured(settings: TlsSettings) -> Self {
        Self { authorities: Vec::new(), cached_settings: Arc::new(OnceLock::from(settings)) }
    }

    /// Returns the settings. The first call reads the platform's roots, and blocks meanwhile.
    ///
    /// # Errors
    /// The platform has no roots, or an authority is not accepted.
    pub fn settings(&self) -> Result<TlsSettings, TlsError> {
        if let Some(settings) = self.cached_settings.get() {
            return Ok(settings.clone());
        }
        let settings = implementation::build_settings(&self.authorities)?;
        Ok(self.cached_settings.get_or_init(|| settings).clone())
    }
}

impl fmt::Debug for TlsTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTrust").field("authorities", &self.authorities.len()).finish_non_exhaustive()
    }
}

/// Makes an HTTP client use TLS with this trust.
///
/// # Errors
/// The trust cannot be used.
pub(crate) fn configure(
    client: reqwest::ClientBuilder,
    trust: &TlsTrust,
    is_needed: bool,
) -> Result<reqwest::ClientBuilder, TlsError> {
    implementation::configure(client, || trust.settings(), is_needed)
}

/// Puts TLS on top of a stream to this host.
///
/// # Errors
/// The trust, the name or the handshake failed, or the stream broke; [`is_tls_error`](super::is_tls_error) tells these
/// apart.
pub(crate) async fn connect<S>(
    trust: &TlsTrust,
    peer: TlsPeer,
    host: String,
    stream: S,
) -> io::Result<MaybeTlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let settings = trust.settings().map_err(io::Error::other)?;
    implementation::connect(settings, peer, host, stream).await
}

fn read_bounded(file: &Path) -> Result<Vec<u8>, CaErrorKind> {
    let mut bytes = Vec::new();
    // One byte over the limit shows that the file is too large.
    let limit = CA_FILE_BYTES_MAX as u64 + 1;
    File::open(file)
        .and_then(|opened| opened.take(limit).read_to_end(&mut bytes))
        .map_err(CaErrorKind::Unreadable)?;
    if bytes.len() > CA_FILE_BYTES_MAX { Err(CaErrorKind::TooLarge) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A private authority that no platform trusts.
    fn authority_pem() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap().pem()
    }

    fn error_kind(pem: &str) -> CaErrorKind {
        TlsTrust::with_authorities(pem.as_bytes()).unwrap_err()
    }

    #[test]
    fn bundle_allows_several_certificates_and_comments() {
        let bundle = format!("# ours\n{}\n# and theirs\n{}", authority_pem(), authority_pem());
        assert_eq!(TlsTrust::with_authorities(bundle.as_bytes()).unwrap().authorities.len(), 2);
    }

    #[test]
    fn invalid_bundle_gives_its_error_kind() {
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        assert!(matches!(error_kind(" \n"), CaErrorKind::Empty));
        assert!(matches!(error_kind("a certificate, really"), CaErrorKind::NoCertificate));
        assert!(matches!(error_kind(&key), CaErrorKind::NoCertificate));
        let cut = authority_pem().replace("-----END CERTIFICATE-----", "");
        assert!(matches!(error_kind(&cut), CaErrorKind::BrokenPem { number: 1 }));
        let garbled =
            format!("{}-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n", authority_pem());
        assert!(matches!(error_kind(&garbled), CaErrorKind::BrokenPem { number: 2 }));
        let other = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        assert!(matches!(error_kind(other), CaErrorKind::NotACertificate { number: 1 }));
    }

    #[test]
    fn unusable_ca_file_is_named_without_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("absent.pem");
        let text = TlsTrust::with_ca_file(&absent).unwrap_err().to_string();
        assert!(text.starts_with(&format!("{}: cannot be read: ", absent.display())), "{text}");
        assert!(TlsTrust::with_ca_file(folder.path()).unwrap_err().to_string().contains("cannot be read"));
        let secret = folder.path().join("key.pem");
        fs::write(&secret, "-----BEGIN PRIVATE KEY-----\nhush\n-----END PRIVATE KEY-----\n").unwrap();
        let error = TlsTrust::with_ca_file(&secret).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hush"), "{error}");
        let huge = folder.path().join("huge.pem");
        fs::write(&huge, vec![b'x'; CA_FILE_BYTES_MAX + 1]).unwrap();
        assert!(matches!(TlsTrust::with_ca_file(&huge).unwrap_err().kind, CaErrorKind::TooLarge));
    }

    #[test]
    fn clones_share_their_settings() {
        let (trust, built) = (TlsTrust::default(), |trust: &TlsTrust| trust.cached_settings.get().is_some());
        let clone = trust.clone();
        assert!(!built(&clone));
        trust.settings().unwrap();
        assert!(built(&clone));
    }
}

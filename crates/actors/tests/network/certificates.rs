//! Creates a private authority that no platform trusts, and certificates of it.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use mainstay_actors::network::tls::TlsTrust;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// How many there are. Each has a name of its own, by which OpenSSL tells them apart.
static AUTHORITIES: AtomicU32 = AtomicU32::new(0);

pub(crate) struct TestAuthority(CertifiedIssuer<'static, KeyPair>);

impl TestAuthority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let number = AUTHORITIES.fetch_add(1, Relaxed);
        params.distinguished_name.push(DnType::CommonName, format!("authority {number}"));
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Returns settings of an embedder's own that trust this authority alone.
    #[cfg(feature = "_rustls")]
    pub(crate) fn preconfigured_trust(&self) -> TlsTrust {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let config =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
        TlsTrust::preconfigured(Arc::new(config))
    }

    /// Returns settings of an embedder's own that trust this authority alone.
    #[cfg(not(feature = "_rustls"))]
    pub(crate) fn preconfigured_trust(&self) -> TlsTrust {
        let root = native_tls::Certificate::from_der(self.0.der()).unwrap();
        let mut connector = native_tls::TlsConnector::builder();
        let connector = connector.disable_built_in_roots(true).add_root_certificate(root).build();
        TlsTrust::preconfigured(connector.unwrap())
    }

    /// Returns an acceptor with a certificate of this authority for `name`.
    pub(crate) fn acceptor(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

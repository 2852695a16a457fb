//! Tests a backend that requires a certificate, and an embedder that has one.

mod support;

use std::sync::Arc;
use std::time::Duration;

use mainstay::config::Config;
use mainstay::transport::TlsTrust;
use mainstay::{Error, Mainstay, Reason, Request};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use support::{TEST_TIMEOUT, read_head, serve_connections};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// A certificate authority that no client trusts by default.
struct TestCa(CertifiedIssuer<'static, KeyPair>);

impl TestCa {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }

    fn certificate(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
    }

    fn acceptor(&self) -> TlsAcceptor {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()), provider()).build().unwrap();
        let (chain, key) = self.certificate();
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    /// Returns a configuration that trusts this authority, and presents a certificate of it where `shows_one`.
    fn trust(&self, shows_one: bool) -> TlsTrust {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots());
        let (chain, key) = self.certificate();
        let config = if shows_one {
            config.with_client_auth_cert(chain, key).unwrap()
        } else {
            config.with_no_client_auth()
        };
        TlsTrust::preconfigured(Arc::new(config))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A backend that responds "hello" to clients with a certificate, on this port.
async fn start_backend(tls: TlsAcceptor) -> (u16, JoinSet<()>) {
    serve_connections(move |socket| {
        let tls = tls.clone();
        async move {
            // A failed handshake closes the connection at any point.
            let mut stream = tls.accept(socket).await.ok()?;
            read_head(&mut stream).await?;
            let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";
            stream.write_all(answer).await.ok()?;
            stream.shutdown().await.ok()
        }
    })
    .await
}

/// Returns the result of a request with this trust.
async fn ask(port: u16, trust: TlsTrust) -> Result<String, Error> {
    let config = Config::from_toml(&format!("[backend]\nurl = \"https://localhost:{port}\"\n")).unwrap();
    let mainstay = Mainstay::builder().config(config).trust(trust).start().await.unwrap();
    let request = Request::get("/").retries(0).wait_timeout(Duration::ZERO).build().unwrap();
    let answer = timeout(TEST_TIMEOUT, mainstay.request(request)).await.unwrap();
    mainstay.shutdown().await;
    answer.map(|response| String::from_utf8(response.body.to_vec()).unwrap())
}

#[tokio::test]
async fn embedder_shows_a_client_certificate_of_its_own() {
    let authority = TestCa::new();
    let (port, _tasks) = start_backend(authority.acceptor()).await;
    assert_eq!(ask(port, authority.trust(true)).await.unwrap(), "hello");
    assert!(ask(port, authority.trust(false)).await.is_err(), "without one there is no answer");
    let stranger = ask(port, TestCa::new().trust(true)).await.unwrap_err();
    assert_eq!(stranger.reason, Reason::TlsFailed);
}

//! Tests TLS of the platform, with a server of rustls and certificates of a private authority. `.ci/run` builds it
//! without rustls in the library: `cargo test -p mainstay --no-default-features --features tls-native --test native_tls`.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mainstay::config::Config;
use mainstay::{ConnectionErrorKind, ConnectionState, ConnectionStatus, Mainstay, Reason, Request};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, crypto::ring};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// A guard against hanging, never reached.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Returns a private authority. By its name OpenSSL tells it from others.
fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Returns an acceptor that also offers HTTP/2, which the clients must not choose.
fn acceptor(authority: &CertifiedIssuer<'static, KeyPair>) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let chain = vec![params.signed_by(&key, authority).unwrap().der().clone()];
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// Serves one connection: a WebSocket that stays open, or requests, which it answers with the protocol agreed on.
async fn serve(tls: TlsAcceptor, socket: tokio::net::TcpStream) -> Option<()> {
    // A client that does not trust us hangs up in the middle.
    let mut stream = tls.accept(socket).await.ok()?;
    let protocol = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec).unwrap_or_default();
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).ok()?;
        let key = head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"));
        let response = match key {
            Some((_, key)) => format!(
                "HTTP/1.1 101 Yes\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {}\r\n\r\n",
                derive_accept_key(key.as_bytes())
            ),
            None => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", protocol.len()),
        };
        stream.write_all(response.as_bytes()).await.ok()?;
        if key.is_none() {
            stream.write_all(&protocol).await.ok()?;
        }
        stream.flush().await.ok()?;
    }
}

/// Starts a backend on this port, until the tasks are dropped.
async fn start_backend(tls: TlsAcceptor) -> (u16, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            connections.spawn(serve(tls.clone(), socket));
        }
    });
    (port, tasks)
}

async fn start_runtime(port: u16, ca_file: &Path) -> Mainstay {
    let text =
        format!("[backend]\nurl = \"https://localhost:{port}\"\nca_file = {ca_file:?}\nproxy = \"none\"\n");
    Mainstay::builder().config(Config::from_toml(&text).unwrap()).start().await.unwrap()
}

/// Waits until the link's status is as asked.
async fn wait_for_link(mainstay: &Mainstay, is_so: impl FnMut(&ConnectionStatus) -> bool) {
    timeout(TEST_TIMEOUT, mainstay.connection().watch().wait_for(is_so)).await.unwrap().unwrap();
}

#[tokio::test]
async fn platform_tls_carries_requests_and_the_link() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let ours = authority("ours");
    std::fs::write(&file, format!("{}{}", authority("theirs").pem(), ours.pem())).unwrap();
    let (port, _tasks) = start_backend(acceptor(&ours)).await;
    let mainstay = start_runtime(port, &file).await;
    let request = Request::get("/").retries(0).build().unwrap();
    let response = timeout(TEST_TIMEOUT, mainstay.request(request)).await.unwrap().unwrap();
    assert_eq!(&response.body[..], b"http/1.1", "the protocol that was agreed on");
    wait_for_link(&mainstay, |status| status.state == ConnectionState::Connected).await;
    mainstay.shutdown().await;
}

#[tokio::test]
async fn unknown_authority_is_refused_for_both() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority("theirs").pem()).unwrap();
    let (port, _tasks) = start_backend(acceptor(&authority("ours"))).await;
    let mainstay = start_runtime(port, &file).await;
    let request = Request::get("/").retries(0).wait_timeout(Duration::ZERO).build().unwrap();
    let error = timeout(TEST_TIMEOUT, mainstay.request(request)).await.unwrap().unwrap_err();
    assert_eq!(error.reason, Reason::TlsFailed, "{error}");
    let is_tls = |status: &ConnectionStatus| {
        status.last_error.as_ref().is_some_and(|error| error.kind == ConnectionErrorKind::Tls)
    };
    wait_for_link(&mainstay, is_tls).await;
    mainstay.shutdown().await;
}

//! Tests TLS with a private authority.

use mainstay_actors::{
    connection::error::ConnectionErrorKind, network::tls::TlsTrust, transport::FailureKind,
};

use crate::{backend::TestBackend, certificates::TestAuthority, clients::TestRoute, server::TestServer};

async fn backend(authority: &TestAuthority, name: &str) -> TestBackend {
    TestBackend::start(Some(authority.acceptor(name))).await
}

#[tokio::test]
async fn private_authority_is_refused_by_default() {
    let authority = TestAuthority::new();
    let backend = backend(&authority, "localhost").await;
    let route = TestRoute::new(format!("https://localhost:{}", backend.port()));
    for route in [route.clone(), route.with_authority(&TestAuthority::new())] {
        let (failure, fault) = route.assert_fails().await;
        assert_eq!((failure.kind, fault.kind), (FailureKind::Tls, ConnectionErrorKind::Tls));
    }
}

#[tokio::test]
async fn private_authority_is_trusted_with_its_ca_file() {
    let authority = TestAuthority::new();
    let backend = backend(&authority, "localhost").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, format!("{}{}", TestAuthority::new().pem(), authority.pem())).unwrap();
    let mut route = TestRoute::new(format!("https://localhost:{}", backend.port()));
    for trust in [TlsTrust::with_ca_file(&file).unwrap(), authority.preconfigured_trust()] {
        route.route.trust = trust;
        route.assert_connects().await;
    }
}

/// Where the platform's roots are files, a variable can set them for another process alone.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn platform_roots_stay_trusted_beside_the_ca_file() {
    let (platform, private) = (TestAuthority::new(), TestAuthority::new());
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, authority: &TestAuthority| {
        let file = folder.path().join(name);
        std::fs::write(&file, authority.pem()).unwrap();
        file
    };
    let (of_platform, of_private) = (file("platform.pem", &platform), file("private.pem", &private));
    for authority in [&platform, &private] {
        let backend = backend(authority, "localhost").await;
        let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "tls::both_clients_connect_in_another_process", "--ignored"]);
        command.env("SSL_CERT_FILE", &of_platform).env_remove("SSL_CERT_DIR");
        command.env(CA_FILE, &of_private).env(PORT, backend.port().to_string()).kill_on_drop(true);
        let output = tokio::time::timeout(crate::clients::LONG, command.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    }
}

const CA_FILE: &str = "MAINSTAY_TEST_CA_FILE";
const PORT: &str = "MAINSTAY_TEST_PORT";

#[tokio::test]
#[ignore = "started by platform_roots_stay_trusted_beside_the_ca_file, as another process"]
async fn both_clients_connect_in_another_process() {
    let (Some(file), Ok(port)) = (std::env::var_os(CA_FILE), std::env::var(PORT)) else { return };
    let mut route = TestRoute::new(format!("https://localhost:{port}"));
    route.route.trust = TlsTrust::with_ca_file(file.as_ref()).unwrap();
    route.assert_connects().await;
}

#[tokio::test]
async fn certificate_for_an_ip_address_is_accepted() {
    let authority = TestAuthority::new();
    let backend = backend(&authority, "127.0.0.1").await;
    TestRoute::new(format!("https://127.0.0.1:{}", backend.port()))
        .with_authority(&authority)
        .assert_connects()
        .await;
}

#[tokio::test]
async fn certificate_for_another_name_is_refused() {
    let authority = TestAuthority::new();
    let backend = backend(&authority, "elsewhere.test").await;
    let route = TestRoute::new(format!("https://localhost:{}", backend.port())).with_authority(&authority);
    let (failure, fault) = route.assert_fails().await;
    assert_eq!((failure.kind, fault.kind), (FailureKind::Tls, ConnectionErrorKind::Tls));
    // In the words of rustls, and of OpenSSL.
    let is_explained =
        ["not valid for name", "hostname mismatch"].iter().any(|it| fault.details.contains(it));
    assert!(is_explained, "{fault:?}");
}

#[tokio::test]
async fn hanging_up_in_the_handshake_is_no_tls_failure() {
    let server = TestServer::start(None, |_| std::future::ready(None)).await;
    let (failure, fault) = TestRoute::new(format!("https://{}", server.address)).assert_fails().await;
    assert_eq!(
        (failure.kind, fault.kind),
        (FailureKind::Connect, ConnectionErrorKind::Lost),
        "{failure} {fault:?}"
    );
}

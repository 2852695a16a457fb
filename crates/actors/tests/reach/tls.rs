//! TLS with a private authority.

use mainstay_actors::{connection::fault::FaultKind, reach::trust::Trust, transport::FailureKind};

use crate::{
    backend::Backend,
    certificates::Authority,
    clients::{LONG, Way},
};

async fn backend(authority: &Authority, name: &str) -> Backend {
    Backend::start(Some(authority.acceptor(name))).await
}

#[tokio::test]
async fn a_server_of_a_private_authority_is_refused_where_nobody_named_the_authority() {
    let authority = Authority::new();
    let backend = backend(&authority, "localhost").await;
    let way = Way::to(format!("https://localhost:{}", backend.port()));
    for way in [way.clone(), way.trusting(&Authority::new())] {
        let (failure, fault) = way.fails().await;
        assert_eq!((failure.kind, fault.kind), (FailureKind::Tls, FaultKind::Tls));
    }
}

#[tokio::test]
async fn a_server_of_a_private_authority_is_trusted_where_its_ca_file_is_given() {
    let authority = Authority::new();
    let backend = backend(&authority, "localhost").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, format!("{}{}", Authority::new().pem(), authority.pem())).unwrap();
    let mut way = Way::to(format!("https://localhost:{}", backend.port()));
    way.route.trust = Trust::with_ca_file(&file).unwrap();
    way.arrives().await;
}

/// Where the roots of the platform are files, which one they are can be said to another process, and to it alone.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_the_platform_trusts_is_trusted_beside_the_ca_file() {
    let (platform, private) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, authority: &Authority| {
        let file = folder.path().join(name);
        std::fs::write(&file, authority.pem()).unwrap();
        file
    };
    let (of_platform, of_private) = (file("platform.pem", &platform), file("private.pem", &private));
    for authority in [&platform, &private] {
        let backend = backend(authority, "localhost").await;
        let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "tls::in_another_process_both_clients_arrive", "--ignored"]);
        command.env("SSL_CERT_FILE", &of_platform).env_remove("SSL_CERT_DIR");
        command.env(CA_FILE, &of_private).env(PORT, backend.port().to_string()).kill_on_drop(true);
        let output = tokio::time::timeout(LONG, command.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    }
}

const CA_FILE: &str = "MAINSTAY_TEST_CA_FILE";
const PORT: &str = "MAINSTAY_TEST_PORT";

#[tokio::test]
#[ignore = "started by what_the_platform_trusts_is_trusted_beside_the_ca_file, as another process"]
async fn in_another_process_both_clients_arrive() {
    let (Some(file), Ok(port)) = (std::env::var_os(CA_FILE), std::env::var(PORT)) else { return };
    let mut way = Way::to(format!("https://localhost:{port}"));
    way.route.trust = Trust::with_ca_file(file.as_ref()).unwrap();
    way.arrives().await;
}

#[tokio::test]
async fn a_certificate_for_an_address_counts_for_that_address() {
    let authority = Authority::new();
    let backend = backend(&authority, "127.0.0.1").await;
    Way::to(format!("https://127.0.0.1:{}", backend.port())).trusting(&authority).arrives().await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new();
    let backend = backend(&authority, "elsewhere.test").await;
    let way = Way::to(format!("https://localhost:{}", backend.port())).trusting(&authority);
    let (failure, fault) = way.fails().await;
    assert_eq!((failure.kind, fault.kind), (FailureKind::Tls, FaultKind::Tls));
    assert!(fault.details.contains("not valid for name"), "{fault:?}");
}

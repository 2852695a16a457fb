//! TLS with a private authority.

use mainstay_actors::{connection::fault::FaultKind, reach::trust::Trust, transport::FailureKind};

use crate::{backend::Backend, certificates::Authority, clients::Way};

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

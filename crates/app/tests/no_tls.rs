//! Tests a build without TLS. `.ci/run` builds it: `cargo test -p mainstay --no-default-features --test no_tls`.

#![cfg(not(feature = "_tls"))]

use mainstay::Mainstay;
use mainstay::config::Config;

async fn start_error(backend: &str) -> String {
    let config = Config::from_toml(&format!("[backend]\n{backend}")).unwrap();
    Mainstay::builder().config(config).start().await.err().expect("it does not start").to_string()
}

#[tokio::test]
async fn what_needs_tls_is_refused_and_the_features_are_named() {
    for backend in [
        "url = \"https://127.0.0.1:9\"",
        "url = \"http://127.0.0.1:9\"\nca_file = \"ca.pem\"",
        "url = \"http://backend.test:9\"\nproxy = \"https://127.0.0.1:8\"",
    ] {
        let error = start_error(backend).await;
        for feature in ["tls-ring", "tls-aws-lc", "tls-native"] {
            assert!(error.contains(feature), "{backend}: {error}");
        }
    }
    let config = Config::from_toml("[backend]\nurl = \"http://127.0.0.1:9\"").unwrap();
    Mainstay::builder().config(config).start().await.unwrap().shutdown().await;
}

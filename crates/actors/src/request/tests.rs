use http::header;

use super::*;
use crate::error::{Code, Error, words::assert_helps};

fn refused(builder: RequestBuilder) -> Error {
    let error = builder.build().unwrap_err();
    assert_eq!(error.code, Code::InvalidInput);
    assert!(!error.retryable);
    // A rule's own words, not the fallback of the table.
    assert_ne!(error.message, error.reason.message());
    assert_helps(&error.message);
    error
}

#[test]
fn a_request_keeps_what_it_was_given() {
    let request = Request::post("/api/echo?x=1")
        .json(&serde_json::json!({"a": 1}))
        .header("X-Trace", "7")
        .priority(Priority::High)
        .timeout(Duration::from_secs(5))
        .wait_timeout(Duration::ZERO)
        .retries(0)
        .idempotency_key("k-1")
        .build()
        .unwrap();
    assert_eq!(request.method(), Method::POST);
    assert_eq!((request.path(), request.path_without_query()), ("/api/echo?x=1", "/api/echo"));
    assert_eq!(request.headers()[header::CONTENT_TYPE], "application/json");
    assert_eq!(request.headers()["x-trace"], "7");
    assert_eq!(request.body().unwrap().bytes().unwrap(), r#"{"a":1}"#);
    assert_eq!(request.priority(), Priority::High);
    assert_eq!(request.timeout(), Some(Duration::from_secs(5)));
    assert_eq!(request.wait_timeout(), Some(Duration::ZERO));
    assert_eq!(request.retries(), Some(0));
    assert_eq!(request.idempotency_key().unwrap(), "k-1");
}

#[test]
fn only_a_safe_or_idempotent_method_or_a_key_makes_a_request_repeatable() {
    let repeatable = |method: Method| Request::builder(method, "/").build().unwrap().is_repeatable();
    for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE] {
        assert!(repeatable(method));
    }
    assert!(!repeatable(Method::POST) && !repeatable(Method::PATCH));
    assert!(Request::post("/").idempotency_key("k").build().unwrap().is_repeatable());
    assert!(Request::post("/").generated_idempotency_key().build().unwrap().is_repeatable());
}

#[test]
fn a_key_is_made_once_and_only_when_asked_for() {
    let mut wanted = Request::post("/").generated_idempotency_key().build().unwrap();
    wanted.settle_key(u128::MAX);
    wanted.settle_key(0);
    assert_eq!(wanted.idempotency_key().unwrap(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    let mut unasked = Request::post("/").build().unwrap();
    unasked.settle_key(1);
    assert_eq!(unasked.idempotency_key(), None);
    let mut given = Request::post("/").idempotency_key("mine").build().unwrap();
    given.settle_key(1);
    assert_eq!(given.idempotency_key().unwrap(), "mine");
}

#[test]
fn a_header_that_could_break_the_connection_is_refused() {
    for name in ["Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Keep-Alive"] {
        refused(Request::get("/").header(name, "x"));
    }
    let error = refused(Request::get("/").header("X-A", "one\r\nX-B: two"));
    assert_eq!(error.details.as_deref(), Some("header X-A"));
    refused(Request::get("/").header("two words", "x"));
}

#[test]
fn every_part_has_a_limit() {
    refused(Request::post("/").body(vec![0; REQUEST_BODY_BYTES_MAX + 1]));
    assert!(Request::post("/").body(vec![0; REQUEST_BODY_BYTES_MAX]).build().is_ok());
    let many =
        (0..=REQUEST_HEADERS_MAX).fold(Request::get("/"), |builder, n| builder.header("x", &n.to_string()));
    refused(many);
    refused((0..100_000).fold(Request::get("/"), |builder, n| builder.header(&format!("x{n}"), "")));
    refused(Request::get("/").header("x", &"v".repeat(REQUEST_HEADERS_BYTES_MAX)));
    refused(Request::get("/").retries(RETRIES_MAX + 1));
    refused(Request::get("/").timeout(Duration::ZERO));
    refused(Request::get("/").timeout(TIMEOUT_MAX + Duration::from_secs(1)));
    refused(Request::get("/").wait_timeout(Duration::MAX));
    refused(Request::post("/").idempotency_key(""));
    refused(Request::post("/").idempotency_key(&"k".repeat(IDEMPOTENCY_KEY_BYTES_MAX + 1)));
}

#[test]
fn a_method_without_a_path_is_refused_and_so_is_a_body_that_is_not_json() {
    refused(Request::builder(Method::CONNECT, "/"));
    let keyed_by_numbers = std::collections::HashMap::from([(vec![1], 1)]);
    refused(Request::post("/").json(&keyed_by_numbers));
}

#[test]
fn a_request_shows_no_secret_when_it_is_logged() {
    let request = Request::post("/x?token=sesame")
        .header("Authorization", "sesame")
        .body("sesame")
        .idempotency_key("sesame");
    assert!(!format!("{:?}", request.build().unwrap()).contains("sesame"));
}

use http::header;

use super::*;
use crate::error::{Code, Error, tests::words::assert_message_helps};

fn build_error(builder: RequestBuilder) -> Error {
    let error = builder.build().unwrap_err();
    assert_eq!(error.code, Code::InvalidInput);
    assert!(!error.retryable);
    // The rule's own message, not the table's fallback.
    assert_ne!(error.message, error.reason.message());
    assert_message_helps(&error.message);
    error
}

#[test]
fn request_keeps_what_it_was_given() {
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
fn request_is_repeatable_if_idempotent_or_keyed() {
    let repeatable = |method: Method| Request::builder(method, "/").build().unwrap().is_repeatable();
    for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE] {
        assert!(repeatable(method));
    }
    assert!(!repeatable(Method::POST) && !repeatable(Method::PATCH));
    assert!(Request::post("/").idempotency_key("k").build().unwrap().is_repeatable());
    assert!(Request::post("/").generated_idempotency_key().build().unwrap().is_repeatable());
}

#[test]
fn key_is_made_once_and_only_when_asked_for() {
    let mut wanted = Request::post("/").generated_idempotency_key().build().unwrap();
    wanted.generate_key(u128::MAX);
    wanted.generate_key(0);
    assert_eq!(wanted.idempotency_key().unwrap(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    let mut unasked = Request::post("/").build().unwrap();
    unasked.generate_key(1);
    assert_eq!(unasked.idempotency_key(), None);
    let mut given = Request::post("/").idempotency_key("mine").build().unwrap();
    given.generate_key(1);
    assert_eq!(given.idempotency_key().unwrap(), "mine");
}

#[test]
fn header_that_could_break_the_connection_is_refused() {
    for name in ["Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Keep-Alive"] {
        build_error(Request::get("/").header(name, "x"));
    }
    let error = build_error(Request::get("/").header("X-A", "one\r\nX-B: two"));
    assert_eq!(error.details.as_deref(), Some("header X-A"));
    build_error(Request::get("/").header("two words", "x"));
}

#[test]
fn every_part_has_a_limit() {
    build_error(Request::post("/").body(vec![0; REQUEST_BODY_BYTES_MAX + 1]));
    assert!(Request::post("/").body(vec![0; REQUEST_BODY_BYTES_MAX]).build().is_ok());
    let many =
        (0..=REQUEST_HEADERS_MAX).fold(Request::get("/"), |builder, n| builder.header("x", &n.to_string()));
    build_error(many);
    build_error((0..100_000).fold(Request::get("/"), |builder, n| builder.header(&format!("x{n}"), "")));
    build_error(Request::get("/").header("x", &"v".repeat(REQUEST_HEADERS_BYTES_MAX)));
    build_error(Request::get("/").retries(RETRIES_MAX + 1));
    build_error(Request::get("/").timeout(Duration::ZERO));
    build_error(Request::get("/").timeout(TIMEOUT_MAX + Duration::from_secs(1)));
    build_error(Request::get("/").wait_timeout(Duration::MAX));
    build_error(Request::post("/").idempotency_key(""));
    build_error(Request::post("/").idempotency_key(&"k".repeat(IDEMPOTENCY_KEY_BYTES_MAX + 1)));
}

#[test]
fn connect_trace_and_unserializable_json_are_refused() {
    build_error(Request::builder(Method::CONNECT, "/"));
    let keyed_by_numbers = std::collections::HashMap::from([(vec![1], 1)]);
    build_error(Request::post("/").json(&keyed_by_numbers));
}

#[test]
fn request_shows_no_secret_when_it_is_logged() {
    let request = Request::post("/x?token=sesame")
        .header("Authorization", "sesame")
        .body("sesame")
        .idempotency_key("sesame");
    assert!(!format!("{:?}", request.build().unwrap()).contains("sesame"));
}

//! Tests ordinary requests, and the refusals of each framework.

use mainstay::{Code, Reason, Request, RequestBuilder};
use reqwest::Method;
use serde_json::{Value, json};

use crate::against;
use crate::fixture::{ForeignFixture, ServerAndRuntime};
use crate::server::ServerSpec;
use crate::support::assert_members;

/// Returns the code, the reason and the status of a failure that must come, and its words for a person.
async fn request_error(
    fixture: &ForeignFixture,
    request: RequestBuilder,
) -> (Code, Reason, Option<u16>, String) {
    let error = fixture.request(request).await.expect_err("it fails");
    for secret in ["127.0.0.1", "/fail", "/problem", "http", "{"] {
        assert!(!error.message.contains(secret), "{error:?}");
    }
    (error.code, error.reason, error.status, error.message)
}

against!(each_method_goes_out_and_its_answer_comes_back: uvicorn, h11, node);
async fn each_method_goes_out_and_its_answer_comes_back(foreign: ServerSpec) {
    let server = foreign.start().await;
    let fixture = ForeignFixture::start(&server, |config| {
        config.backend.headers.insert("x-shell".to_owned(), "of the configuration".to_owned());
    })
    .await;
    for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
        let path = "/echo?q=a%20b&t=%F0%9F%98%80";
        let request =
            Request::builder(method.clone(), path).header("x-note", "1").json(&json!({ "text": "😀" }));
        let echo = fixture.request_json(request).await;
        assert_members(&echo, &json!({ "method": method.as_str(), "query": "q=a%20b&t=%F0%9F%98%80" }));
        assert_eq!(echo["body"], json!({ "text": "😀" }).to_string());
        let headers = &echo["headers"];
        assert_eq!((&headers["x-shell"], &headers["x-note"]), (&json!("of the configuration"), &json!("1")));
        assert_eq!(headers["content-type"], "application/json");
        assert!(headers["transfer-encoding"].is_null() && headers["expect"].is_null(), "{headers}");
    }
    let echo = fixture.request_json(Request::get("/echo")).await;
    assert_eq!((&echo["bytes"], &echo["headers"]["content-length"]), (&json!(0), &Value::Null));
    // A POST without a body says so: some servers respond with 411 otherwise.
    for request in [Request::post("/echo"), Request::post("/echo").body("")] {
        let echo = fixture.request_json(request).await;
        assert_eq!((&echo["bytes"], &echo["headers"]["content-length"]), (&json!(0), &json!("0")));
    }
}

against!(answers_without_a_body_are_answers(started): uvicorn, h11, node);
async fn answers_without_a_body_are_answers((_server, fixture): ServerAndRuntime) {
    // Each is sent twice: unread bytes of one would spoil the next one on the connection.
    for _ in 0..2 {
        let response = fixture.request(Request::delete("/nothing")).await.unwrap();
        assert_eq!((response.status.as_u16(), response.body.len()), (204, 0));
        let response = fixture.request(Request::builder(Method::HEAD, "/head")).await.unwrap();
        assert_eq!((response.status.as_u16(), response.body.len()), (200, 0));
        assert_eq!(response.headers["content-length"], "1234");
        assert_eq!(response.headers["x-kind"], "head");
    }
}

against!(invalid_body_is_refused_with_details(started): uvicorn, h11, node);
async fn invalid_body_is_refused_with_details((server, fixture): ServerAndRuntime) {
    let item = json!({ "name": "lamp", "size": 3 });
    let response = fixture.request(Request::post("/items").json(&item)).await.unwrap();
    assert_eq!((response.status.as_u16(), response.json::<Value>().unwrap()), (201, item));

    let request = Request::post("/items").json(&json!({ "name": "lamp", "size": "big" }));
    let error = fixture.request(request).await.unwrap_err();
    assert_eq!(error.code, Code::InvalidInput);
    assert_eq!(error.reason, Reason::Unprocessable);
    assert_eq!(error.status, Some(422));
    assert!(!error.retryable && error.attempts == 1, "{error:?}");
    assert!(error.details.as_deref().is_some_and(|details| details.contains("size")), "{error:?}");

    let request = Request::post("/items").header("content-type", "application/json").body("{\"name\": ");
    let error = fixture.request(request).await.unwrap_err();
    let reason = if server.spec.is_node() { Reason::BadRequest } else { Reason::Unprocessable };
    assert_eq!((error.code, error.reason, error.attempts), (Code::InvalidInput, reason, 1), "{error:?}");
}

against!(client_errors_have_their_code_and_are_not_retried(started): uvicorn, h11, node);
async fn client_errors_have_their_code_and_are_not_retried((server, mut fixture): ServerAndRuntime) {
    for (status, code, reason) in [
        (400, Code::InvalidInput, Reason::BadRequest),
        (401, Code::PermissionDenied, Reason::Unauthenticated),
        (403, Code::PermissionDenied, Reason::Forbidden),
        (404, Code::NotFound, Reason::NotFound),
        (409, Code::InvalidInput, Reason::Conflict),
        (410, Code::NotFound, Reason::Gone),
        (418, Code::InvalidInput, Reason::BadRequest),
    ] {
        let request = Request::get(format!("/fail/{status}"));
        let (echo, why, shown, message) = request_error(&fixture, request).await;
        assert_eq!((echo, why, shown), (code, reason, Some(status)));
        assert_eq!(message, reason.message());
    }
    let (code, reason, status, _) = request_error(&fixture, Request::get("/no-such-path")).await;
    assert_eq!((code, reason, status), (Code::NotFound, Reason::NotFound, Some(404)));
    let (code, reason, _, _) = request_error(&fixture, Request::delete("/items")).await;
    if server.spec.is_node() {
        assert_eq!((code, reason), (Code::NotFound, Reason::NotFound), "Express knows no 405");
    } else {
        assert_eq!((code, reason), (Code::InvalidInput, Reason::MethodNotAllowed));
    }
    fixture.mainstay.shutdown().await;
    fixture.wait_for_event("runtime_stopped").await;
    assert_eq!((fixture.count("request_failed"), fixture.count("request_retry")), (9, 0));
}

against!(problem_document_text_is_shown_if_safe(started): uvicorn, h11, node);
async fn problem_document_text_is_shown_if_safe((_server, fixture): ServerAndRuntime) {
    let request = Request::get("/problem/409/plain");
    let (code, reason, _, message) = request_error(&fixture, request).await;
    assert_eq!(code, Code::InvalidInput);
    assert_eq!(reason, Reason::Conflict);
    assert_eq!(message.as_str(), "The tray is empty.");
    let request = Request::get("/problem/409/path");
    let (_, _, _, message) = request_error(&fixture, request).await;
    assert_eq!(message, "Out of paper");
}

against!(missing_slash_is_redirected_and_the_body_goes_along(started): uvicorn, h11, node);
async fn missing_slash_is_redirected_and_the_body_goes_along((_server, fixture): ServerAndRuntime) {
    assert_eq!(fixture.request_json(Request::get("/slash")).await, "behind the slash");
    let item = json!({ "name": "lamp", "size": 3 });
    assert_eq!(fixture.request_json(Request::post("/slash").json(&item)).await, item);
}

against!(body_of_the_largest_size_arrives_whole(started): uvicorn, h11, node);
async fn body_of_the_largest_size_arrives_whole((_server, fixture): ServerAndRuntime) {
    let body: Vec<u8> = (0..16 << 20).map(|n: u32| n.to_le_bytes()[n as usize % 3]).collect();
    let here = fixture.request_json(Request::post("/digest").body(body.clone())).await;
    assert_eq!(here["bytes"], 16 << 20);
    // A repeated body has the same digest, an empty body another.
    assert_eq!(fixture.request_json(Request::post("/digest").body(body)).await, here);
    assert_ne!(fixture.request_json(Request::post("/digest").body("")).await["sha256"], here["sha256"]);
    let error = fixture.request(Request::post("/items").json(&json!({}))).await.unwrap_err();
    assert_eq!(error.reason, Reason::Unprocessable);
}

against!(refusal_that_comes_before_the_body_was_taken_is_the_answer(started): uvicorn, h11, node);
async fn refusal_that_comes_before_the_body_was_taken_is_the_answer((server, fixture): ServerAndRuntime) {
    // The size exceeds all buffers on the route by far.
    let paths = if server.spec.is_node() { ["/too-large", "/limited"] } else { ["/too-large"; 2] };
    for (round, path) in paths.iter().cycle().take(6).enumerate() {
        let body = vec![b'x'; 16 << 20];
        let request = Request::post(*path).header("content-type", "application/json").body(body);
        let error = fixture.request(request).await.unwrap_err();
        let echo = (error.code, error.reason, error.status);
        assert_eq!(echo, (Code::InvalidInput, Reason::RequestTooLarge, Some(413)), "{round}: {error:?}");
        // Whatever happened to that connection, the next request succeeds.
        assert_eq!(fixture.request_json(Request::get("/echo")).await["method"], "GET");
    }
}

//! Ordinary requests, and refusals in the words of each framework.

use mainstay::Request;
use mainstay::actors::error::{Code, Reason};
use mainstay::actors::request::RequestBuilder;
use reqwest::Method;
use serde_json::{Value, json};

use crate::against;
use crate::fixture::ForeignFixture;
use crate::server::ServerSpec;

/// The code, the reason and the status of a failure that must come, and its words for a person.
async fn request_error(
    scene: &ForeignFixture,
    request: RequestBuilder,
) -> (Code, Reason, Option<u16>, String) {
    let error = scene.request(request).await.expect_err("it fails");
    for secret in ["127.0.0.1", "/fail", "/problem", "http", "{"] {
        assert!(!error.message.contains(secret), "{error:?}");
    }
    (error.code, error.reason, error.status, error.message)
}

against!(each_method_goes_out_and_its_answer_comes_back: uvicorn, h11, node);
async fn each_method_goes_out_and_its_answer_comes_back(foreign: ServerSpec) {
    let server = foreign.start().await;
    let scene = ForeignFixture::start(&server, |config| {
        config.backend.headers.insert("x-shell".to_owned(), "of the configuration".to_owned());
    })
    .await;
    for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
        let path = "/echo?q=a%20b&t=%F0%9F%98%80";
        let request =
            Request::builder(method.clone(), path).header("x-note", "1").json(&json!({ "text": "😀" }));
        let told = scene.request_json(request).await;
        assert_eq!(
            (&told["method"], &told["query"]),
            (&json!(method.as_str()), &json!("q=a%20b&t=%F0%9F%98%80"))
        );
        assert_eq!(told["body"], json!({ "text": "😀" }).to_string());
        let headers = &told["headers"];
        assert_eq!((&headers["x-shell"], &headers["x-note"]), (&json!("of the configuration"), &json!("1")));
        assert_eq!(headers["content-type"], "application/json");
        assert!(headers["transfer-encoding"].is_null() && headers["expect"].is_null(), "{headers}");
    }
    let told = scene.request_json(Request::get("/echo")).await;
    assert_eq!((&told["bytes"], &told["headers"]["content-length"]), (&json!(0), &Value::Null));
    // A POST without a body says so: some servers answer 411 otherwise.
    for request in [Request::post("/echo"), Request::post("/echo").body("")] {
        let told = scene.request_json(request).await;
        assert_eq!((&told["bytes"], &told["headers"]["content-length"]), (&json!(0), &json!("0")));
    }
}

against!(answers_without_a_body_are_answers: uvicorn, h11, node);
async fn answers_without_a_body_are_answers(foreign: ServerSpec) {
    let server = foreign.start().await;
    let scene = ForeignFixture::start(&server, |_| ()).await;
    // Twice each: what one of them left unread on the connection would spoil the next one.
    for _ in 0..2 {
        let response = scene.request(Request::delete("/nothing")).await.unwrap();
        assert_eq!((response.status.as_u16(), response.body.len()), (204, 0));
        let response = scene.request(Request::builder(Method::HEAD, "/head")).await.unwrap();
        assert_eq!((response.status.as_u16(), response.body.len()), (200, 0));
        assert_eq!(response.headers["content-length"], "1234");
        assert_eq!(response.headers["x-kind"], "head");
    }
}

against!(a_body_that_is_not_as_it_should_be_is_refused_with_what_is_wrong: uvicorn, h11, node);
async fn a_body_that_is_not_as_it_should_be_is_refused_with_what_is_wrong(foreign: ServerSpec) {
    let server = foreign.start().await;
    let scene = ForeignFixture::start(&server, |_| ()).await;
    let item = json!({ "name": "lamp", "size": 3 });
    let response = scene.request(Request::post("/items").json(&item)).await.unwrap();
    assert_eq!((response.status.as_u16(), response.json::<Value>().unwrap()), (201, item));

    let request = Request::post("/items").json(&json!({ "name": "lamp", "size": "big" }));
    let error = scene.request(request).await.unwrap_err();
    assert_eq!(
        (error.code, error.reason, error.status),
        (Code::InvalidInput, Reason::Unprocessable, Some(422))
    );
    assert!(!error.retryable && error.attempts == 1, "{error:?}");
    assert!(error.details.as_deref().is_some_and(|details| details.contains("size")), "{error:?}");

    let request = Request::post("/items").header("content-type", "application/json").body("{\"name\": ");
    let error = scene.request(request).await.unwrap_err();
    let reason = if server.spec.is_node() { Reason::BadRequest } else { Reason::Unprocessable };
    assert_eq!((error.code, error.reason, error.attempts), (Code::InvalidInput, reason, 1), "{error:?}");
}

against!(each_refusal_of_the_framework_has_its_code_and_is_not_repeated: uvicorn, h11, node);
async fn each_refusal_of_the_framework_has_its_code_and_is_not_repeated(foreign: ServerSpec) {
    let server = foreign.start().await;
    let mut scene = ForeignFixture::start(&server, |_| ()).await;
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
        let (told, why, shown, message) = request_error(&scene, request).await;
        assert_eq!((told, why, shown), (code, reason, Some(status)));
        assert_eq!(message, reason.message());
    }
    let (code, reason, status, _) = request_error(&scene, Request::get("/no-such-path")).await;
    assert_eq!((code, reason, status), (Code::NotFound, Reason::NotFound, Some(404)));
    let (code, reason, _, _) = request_error(&scene, Request::delete("/items")).await;
    if server.spec.is_node() {
        assert_eq!((code, reason), (Code::NotFound, Reason::NotFound), "Express knows no 405");
    } else {
        assert_eq!((code, reason), (Code::InvalidInput, Reason::MethodNotAllowed));
    }
    scene.mainstay.shutdown().await;
    scene.wait_for_event("runtime_stopped").await;
    assert_eq!((scene.count("request_failed"), scene.count("request_retry")), (9, 0));
}

against!(a_problem_document_speaks_to_the_person_where_it_can_be_shown: uvicorn, h11, node);
async fn a_problem_document_speaks_to_the_person_where_it_can_be_shown(foreign: ServerSpec) {
    let server = foreign.start().await;
    let scene = ForeignFixture::start(&server, |_| ()).await;
    let request = Request::get("/problem/409/plain");
    let (code, reason, _, message) = request_error(&scene, request).await;
    assert_eq!(
        (code, reason, message.as_str()),
        (Code::InvalidInput, Reason::Conflict, "The tray is empty.")
    );
    let request = Request::get("/problem/409/path");
    let (_, _, _, message) = request_error(&scene, request).await;
    assert_eq!(message, "Out of paper");
}

against!(a_missing_slash_is_redirected_and_the_body_goes_along: uvicorn, h11, node);
async fn a_missing_slash_is_redirected_and_the_body_goes_along(foreign: ServerSpec) {
    let server = foreign.start().await;
    let scene = ForeignFixture::start(&server, |_| ()).await;
    assert_eq!(scene.request_json(Request::get("/slash")).await, "behind the slash");
    let item = json!({ "name": "lamp", "size": 3 });
    assert_eq!(scene.request_json(Request::post("/slash").json(&item)).await, item);
}

against!(a_body_of_the_largest_size_arrives_whole: uvicorn, h11, node);
async fn a_body_of_the_largest_size_arrives_whole(foreign: ServerSpec) {
    let server = foreign.start().await;
    let scene = ForeignFixture::start(&server, |_| ()).await;
    let body: Vec<u8> = (0..16 << 20).map(|n: u32| n.to_le_bytes()[n as usize % 3]).collect();
    let here = scene.request_json(Request::post("/digest").body(body.clone())).await;
    assert_eq!(here["bytes"], 16 << 20);
    // What is sent twice has the same digest; an empty body another.
    assert_eq!(scene.request_json(Request::post("/digest").body(body)).await, here);
    assert_ne!(scene.request_json(Request::post("/digest").body("")).await["sha256"], here["sha256"]);
    let error = scene.request(Request::post("/items").json(&json!({}))).await.unwrap_err();
    assert_eq!(error.reason, Reason::Unprocessable);
}

against!(a_refusal_that_comes_before_the_body_was_taken_is_the_answer: uvicorn, h11, node);
async fn a_refusal_that_comes_before_the_body_was_taken_is_the_answer(foreign: ServerSpec) {
    let server = foreign.start().await;
    let scene = ForeignFixture::start(&server, |_| ()).await;
    // Far more than the buffers between here and there hold.
    let paths = if server.spec.is_node() { ["/too-large", "/limited"] } else { ["/too-large"; 2] };
    for (round, path) in paths.iter().cycle().take(6).enumerate() {
        let body = vec![b'x'; 16 << 20];
        let request = Request::post(*path).header("content-type", "application/json").body(body);
        let error = scene.request(request).await.unwrap_err();
        let told = (error.code, error.reason, error.status);
        assert_eq!(told, (Code::InvalidInput, Reason::RequestTooLarge, Some(413)), "{round}: {error:?}");
        // Whatever became of that connection, the next request is well.
        assert_eq!(scene.request_json(Request::get("/echo")).await["method"], "GET");
    }
}

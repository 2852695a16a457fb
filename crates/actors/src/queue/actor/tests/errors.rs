//! Tests that each cause of a failed request gives the error of its row in docs/conformance/errors.md. Each is
//! produced at a real server or in a real queue.

use std::{
    collections::{BTreeSet, VecDeque},
    io,
};

use bytes::Bytes;
use futures_util::stream;

use super::*;
use crate::{
    credentials::{CredentialError, Credentials},
    error::tests::words::assert_message_helps,
    network::{Route, proxy::Proxy},
    request::REQUEST_BODY_BYTES_MAX,
    tests::error_table::{CauseGroup, assert_all_seen, assert_row, find_row, status_row_text},
    transport::{COLLECTED_BYTES_MAX, crashing_server::numbered_tokens, raw_server::RawServer},
};

const LONG: Duration = Duration::from_secs(60);

/// The timeout of attempts that are meant to time out: their servers never answer, so no speed is assumed.
const SHORT: Duration = Duration::from_millis(50);

/// Returns a queue for this backend. A held request is not retried before its wait ends.
async fn queue(settings: &HttpSettings) -> (Runtime, QueueHandle) {
    let (runtime, queue, _) = start_over_http(settings, Delay::Fixed { delay: LONG }).await;
    (runtime, queue)
}

async fn failure(settings: &HttpSettings, request: RequestBuilder) -> Error {
    let (_runtime, queue) = queue(settings).await;
    queue.request(request.build().unwrap()).await.unwrap_err()
}

/// Returns the error of a request to a server that behaves like this on its first connection.
async fn failure_at(steps: Vec<ServerStep>, request: RequestBuilder) -> Error {
    let server = ScriptedServer::start([steps]).await;
    failure(&HttpSettings::new(server.url()), request).await
}

/// Returns a transport to a backend over TLS through this proxy.
fn settings_behind_proxy(proxy: &str) -> HttpSettings {
    let route = Route { proxy: Some(Proxy::parse(proxy).unwrap()), ..Route::default() };
    HttpSettings { route, ..HttpSettings::new("https://backend.example") }
}

fn bytes(text: &str) -> ServerStep {
    ServerStep::Send(text.into())
}

// === no response, or an unreadable one ===

/// A server's behaviour, once for each request, and the way to reach it.
struct FailureCase {
    row: &'static str,
    steps: Vec<ServerStep>,
    timeout: Duration,
    scheme: &'static str,
    connect_timeout: Duration,
}

impl FailureCase {
    async fn run(&self, request: RequestBuilder) -> Error {
        let mut server = ScriptedServer::start([self.steps.clone()]).await;
        let connect_timeout = self.connect_timeout;
        let url = server.url().replace("http:", self.scheme);
        let settings = HttpSettings { connect_timeout, ..HttpSettings::new(url) };
        let request = request.retries(0).timeout(self.timeout).wait_timeout(Duration::ZERO);
        let error = failure(&settings, request).await;
        if matches!(self.steps[0], Receive) {
            server.next_request().await;
        }
        error
    }
}

fn failure_cases() -> Vec<FailureCase> {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n";
    const CHUNKS: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let late = "the connection, proxy and TLS included, was not made in time";
    let tls = "TLS failed: a certificate that is not trusted, or no TLS there";
    let reset = "the connection broke before the response began";
    let cut = "the connection broke within the response";
    let large = "the response is larger than the limit";
    let garbage = "the response is not HTTP, or breaks its rules";
    let coded = "the response's body has a content coding that is not known";
    let silent = "the response did not begin within the timeout";
    let stalled = "the response began, then no part of it came within the timeout";
    let other = "the connection could not be made, for another cause";
    let case = |row, steps: &[ServerStep]| FailureCase {
        row,
        steps: steps.to_vec(),
        timeout: LONG,
        scheme: "http:",
        connect_timeout: LONG,
    };
    let over_tls = |row, steps: &[ServerStep]| FailureCase { scheme: "https:", ..case(row, steps) };
    let hurried = |case| FailureCase { timeout: SHORT, ..case };
    let too_many = COLLECTED_BYTES_MAX + 1;
    let answers = |row, text: &str| case(row, &[Receive, bytes(text), Hold]);
    let breaks_off = |row, text: &str, end| case(row, &[Receive, bytes(text), end]);
    let begun = format!("{HEAD}half");
    vec![
        FailureCase { connect_timeout: SHORT, ..over_tls(late, &[Hold]) },
        hurried(over_tls(late, &[Hold])),
        over_tls(tls, &[bytes("HTTP/1.1 400 Bad Request\r\n\r\n"), Hold]),
        over_tls(other, &[Close]),
        hurried(case(silent, &[Receive, Hold])),
        hurried(answers(stalled, &begun)),
        case(reset, &[Receive, ServerStep::Reset]),
        case(reset, &[Receive, Close]),
        breaks_off(reset, "HTTP/1.1 200 OK\r\ncontent-le", ServerStep::Reset),
        breaks_off(reset, "HTTP/1.1 200 OK\r\ncontent-le", Close),
        breaks_off(cut, &begun, Close),
        breaks_off(cut, &format!("{CHUNKS}4\r\nhalf\r\n"), Close),
        // A caller cannot tell it from an end before the response, which a reset may cause as well.
        breaks_off(cut, &begun, ServerStep::Reset),
        answers(large, &HEAD.replace("10", &too_many.to_string())),
        answers(large, &format!("{CHUNKS}{too_many:x}\r\n{}\r\n", "x".repeat(too_many))),
        answers(
            coded,
            "HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 4\r\n\r\n\u{1}\u{2}\u{3}\u{4}",
        ),
        answers(garbage, "\u{1}\u{2}garbage\r\n\r\n"),
        answers(garbage, "SSH-2.0-OpenSSH_9.9\r\n"),
        answers(garbage, "HTTP/1.1 200 OK\r\ncontent-length: ten\r\n\r\n"),
        answers(garbage, &format!("{CHUNKS}zz\r\n")),
    ]
}

#[tokio::test]
async fn attempt_failure_gives_the_documented_error() {
    let mut seen = BTreeSet::new();
    for case in failure_cases() {
        let what = case.row;
        let error = case.run(get("/thing?q=x")).await;
        assert_row(CauseGroup::Transport, what, &error);
        // An attempt that could not connect has sent nothing and does not count.
        assert_eq!(error.attempts, u32::from(error.reason != Reason::Disconnected), "{what}");
        assert!(!error.log_text().contains("127.0.0.1"), "{error:?}");
        seen.insert(what);

        // A repeat could act twice, so the outcome is unknown if the server may have acted.
        let error = case.run(post("/thing").body("payload")).await;
        match find_row(CauseGroup::Transport, what).acted {
            Some("no" | "it did" | "on a part of it at most") => {
                assert_row(CauseGroup::Transport, what, &error)
            }
            _ => {
                assert_eq!(error.reason, Reason::OutcomeUnknown, "{what}");
                assert_eq!(error.code, find_row(CauseGroup::Transport, what).error.code, "{what}");
                assert!(!error.retryable, "{what}");
            }
        }
    }

    let refused = "nothing listens at the backend's address";
    let unresolved = "the backend's host name does not resolve";
    let server = ScriptedServer::start([]).await;
    let down = server.url();
    server.stop().await;
    let nowhere = HttpSettings::new(unresolvable_url());
    let no_proxy = "the proxy cannot be reached, or the server at its address is no proxy";
    for (what, settings, reason) in [
        (refused, HttpSettings::new(&down), Reason::ConnectionRefused),
        (unresolved, nowhere, Reason::HostNotFound),
        (no_proxy, settings_behind_proxy(&down), Reason::ProxyUnreachable),
    ] {
        for request in [get("/thing"), post("/thing").body("payload")] {
            let error = failure(&settings, request.wait_timeout(Duration::ZERO)).await;
            assert_row(CauseGroup::Transport, what, &error);
            assert_eq!(error.attempts, 0);
            assert_eq!(error.details.unwrap(), format!("the last attempt failed: {reason}"));
        }
        seen.insert(what);
    }
    let no_login = "the proxy needs a login, or rejects the given one";
    let no_way = "the proxy does not reach the backend";
    for (what, status) in [(no_login, 407), (no_way, 403), (no_way, 502)] {
        for request in [get("/thing"), post("/thing").body("payload")] {
            let answer = bytes(&format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n"));
            let proxy = ScriptedServer::start([vec![Receive, answer]]).await;
            let request = request.retries(0).wait_timeout(Duration::ZERO);
            let error = failure(&settings_behind_proxy(&proxy.url()), request).await;
            assert_row(CauseGroup::Transport, what, &error);
        }
        seen.insert(what);
    }
    let denied = "the proxy says that it may not connect to the backend, or not to such an address";
    let proxy = RawServer::start(|_, mut wire| async move {
        wire.read_some().await;
        wire.send([5, 0]).await;
        wire.read_some().await;
        wire.send([5, 2, 0, 1, 0, 0, 0, 0, 0, 0]).await;
    })
    .await;
    let way = settings_behind_proxy(&proxy.url().replace("http", "socks5h"));
    let error = failure(&way, get("/thing").retries(0)).await;
    assert_row(CauseGroup::Transport, denied, &error);
    seen.insert(denied);
    let unreadable = "the request's body could not be read to its end";
    let changed =
        "the request's body changed while it was sent, or its length differs from the announced one";
    let missing = tempfile::tempdir().unwrap().path().join("missing");
    let breaks = || stream::iter([Ok(Bytes::from_static(b"half")), Err(io::Error::other("gone"))]);
    let short = || stream::iter([Ok(Bytes::from_static(b"half"))]);
    for (what, request) in [
        (unreadable, post("/thing").file(missing)),
        (unreadable, post("/thing").body_stream(None, breaks)),
        (changed, post("/thing").body_stream(Some(8), short)),
    ] {
        let error = failure_at(vec![Hold], request).await;
        assert_row(CauseGroup::Transport, what, &error);
        seen.insert(what);
    }
    let no_token = "the source of the token fails: its file, command or callback";
    let credentials = Credentials::from_callback(|_| async { Err(CredentialError("gone".to_owned())) });
    let settings = HttpSettings { credentials, ..HttpSettings::new(unresolvable_url()) };
    for request in [get("/thing"), post("/thing").body("payload")] {
        assert_row(CauseGroup::Transport, no_token, &failure(&settings, request).await);
    }
    seen.insert(no_token);
    let renewed = "HTTP 401, and the source of the token gives another one";
    for request in [get("/thing"), post("/thing").body("payload")] {
        let server =
            ScriptedServer::start([vec![Receive, bytes("HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n")]])
                .await;
        let settings = HttpSettings { credentials: numbered_tokens(true), ..HttpSettings::new(server.url()) };
        assert_row(CauseGroup::Transport, renewed, &failure(&settings, request.retries(0)).await);
    }
    seen.insert(renewed);
    // No valid request leads there, so this tests the transport's own check.
    seen.insert("the request could not be made into HTTP");
    assert_all_seen(CauseGroup::Transport, &seen);
}

#[tokio::test]
async fn lost_error_response_gives_the_error_of_its_status() {
    let start = "HTTP/1.1 403 Forbidden\r\ncontent-length: 10\r\n\r\nhalf";
    let error = failure_at(vec![Receive, bytes(start), Close], post("/x")).await;
    assert_row(CauseGroup::Status, status_row_text(CauseGroup::Status, 403), &error);
    assert_eq!(error.status, Some(403));
}

// === responses ===

#[tokio::test]
async fn status_gives_the_documented_error() {
    let failing: Vec<u16> = (300..=599).filter(|status| *status != 304).collect();
    let answer = |status: &u16| {
        let head = format!("HTTP/1.1 {status} Status\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        vec![Receive, bytes(&head)]
    };
    for method in [http::Method::GET, http::Method::POST] {
        let mut server = ScriptedServer::start(failing.iter().map(answer).collect::<VecDeque<_>>()).await;
        let (_runtime, queue) = queue(&HttpSettings::new(server.url())).await;
        for status in &failing {
            let request = Request::builder(method.clone(), "/thing").retries(0).build().unwrap();
            let error = queue.request(request).await.unwrap_err();
            server.next_request().await;
            assert_eq!(error.status, Some(*status));
            let what = status_row_text(CauseGroup::Status, *status);
            let row = find_row(CauseGroup::Status, what);
            if method == http::Method::POST && row.acted == Some("yes") {
                assert_eq!((error.code, error.reason), (row.error.code, Reason::OutcomeUnknown), "{status}");
            } else {
                assert_row(CauseGroup::Status, what, &error);
            }
        }
        assert_eq!(server.connections(), failing.len());
    }
}

/// Returns the error for a 409 with this body.
async fn conflict(content_type: &str, body: &str) -> Error {
    let head =
        format!("HTTP/1.1 409 Conflict\r\ncontent-type: {content_type}\r\ncontent-length: {}", body.len());
    let answer = bytes(&format!("{head}\r\n\r\n{body}"));
    let error = failure_at(vec![Receive, answer], get("/thing")).await;
    assert_eq!((error.reason, error.status, error.retryable), (Reason::Conflict, Some(409), false));
    let details = error.details.as_deref().unwrap();
    assert!(details.chars().count() <= 1001 && !details.contains(char::is_control), "{details}");
    error
}

#[tokio::test]
async fn plain_problem_document_becomes_the_message() {
    const KIND: &str = "application/problem+json";
    for (kind, body, message) in [
        (KIND, r#"{"title":"Busy","detail":"The agent is busy. Wait."}"#, "The agent is busy. Wait."),
        ("Application/Problem+JSON; charset=utf-8", r#"{"title":"It is busy."}"#, "It is busy."),
        (KIND, r#"{"title":"It is locked.","detail":"see /var/lock"}"#, "It is locked."),
        (KIND, r#"{"title":"It is locked.","detail":{"deep":1}}"#, "It is locked."),
    ] {
        assert_eq!(conflict(kind, body).await.message, message, "{kind} {body}");
    }
}

#[tokio::test]
async fn hostile_problem_document_is_hidden_and_cut_in_the_log() {
    let deep = format!("{}1{}", r#"{"detail":"#.repeat(5000), "}".repeat(5000));
    let long = format!(r#"{{"title":"{0}","detail":"{0}"}}"#, "long ".repeat(100_000));
    for body in [
        r#"{"detail":"ask http://internal.example/?token=1"}"#,
        r#"{"detail":"<transport>alert(1)</transport>","title":"C:\\Users\\me"}"#,
        r#"{"detail":"key sk4f9a8b7c1d was refused"}"#,
        r#"{"detail":"right\u202eto left","title":"two\nlines"}"#,
        r#"{"detail":"\u001b[2J\u0007"}"#,
        r#"{"detail":null,"title":7,"type":[]}"#,
        r#"["detail"]"#,
        r#"{"detail":"cut"#,
        "",
        &deep,
        &long,
    ] {
        let error = conflict("application/problem+json", body).await;
        assert_eq!(error.message, Reason::Conflict.message(), "{body:.100}");
    }
    let plain = conflict("application/json", r#"{"detail":"The agent is busy."}"#).await;
    assert_eq!(plain.message, Reason::Conflict.message(), "it is no problem document");
    assert!(plain.log_text().contains("The agent is busy."));
}

#[tokio::test]
async fn cross_origin_redirect_is_an_error() {
    let other = ScriptedServer::start([vec![Receive, ok_response("stolen")]]).await;
    let moved = format!("HTTP/1.1 302 Found\r\nlocation: {}/x\r\ncontent-length: 0\r\n\r\n", other.url());
    let error = failure_at(vec![Receive, bytes(&moved)], get("/thing")).await;
    assert_row(CauseGroup::Status, status_row_text(CauseGroup::Status, 302), &error);
    assert_eq!(other.connections(), 0);
}

// === the queue itself ===

async fn answered(transport: &str) -> Response {
    let server = ScriptedServer::start([vec![Receive, ok_response(transport)]]).await;
    let (_runtime, queue) = queue(&HttpSettings::new(server.url())).await;
    queue.request(get("/thing").build().unwrap()).await.unwrap()
}

#[tokio::test]
async fn unexpected_body_gives_its_error_with_an_excerpt() {
    let what = "`Response::json`: the body is not JSON, or of another shape";
    let cases = ["<html>maintenance</html>", r#"{"a":"text"}"#, ""];
    for body in cases {
        let error = answered(body).await.json::<std::collections::HashMap<String, u8>>().unwrap_err();
        assert_row(CauseGroup::Queue, what, &error);
        assert_eq!((error.status, error.attempts), (Some(200), 1));
        assert!(error.log_text().contains(body), "{error:?}");
    }
}

#[test]
fn invalid_request_fails_with_the_documented_error() {
    let rule = "the request breaks a rule of its own (a method, path, header or limit)";
    let limit = "the request is larger than the runtime's own limits";
    for (what, request) in [
        (rule, get("no-slash")),
        (rule, get("/../up")),
        (rule, get("/").header("host", "other")),
        (rule, get("/").timeout(Duration::ZERO)),
        (rule, Request::builder(http::Method::TRACE, "/")),
        (limit, post("/").body(vec![0; REQUEST_BODY_BYTES_MAX + 1])),
        (limit, get("/").header("x-long", &"x".repeat(20_000))),
        (limit, get(&format!("/{}", "x".repeat(10_000)))),
    ] {
        assert_row(CauseGroup::Queue, what, &request.build().unwrap_err());
    }
}

/// Returns a queue with one request that never ends and room for one that waits.
async fn busy_queue(overflow: Overflow) -> (QueueFixture, impl Future<Output = Result<Response, Error>>) {
    let lanes = PriorityQueuePolicy { queue_max: 1, overflow, age_after: s(1000) };
    let fixture = QueueFixture::start(QueuePolicy { queue: lanes, ..policy() }).await;
    fixture.on("/hang", [Hang]);
    let running = fixture.request(post("/hang").timeout(s(3600)).retries(0));
    run_until_idle().await;
    (fixture, running)
}

#[tokio::test(start_paused = true)]
async fn queue_outcome_gives_the_documented_error() {
    let mut seen = BTreeSet::from([
        // See the tests above.
        "`Response::json`: the body is not JSON, or of another shape",
        "the request breaks a rule of its own (a method, path, header or limit)",
        "the request is larger than the runtime's own limits",
        "`Download::save_to`: the file cannot be written",
    ]);
    let mut check = |what: &'static str, answer: Result<Response, Error>| {
        let error = answer.unwrap_err();
        assert_row(CauseGroup::Queue, what, &error);
        assert!(error.request_id.is_some());
        seen.insert(what);
    };

    let (fixture, _running) = busy_queue(Overflow::Reject).await;
    let waiting = fixture.request(get("/waits").wait_timeout(s(5)));
    run_until_idle().await;
    check("the queue is full, and overflow is `reject`", fixture.request(get("/late")).await);
    check("it waited longer than wait_timeout for its turn", waiting.await);
    let (id, cancelled) = fixture.submit(get("/unwanted"));
    assert_eq!(fixture.queue.cancel(id).await, Ok(true));
    check("its caller cancelled it, or dropped it", cancelled.await);
    let overdue = fixture.request(get("/overdue").deadline(s(5)));
    check("it took longer than its deadline in all", overdue.await);
    let stopped = fixture.request(get("/stopped"));
    run_until_idle().await;
    fixture.runtime.shutdown().await;
    check("the queue's actor was stopped before it was sent", stopped.await);

    let (fixture, running) = busy_queue(Overflow::DropOldest).await;
    let old = fixture.request(get("/old"));
    let _new = fixture.request(get("/new"));
    check("it was evicted for another (`drop-oldest`, `drop-lowest`)", old.await);
    let twice =
        "the server may have acted, and a repeat could act twice: a POST or PATCH without an idempotency key";
    check(twice, running.await);

    let fixture = with_plan("/panics", [Panic]).await;
    let what = "the queue's actor or the transport crashed during its last attempt";
    check(what, fixture.request(get("/panics").retries(0)).await);
    fixture.on("/crashes", [Hang]);
    let crashed = fixture.request(get("/crashes").retries(0));
    run_until_idle().await;
    fixture.crash().await;
    check(what, crashed.await);

    fixture.on("/hang", [Hang]);
    fixture.on("/busy", [Respond(503)]);
    let put_off = fixture.request(get("/busy").wait_timeout(s(2)));
    run_until_idle().await;
    let _running = fixture.request(post("/hang").timeout(s(3600)));
    advance_time(s(10)).await;
    check("it waited longer than wait_timeout for its next attempt", put_off.await);

    let fixture = QueueFixture::start(policy()).await;
    fixture.transport.refuse_all(true);
    let _first = fixture.request(get("/first"));
    run_until_idle().await;
    let held = fixture.request(get("/held").wait_timeout(s(2))).await;
    check("it waited longer than wait_timeout for an unreachable backend, or for the connection", held);

    let fixture = with_plan("/kill", [Reset, Refuse, Reset, Refuse]).await;
    check(
        "the backend died twice while it had the request: the connection broke, and it had ended",
        fixture.request(get("/kill")).await,
    );
    assert_all_seen(CauseGroup::Queue, &seen);
}

#[tokio::test(start_paused = true)]
async fn post_that_may_have_arrived_ends_as_unknown_for_every_cause() {
    for (response, code) in [
        (Hang, Code::Timeout),
        (Reset, Code::NetworkError),
        (Respond(500), Code::ServerError),
        (Respond(504), Code::Timeout),
        (Respond(408), Code::Timeout),
        (Panic, Code::ServerError),
    ] {
        let fixture = with_plan("/pay", [response.clone()]).await;
        let (id, answer) = fixture.submit(post("/pay"));
        let error = answer.await.unwrap_err();
        assert_eq!((error.code, error.reason), (code, Reason::OutcomeUnknown), "{response:?}");
        let shown = (error.retryable, error.attempts, error.request_id);
        assert_eq!(shown, (false, 1, Some(id)), "{response:?}");
        assert_message_helps(&error.message);
        advance_time(s(600)).await;
        assert_eq!(fixture.transport.paths(), ["/pay"], "{response:?}");
        assert_eq!(fixture.event_kinds_of(id).await.len(), 1, "{response:?}");
        assert!(fixture.transport.violations().is_empty(), "{response:?}");
    }
}

//! Tests the transport against real servers on the loopback, each with a script of its own.

pub(crate) mod crashing_server;
pub(crate) mod raw_server;
pub(crate) mod scripted_server;
mod uploads;

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use url::Url;

use self::{
    crashing_server::numbered_tokens,
    scripted_server::{
        ScriptedServer,
        ServerStep::{self, AwaitClose, Close, Hold, Receive, Rendezvous, StopListening},
        ok_response,
    },
};
use super::{
    upload::{EmptyBody, Upload},
    *,
};
use crate::{
    error::{Code, Secrets, tests::words::assert_message_helps},
    request::ProgressSender,
};
use SendProgress::{Answered, MaybeSent, NotSent};

const LONG: Duration = Duration::from_secs(60);

/// Short, for attempts that are to time out: the servers there never answer, so no speed is assumed.
const SHORT: Duration = Duration::from_millis(50);

fn transport(server: &ScriptedServer) -> HttpTransport {
    HttpTransport::new(&HttpSettings::new(server.url())).unwrap()
}

fn get() -> Request {
    Request::get("/thing?x=1").build().unwrap()
}

fn post() -> Request {
    Request::post("/thing").json(&serde_json::json!({"do": "it"})).build().unwrap()
}

async fn send_failure(transport: &HttpTransport, request: &Request, timeout: Duration) -> TransportError {
    transport.collect(request, timeout).await.unwrap_err()
}

#[tokio::test]
async fn answer_comes_back_with_status_headers_and_body() {
    for (status, body) in [(200, "hello"), (503, "busy")] {
        let head = format!("HTTP/1.1 {status} S\r\nretry-after: 2\r\ncontent-length: {}\r\n", body.len());
        let reply = ServerStep::Send(format!("{head}\r\n{body}").into());
        let mut server = ScriptedServer::start([vec![Receive, reply]]).await;
        let answer = transport(&server).collect(&get(), LONG).await.unwrap();
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (status, body.as_bytes()));
        assert_eq!(answer.headers["retry-after"], "2", "{status}");
        let received = server.next_request().await;
        assert!(received.starts_with("GET /thing?x=1 HTTP/1.1\r\n"), "{received}");
    }
}

#[tokio::test]
async fn headers_token_key_and_body_arrive_as_they_were_given() {
    let mut server =
        ScriptedServer::start([vec![Receive, ok_response("")], vec![Receive, ok_response("")]]).await;
    let mut settings = HttpSettings::new(server.url());
    settings.credentials = Credentials::fixed("sesame");
    settings.headers.insert("x-app", HeaderValue::from_static("default"));
    assert!(!format!("{settings:?}").contains("sesame"));
    let transport = HttpTransport::new(&settings).unwrap();

    let request =
        Request::post("/a").body("payload").header("X-App", "own").idempotency_key("k-1").build().unwrap();
    transport.collect(&request, LONG).await.unwrap();
    let received = server.next_request().await.to_lowercase();
    for line in ["authorization: bearer sesame", "x-app: own", "idempotency-key: k-1", "content-length: 7"] {
        assert!(received.contains(&format!("\r\n{line}\r\n")), "{line} is missing in {received}");
    }
    assert!(!received.contains("default") && !received.contains("chunked"));
    assert!(received.ends_with("\r\n\r\npayload"));
}

#[tokio::test]
async fn request_that_could_have_a_body_and_has_none_says_so() {
    let requests = [Request::post("/a"), Request::put("/a"), Request::builder(Method::PATCH, "/a")];
    let others = [Request::get("/a"), Request::delete("/a"), Request::builder(Method::OPTIONS, "/a")];
    let exchange = [Receive, ok_response("")];
    let exchanges = exchange.iter().cycle().take(2 * (requests.len() + others.len()));
    let mut server = ScriptedServer::start([exchanges.cloned().collect()]).await;
    let transport = transport(&server);
    for (request, has_length) in requests.map(|it| (it, true)).into_iter().chain(others.map(|it| (it, false)))
    {
        transport.collect(&request.build().unwrap(), LONG).await.unwrap();
        let received = server.next_request().await.to_lowercase();
        assert_eq!(received.contains("\r\ncontent-length: 0\r\n"), has_length, "{received}");
    }
}

/// Returns a response with this coding, body and further header.
fn coded(coding: &str, body: &[u8]) -> ServerStep {
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: {}\r\n\r\n", body.len());
    ServerStep::Send([head.as_bytes(), body].concat())
}

/// The text `hello` in both codings.
const GZIP_HELLO: &[u8] =
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcb\x48\xcd\xc9\xc9\x07\x00\x86\xa6\x10\x36\x05\x00\x00\x00";
const DEFLATE_HELLO: &[u8] = b"\x78\x9c\xcb\x48\xcd\xc9\xc9\x07\x00\x06\x2c\x02\x15";

#[tokio::test]
async fn packed_response_is_unpacked_although_none_was_asked_for() {
    for (coding, body) in [("gzip", GZIP_HELLO), ("deflate", DEFLATE_HELLO), ("identity", b"hello")] {
        let mut server = ScriptedServer::start([vec![Receive, coded(coding, body)]]).await;
        let answer = transport(&server).collect(&get(), LONG).await.unwrap();
        assert_eq!(&answer.body[..], b"hello", "{coding}");
        let received = server.next_request().await.to_lowercase();
        assert!(received.contains("\r\naccept-encoding: identity\r\n"), "{received}");
    }
}

#[tokio::test]
async fn unknown_or_broken_packing_is_an_error() {
    let rows: [(_, &[u8], _); 5] = [
        ("br", b"....", FailureKind::UnknownEncoding),
        ("zstd", b"....", FailureKind::UnknownEncoding),
        ("gzip, br", b"....", FailureKind::UnknownEncoding),
        ("gzip", b"no gzip at all", FailureKind::BadResponse),
        ("gzip", &GZIP_HELLO[..15], FailureKind::BadResponse),
    ];
    for (coding, body, kind) in rows {
        let server = ScriptedServer::start([vec![Receive, coded(coding, body), Hold]]).await;
        let failure = send_failure(&transport(&server), &get(), LONG).await;
        assert_eq!((failure.kind, failure.status()), (kind, Some(200)), "{coding}: {failure}");
        let is_unknown = Error::from(&failure).reason == Reason::UnknownEncoding;
        assert_eq!(is_unknown, kind == FailureKind::UnknownEncoding, "{coding}");
    }
    // Who names a coding gets it; and a response without a body has none to unpack.
    let asked = Request::get("/a").header("accept-encoding", "br").build().unwrap();
    let server = ScriptedServer::start([vec![Receive, coded("br", b"....")]]).await;
    assert_eq!(transport(&server).collect(&asked, LONG).await.unwrap().body, "....");
    for coding in ["br", "gzip"] {
        let head = Request::builder(Method::HEAD, "/a").build().unwrap();
        let server = ScriptedServer::start([vec![Receive, coded(coding, b"")]]).await;
        assert_eq!(transport(&server).collect(&head, LONG).await.unwrap().body, "", "{coding}");
    }
}

#[tokio::test]
async fn large_body_arrives_whole() {
    let mut server = ScriptedServer::start([vec![Receive, ok_response("")]]).await;
    let body = "0123456789abcdef".repeat(40_000);
    let request = Request::put("/a").body(body.clone()).build().unwrap();
    transport(&server).collect(&request, LONG).await.unwrap();
    assert!(server.next_request().await.ends_with(&body));
}

#[test]
fn request_url_equals_the_parsed_whole() {
    for base in ["http://localhost:8000", "https://a.test", "http://[::1]:9/prefix/", "http://a.test/a/b"] {
        let transport = HttpTransport::new(&HttpSettings::new(base)).unwrap();
        for path in
            ["/", "/a/b", "/a/?", "/a?x=1&y=/../b?z", "/@host/x", "/a:80//b", "/caf%C3%A9?q='%20'", "/?//"]
        {
            let request = Request::get(path).build().unwrap();
            let whole = Url::parse(&format!("{}{path}", base.trim_end_matches('/'))).unwrap();
            assert_eq!(transport.first_request(&request, None).unwrap().url, whole, "{base} and {path}");
        }
    }
}

#[tokio::test]
async fn failed_attempt_tells_its_kind_and_progress() {
    use FailureKind::*;
    let send = |text: &str| ServerStep::Send(text.into());
    let no_tls = "HTTP/1.1 400 Bad Request\r\n\r\n";
    let begun = "HTTP/1.1 200 OK\r\ncontent-le";
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
    let chunk = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
    let rows = [
        ("https:", SHORT, vec![Hold], ConnectTimedOut, NotSent, Code::Timeout),
        ("https:", LONG, vec![send(no_tls), Hold], Tls, NotSent, Code::NetworkError),
        ("http:", SHORT, vec![Receive, Hold], TimedOut, MaybeSent, Code::Timeout),
        ("http:", LONG, vec![Receive, ServerStep::Reset], Reset, MaybeSent, Code::NetworkError),
        ("http:", LONG, vec![Receive, send(begun), ServerStep::Reset], Reset, MaybeSent, Code::NetworkError),
        ("http:", SHORT, vec![Receive, send(half), Hold], BodyTimedOut, Answered, Code::Timeout),
        (
            "http:",
            LONG,
            vec![Receive, send("\u{1}garbage\r\n\r\n"), Hold],
            BadResponse,
            MaybeSent,
            Code::ServerError,
        ),
        ("http:", LONG, vec![Receive, send(chunk), Hold], BadResponse, Answered, Code::ServerError),
    ];
    for (scheme, timeout, steps, kind, progress, code) in rows {
        let bare = [Request::post("/a"), Request::delete("/a")].map(|request| request.build().unwrap());
        for request in [get(), post()].into_iter().chain(bare) {
            let server = ScriptedServer::start([steps.clone()]).await;
            let settings = HttpSettings::new(server.url().replace("http:", scheme));
            let failure = send_failure(&HttpTransport::new(&settings).unwrap(), &request, timeout).await;
            let what = format!("{steps:?} for {request:?}: {failure}");
            assert_eq!((failure.kind, failure.progress), (kind, progress), "{what}");
            assert_eq!(Error::from(&failure).code, code, "{what}");
            assert!(!failure.details.contains("127.0.0.1"), "{what}");
        }
    }
}

#[tokio::test]
async fn stalled_request_body_is_no_connect_timeout() {
    let server = ScriptedServer::start([vec![Hold]]).await;
    let source = || futures_util::stream::pending::<std::io::Result<Bytes>>();
    let request = Request::put("/a").body_stream(Some(1), source).build().unwrap();
    let failure = send_failure(&transport(&server), &request, SHORT).await;
    assert_eq!((failure.kind, failure.progress), (FailureKind::TimedOut, NotSent));
}

#[tokio::test]
async fn connection_lost_in_body_is_body_reset() {
    let start = "HTTP/1.1 201 Created\r\ncontent-length: 10\r\n\r\nhalf";
    for end in [Close, ServerStep::Reset] {
        let resets = matches!(end, ServerStep::Reset);
        let server = ScriptedServer::start([vec![Receive, ServerStep::Send(start.into()), end]]).await;
        let failure = send_failure(&transport(&server), &post(), LONG).await;
        assert_eq!(Error::from(&failure).code, Code::NetworkError);
        // A reset may discard bytes that the client had not read yet, the head included.
        if resets && failure.head.is_none() {
            assert_eq!((failure.kind, failure.progress), (FailureKind::Reset, MaybeSent));
        } else {
            assert_eq!((failure.kind, failure.progress), (FailureKind::BodyReset, Answered));
            assert_eq!(failure.status(), Some(201));
        }
    }
}

#[tokio::test]
async fn stale_idle_connection_fails_no_request() {
    let first = vec![Receive, ok_response("1"), Close];
    let server = ScriptedServer::start([first, vec![Receive, ok_response("2")]]).await;
    let transport = transport(&server);
    assert_eq!(transport.collect(&get(), LONG).await.unwrap().body, "1");
    server.wait_closed(0).await;
    assert_eq!(transport.collect(&get(), LONG).await.unwrap().body, "2");
}

#[tokio::test]
async fn request_on_a_kept_connection_that_breaks_is_sent_once() {
    // The server takes the second request and closes: to the client this is the lost race with an idle timeout.
    for request in [get(), post()] {
        let first = vec![Receive, ok_response("1"), Receive, ServerStep::Reset];
        let mut server = ScriptedServer::start([first, vec![Receive, ok_response("2")]]).await;
        let transport = transport(&server);
        assert_eq!(transport.collect(&get(), LONG).await.unwrap().body, "1");
        let failure = send_failure(&transport, &request, LONG).await;
        assert_eq!((failure.kind, failure.progress), (FailureKind::Reset, MaybeSent));
        assert!(failure.is_on_kept_connection);
        assert_eq!(server.connections(), 1);
        // The transport does not decide about a repeat. A repeat gets no other connection of that time.
        assert_eq!(transport.collect(&request, LONG).await.unwrap().body, "2");
        for _ in 0..3 {
            server.next_request().await;
        }
    }
}

#[tokio::test]
async fn after_one_stale_connection_the_others_are_not_used() {
    let stale = || vec![Receive, Rendezvous, ok_response("1"), Receive, Close];
    let server = ScriptedServer::start([stale(), stale(), vec![Receive, ok_response("2")]]).await;
    let transport = transport(&server);
    let (request, other) = (get(), get());
    let both = futures_util::future::join(transport.collect(&request, LONG), transport.collect(&other, LONG));
    let (one, two) = both.await;
    assert!(one.is_ok() && two.is_ok());
    assert!(send_failure(&transport, &request, LONG).await.is_on_kept_connection);
    assert_eq!(transport.collect(&request, LONG).await.unwrap().body, "2");
}

#[tokio::test]
async fn redirected_post_continues_on_a_new_connection() {
    let moved = "HTTP/1.1 307 Temporary Redirect\r\nlocation: /done\r\ncontent-length: 0\r\n\r\n";
    let kept = || vec![Receive, ServerStep::Send(moved.into()), Receive, ok_response("kept")];
    let server = ScriptedServer::start([kept(), vec![Receive, ok_response("new")]]).await;
    let moved = transport(&server).collect(&post(), LONG).await.unwrap();
    assert_eq!((&moved.body[..], moved.is_redirected), (&b"new"[..], true));
    let server = ScriptedServer::start([kept()]).await;
    assert_eq!(transport(&server).collect(&get(), LONG).await.unwrap().body, "kept");
}

#[tokio::test]
async fn single_chance_after_a_failure_uses_a_new_connection() {
    let failed = || ServerStep::Send("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n".into());
    let kept = vec![Receive, failed(), Receive, ok_response("kept")];
    let new = || vec![Receive, ok_response("new")];
    let server = ScriptedServer::start([kept, new(), new(), new()]).await;
    let transport = transport(&server);
    assert_eq!(transport.collect(&get(), LONG).await.unwrap().status.as_u16(), 500);
    let once = Request::get("/a").retries(0).build().unwrap();
    for request in [post(), Request::put("/a").build().unwrap(), once] {
        assert_eq!(transport.collect(&request, LONG).await.unwrap().body, "new");
    }
    assert_eq!(transport.collect(&get(), LONG).await.unwrap().body, "kept");
}

#[tokio::test]
async fn backend_that_breaks_every_connection_is_not_excused() {
    let breaks = || vec![Receive, Close];
    let server = ScriptedServer::start([breaks(), breaks(), breaks()]).await;
    let transport = transport(&server);
    for connections in [1, 2, 3] {
        let failure = send_failure(&transport, &get(), LONG).await;
        assert_eq!((failure.kind, failure.is_on_kept_connection), (FailureKind::Reset, false));
        assert_eq!(server.connections(), connections);
    }
}

#[tokio::test]
async fn same_origin_redirect_keeps_method_body_and_token() {
    let moved = "HTTP/1.1 307 Temporary Redirect\r\nlocation: /thing/\r\ncontent-length: 0\r\n\r\n";
    let mut server = ScriptedServer::start([
        vec![Receive, ServerStep::Send(moved.into())],
        vec![Receive, ok_response("there")],
    ])
    .await;
    let mut settings = HttpSettings::new(server.url());
    settings.credentials = Credentials::fixed("sesame");
    let answer = HttpTransport::new(&settings).unwrap().collect(&post(), LONG).await.unwrap();
    assert_eq!(answer.body, "there");
    server.next_request().await;
    let second = server.next_request().await;
    assert!(second.starts_with("POST /thing/ ") && second.ends_with(r#"{"do":"it"}"#), "{second}");
    assert!(second.contains("Bearer sesame"));
}

#[tokio::test]
async fn rejected_token_is_renewed_and_nothing_is_sent_again() {
    let no = ServerStep::Send("HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n".into());
    let scripts = || [vec![Receive, no.clone()], vec![Receive, ok_response("in")]];
    let to = |server: &ScriptedServer, renews| {
        let settings =
            HttpSettings { credentials: numbered_tokens(renews), ..HttpSettings::new(server.url()) };
        HttpTransport::new(&settings).unwrap()
    };
    let server = ScriptedServer::start(scripts()).await;
    let answer = to(&server, false).collect(&post(), LONG).await.unwrap();
    assert_eq!((answer.status.as_u16(), server.connections()), (401, 1));

    let mut server = ScriptedServer::start(scripts()).await;
    let transport = to(&server, true);
    let failure = send_failure(&transport, &post(), LONG).await;
    assert_eq!((failure.kind, failure.progress), (FailureKind::TokenRenewed, Answered));
    assert_eq!((failure.status(), server.connections()), (Some(401), 1));
    assert_eq!(transport.secrets().redact("token-0 token-1"), "[redacted] [redacted]");
    // It takes a new connection: a server may close one on which it has not read the body.
    assert_eq!(transport.collect(&post(), LONG).await.unwrap().body, "in");
    for token in ["token-0", "token-1"] {
        assert!(server.next_request().await.contains(&format!("Bearer {token}")));
    }
}

/// A write that was redirected to a read has had its effect, whatever becomes of the read.
#[tokio::test]
async fn rejected_read_after_a_write_is_not_reported_as_renewed() {
    let steps = ["303 See Other\r\nlocation: /done", "401 No"]
        .map(|status| format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"))
        .map(|answer| vec![Receive, ServerStep::Send(answer.into())]);
    let server = ScriptedServer::start(steps).await;
    let settings = HttpSettings { credentials: numbered_tokens(true), ..HttpSettings::new(server.url()) };
    let request = Request::post("/thing").body("x").follow_redirected_writes().build().unwrap();
    let answer = HttpTransport::new(&settings).unwrap().collect(&request, LONG).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.is_redirected), (401, true));
}

#[tokio::test]
async fn token_of_the_request_itself_is_not_replaced() {
    let no = ServerStep::Send("HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n".into());
    let mut server = ScriptedServer::start([vec![Receive, no]]).await;
    let settings =
        HttpSettings { credentials: Credentials::fixed("ours"), ..HttpSettings::new(server.url()) };
    let request = Request::get("/a").header("Authorization", "Basic own").build().unwrap();
    let answer = HttpTransport::new(&settings).unwrap().collect(&request, LONG).await.unwrap();
    assert_eq!(answer.status, 401);
    let received = server.next_request().await;
    assert!(received.contains("Basic own") && !received.contains("ours"), "{received}");
}

#[tokio::test]
async fn redirected_write_becomes_a_read_only_if_allowed() {
    let moved = "HTTP/1.1 303 See Other\r\nlocation: /done?token=x\r\ncontent-length: 0\r\n\r\n";
    let steps = vec![Receive, ServerStep::Send(moved.into()), Receive, ok_response("done")];
    let server = ScriptedServer::start([steps.clone(), vec![Receive, ok_response("done")]]).await;
    let answer = transport(&server).collect(&post(), LONG).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.is_redirected), (303, false));
    let error = Error::from_response(answer.status, &answer.headers, &answer.body).unwrap();
    let error = error.redacted(&Secrets::default());
    assert_eq!(
        (error.reason, error.details.as_deref()),
        (Reason::Redirected, Some("HTTP 303 to /done?[redacted]"))
    );

    let mut server = ScriptedServer::start([steps, vec![Receive, ok_response("done")]]).await;
    let allowed = Request::post("/thing").body("x").follow_redirected_writes().build().unwrap();
    let answer = transport(&server).collect(&allowed, LONG).await.unwrap();
    assert_eq!((&answer.body[..], answer.is_redirected), (&b"done"[..], true));
    server.next_request().await;
    assert!(server.next_request().await.starts_with("GET /done?token=x "));
}

#[tokio::test]
async fn redirect_loop_ends() {
    let moved = "HTTP/1.1 302 Found\r\nlocation: /thing\r\ncontent-length: 0\r\n\r\n";
    let hop = [Receive, ServerStep::Send(moved.into())];
    let server =
        ScriptedServer::start([hop.iter().cycle().take(2 * (REDIRECTS_MAX + 1)).cloned().collect()]).await;
    let answer = transport(&server).collect(&get(), LONG).await.unwrap();
    assert_eq!(answer.status.as_u16(), 302);
}

#[tokio::test]
async fn failure_after_a_redirect_may_have_been_acted_on() {
    let moved = "HTTP/1.1 303 See Other\r\nlocation: /done\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let server = ScriptedServer::start([vec![Receive, ServerStep::Send(moved.into()), StopListening]]).await;
    let allowed = Request::post("/thing").body("x").follow_redirected_writes().build().unwrap();
    let failure = send_failure(&transport(&server), &allowed, LONG).await;
    assert_eq!(failure.progress, MaybeSent, "{failure}");
}

#[tokio::test]
async fn dropped_attempt_closes_only_its_connection() {
    let mut server =
        ScriptedServer::start([vec![Receive, AwaitClose], vec![Receive, ok_response("2")]]).await;
    let transport = transport(&server);
    let request = post();
    tokio::select! {
        biased;
        outcome = transport.collect(&request, LONG) => panic!("answered: {outcome:?}"),
        _ = server.next_request() => (),
    }
    server.wait_closed(0).await;
    assert_eq!(transport.collect(&request, LONG).await.unwrap().body, "2");
}

#[test]
fn address_that_cannot_be_a_backend_is_refused_with_the_rule() {
    for url in ["", "http://", "http://host/%zz", "http://host/?x=1", "http://user:pass@host/"] {
        let error = HttpTransport::new(&HttpSettings::new(url)).unwrap_err();
        assert_eq!(error.reason, Reason::InvalidConfig, "{url}");
        assert_ne!(error.message, error.reason.message(), "{url}");
        assert_message_helps(&error.message);
    }
    let mut settings = HttpSettings::new("http://localhost:1");
    settings.credentials = Credentials::fixed("two\nlines");
    assert_eq!(HttpTransport::new(&settings).unwrap_err().code, Code::InvalidInput);
}

// === Timeouts, without a network, on a paused clock ===

#[tokio::test(start_paused = true)]
async fn answer_that_does_not_come_is_given_up_after_the_timeout() {
    let (_body, watch) = EmptyBody::new(false);
    let started = Instant::now();
    assert_eq!(watch.with_idle_timeout(std::future::pending::<()>(), LONG).await, None);
    assert_eq!(started.elapsed(), LONG);
}

#[tokio::test(start_paused = true)]
async fn upload_that_keeps_moving_may_take_longer_than_the_timeout() {
    let body = Body::from(Bytes::from(vec![0; 640 * 1024])).open().await.unwrap();
    let (mut upload, watch) = Upload::new(body, ProgressSender::default());
    let started = Instant::now();
    let slow = async {
        while let Some(part) = futures_util::StreamExt::next(&mut upload).await {
            part.unwrap();
            tokio::time::sleep(LONG / 2).await;
        }
    };
    assert_eq!(watch.with_idle_timeout(slow, LONG).await, Some(()));
    assert_eq!(started.elapsed(), LONG / 2 * 10);
}

#[tokio::test(start_paused = true)]
async fn upload_that_stops_moving_is_given_up() {
    let body = Body::from(Bytes::from(vec![0; 640 * 1024])).open().await.unwrap();
    let (mut upload, watch) = Upload::new(body, ProgressSender::default());
    let started = Instant::now();
    let stuck = async {
        tokio::time::sleep(LONG / 2).await;
        futures_util::StreamExt::next(&mut upload).await;
        std::future::pending::<()>().await;
    };
    assert_eq!(watch.with_idle_timeout(stuck, LONG).await, None);
    assert_eq!(started.elapsed(), LONG / 2 + LONG);
    assert!(!watch.try_cancel());
}

#[test]
fn one_answer_explains_one_stale_connection() {
    let transport = HttpTransport::new(&HttpSettings::new("http://localhost:1")).unwrap();
    transport.pool_use.record_return();
    let blames =
        |kind| transport.blame_connection(TransportError::new(kind, MaybeSent, "")).is_on_kept_connection;
    assert!(!blames(FailureKind::TimedOut));
    assert!(blames(FailureKind::Reset));
    assert!(!blames(FailureKind::Reset), "one answer excused two failures");
}

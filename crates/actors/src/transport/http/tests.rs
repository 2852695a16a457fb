//! The transport against real servers on the loopback, each of which follows a script of its own.

pub(crate) mod peer;
pub(crate) mod server;
mod uploads;

use std::time::Duration;

use bytes::Bytes;
use http::Method;

use self::server::{Server, Step, ok};
use super::{
    outgoing::within_idle,
    upload::{NoBody, Upload},
    *,
};
use crate::{
    error::{Code, words::assert_helps},
    request::Meter,
};

const LONG: Duration = Duration::from_secs(60);

/// Short, for attempts that are meant to time out: the servers there never answer, so no speed is assumed.
const SHORT: Duration = Duration::from_millis(50);

fn transport(server: &Server) -> HttpTransport {
    HttpTransport::new(&HttpSettings::new(server.url())).unwrap()
}

fn get() -> Request {
    Request::get("/thing?x=1").build().unwrap()
}

fn post() -> Request {
    Request::post("/thing").json(&serde_json::json!({"do": "it"})).build().unwrap()
}

async fn failure(transport: &HttpTransport, request: &Request, timeout: Duration) -> TransportError {
    transport.attempt(request, timeout).await.unwrap_err()
}

#[tokio::test]
async fn an_answer_comes_back_with_status_headers_and_body() {
    let mut server = Server::start([vec![Step::Receive, ok("hello")]]).await;
    let answer = transport(&server).attempt(&get(), LONG).await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"hello"[..]));
    assert_eq!(answer.headers["content-length"], "5");
    let received = server.received().await;
    assert!(received.starts_with("GET /thing?x=1 HTTP/1.1\r\n"), "{received}");
}

#[tokio::test]
async fn a_failing_status_is_an_answer_too() {
    let reply = "HTTP/1.1 503 Busy\r\nretry-after: 2\r\ncontent-length: 4\r\n\r\nbusy";
    let server = Server::start([vec![Step::Receive, Step::Send(reply.into())]]).await;
    let answer = transport(&server).attempt(&get(), LONG).await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (503, &b"busy"[..]));
    assert_eq!(answer.headers["retry-after"], "2");
}

#[tokio::test]
async fn headers_token_key_and_body_arrive_as_they_were_given() {
    let mut server = Server::start([vec![Step::Receive, ok("")], vec![Step::Receive, ok("")]]).await;
    let mut settings = HttpSettings::new(server.url());
    settings.bearer_token = Some("sesame".to_owned());
    settings.headers.insert("x-app", HeaderValue::from_static("default"));
    assert!(!format!("{settings:?}").contains("sesame"));
    let transport = HttpTransport::new(&settings).unwrap();

    let request =
        Request::post("/a").body("payload").header("X-App", "own").idempotency_key("k-1").build().unwrap();
    transport.attempt(&request, LONG).await.unwrap();
    let received = server.received().await.to_lowercase();
    for line in ["authorization: bearer sesame", "x-app: own", "idempotency-key: k-1", "content-length: 7"] {
        assert!(received.contains(&format!("\r\n{line}\r\n")), "{line} is missing in {received}");
    }
    assert!(!received.contains("default") && !received.contains("chunked"));
    assert!(received.ends_with("\r\n\r\npayload"));
}

#[tokio::test]
async fn a_request_that_could_have_a_body_and_has_none_says_so() {
    let requests = [Request::post("/a"), Request::put("/a"), Request::builder(Method::PATCH, "/a")];
    let others = [Request::get("/a"), Request::delete("/a"), Request::builder(Method::OPTIONS, "/a")];
    let exchange = [Step::Receive, ok("")];
    let exchanges = exchange.iter().cycle().take(2 * (requests.len() + others.len()));
    let mut server = Server::start([exchanges.cloned().collect()]).await;
    let transport = transport(&server);
    for (request, is_said) in requests.map(|it| (it, true)).into_iter().chain(others.map(|it| (it, false))) {
        transport.attempt(&request.build().unwrap(), LONG).await.unwrap();
        let received = server.received().await.to_lowercase();
        assert_eq!(received.contains("\r\ncontent-length: 0\r\n"), is_said, "{received}");
    }
}

#[tokio::test]
async fn a_large_body_arrives_whole() {
    let mut server = Server::start([vec![Step::Receive, ok("")]]).await;
    let body = "0123456789abcdef".repeat(40_000);
    let request = Request::put("/a").body(body.clone()).build().unwrap();
    transport(&server).attempt(&request, LONG).await.unwrap();
    assert!(server.received().await.ends_with(&body));
}

#[tokio::test]
async fn the_path_goes_below_the_path_of_the_base() {
    let mut server = Server::start([vec![Step::Receive, ok("")]]).await;
    let settings = HttpSettings::new(format!("{}/prefix/", server.url()));
    HttpTransport::new(&settings).unwrap().attempt(&get(), LONG).await.unwrap();
    assert!(server.received().await.starts_with("GET /prefix/thing?x=1 "));
}

#[test]
fn an_address_is_what_parsing_it_as_a_whole_would_give() {
    for base in ["http://localhost:8000", "https://a.test", "http://[::1]:9/prefix/", "http://a.test/a/b"] {
        let transport = HttpTransport::new(&HttpSettings::new(base)).unwrap();
        for path in
            ["/", "/a/b", "/a/?", "/a?x=1&y=/../b?z", "/@host/x", "/a:80//b", "/caf%C3%A9?q='%20'", "/?//"]
        {
            let request = Request::get(path).build().unwrap();
            let whole = Url::parse(&format!("{}{path}", base.trim_end_matches('/'))).unwrap();
            assert_eq!(transport.first_hop(&request).url, whole, "{base} and {path}");
        }
    }
}

#[tokio::test]
async fn a_refused_connection_sent_nothing() {
    let server = Server::start([]).await;
    let transport = transport(&server);
    server.stop().await;
    for request in [get(), post()] {
        let failure = failure(&transport, &request, LONG).await;
        assert_eq!((failure.kind, failure.reach), (FailureKind::Refused, Reach::NotSent));
        assert_eq!(Error::from(&failure).code, Code::NetworkError);
    }
}

#[tokio::test]
async fn a_host_that_does_not_resolve_sent_nothing() {
    // No resolver asks the network for a label that is longer than a name may have.
    let url = format!("http://{}.test", "x".repeat(64));
    let transport = HttpTransport::new(&HttpSettings::new(url)).unwrap();
    let failure = failure(&transport, &post(), LONG).await;
    assert_eq!((failure.kind, failure.reach), (FailureKind::HostNotFound, Reach::NotSent));
}

#[tokio::test]
async fn a_handshake_that_never_ends_times_out_as_a_connection_that_sent_nothing() {
    let server = Server::start([vec![Step::Hold]]).await;
    let mut settings = HttpSettings::new(server.url().replace("http:", "https:"));
    settings.connect_timeout = SHORT;
    let failure = failure(&HttpTransport::new(&settings).unwrap(), &post(), LONG).await;
    assert_eq!((failure.kind, failure.reach), (FailureKind::ConnectTimedOut, Reach::NotSent));
    assert_eq!(Error::from(&failure).code, Code::Timeout);
}

#[tokio::test]
async fn an_attempt_that_times_out_before_there_is_a_connection_has_sent_nothing() {
    for request in
        [post(), get(), Request::post("/a").build().unwrap(), Request::delete("/a").build().unwrap()]
    {
        let server = Server::start([vec![Step::Hold]]).await;
        let settings = HttpSettings::new(server.url().replace("http:", "https:"));
        let failure = failure(&HttpTransport::new(&settings).unwrap(), &request, SHORT).await;
        assert_eq!(
            (failure.kind, failure.reach),
            (FailureKind::ConnectTimedOut, Reach::NotSent),
            "{request:?}"
        );
    }
}

#[tokio::test]
async fn an_attempt_that_times_out_once_its_head_has_left_may_have_arrived() {
    for request in [get(), Request::post("/a").build().unwrap(), Request::delete("/a").build().unwrap()] {
        let server = Server::start([vec![Step::Receive, Step::Hold]]).await;
        let failure = failure(&transport(&server), &request, SHORT).await;
        assert_eq!((failure.kind, failure.reach), (FailureKind::TimedOut, Reach::MaybeSent), "{request:?}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_no_missing_connection() {
    let server = Server::start([vec![Step::Hold]]).await;
    let source = || futures_util::stream::pending::<std::io::Result<Bytes>>();
    let request = Request::put("/a").body_stream(Some(1), source).build().unwrap();
    let failure = failure(&transport(&server), &request, SHORT).await;
    assert_eq!((failure.kind, failure.reach), (FailureKind::TimedOut, Reach::NotSent));
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_is_told_apart_and_sent_nothing() {
    let server =
        Server::start([vec![Step::Send("HTTP/1.1 400 Bad Request\r\n\r\n".into()), Step::Hold]]).await;
    let settings = HttpSettings::new(server.url().replace("http:", "https:"));
    let failure = failure(&HttpTransport::new(&settings).unwrap(), &post(), LONG).await;
    assert_eq!((failure.kind, failure.reach), (FailureKind::Tls, Reach::NotSent), "{failure}");
}

#[tokio::test]
async fn a_request_without_an_answer_may_have_been_acted_on() {
    for request in [get(), post(), Request::post("/bare").build().unwrap()] {
        let server = Server::start([vec![Step::Receive, Step::Hold]]).await;
        let failure = failure(&transport(&server), &request, SHORT).await;
        assert_eq!((failure.kind, failure.reach), (FailureKind::TimedOut, Reach::MaybeSent));
        assert_eq!(Error::from(&failure).code, Code::Timeout);
    }
}

#[tokio::test]
async fn a_reset_before_or_within_the_head_may_have_been_acted_on() {
    for start in ["", "HTTP/1.1 200 OK\r\ncontent-le"] {
        let server = Server::start([vec![Step::Receive, Step::Send(start.into()), Step::Reset]]).await;
        let failure = failure(&transport(&server), &post(), LONG).await;
        assert_eq!((failure.kind, failure.reach), (FailureKind::Reset, Reach::MaybeSent), "{failure}");
        assert_eq!(Error::from(&failure).code, Code::NetworkError);
        assert!(!failure.details.contains("127.0.0.1"), "{failure}");
    }
}

#[tokio::test]
async fn a_connection_that_ends_within_the_body_is_a_network_error_after_an_answer() {
    let start = "HTTP/1.1 201 Created\r\ncontent-length: 10\r\n\r\nhalf";
    for end in [Step::Close, Step::Reset] {
        let resets = matches!(end, Step::Reset);
        let server = Server::start([vec![Step::Receive, Step::Send(start.into()), end]]).await;
        let failure = failure(&transport(&server), &post(), LONG).await;
        assert_eq!(Error::from(&failure).code, Code::NetworkError);
        // A reset may discard what the client had not read yet, the head included.
        if resets && failure.head.is_none() {
            assert_eq!((failure.kind, failure.reach), (FailureKind::Reset, Reach::MaybeSent));
        } else {
            assert_eq!((failure.kind, failure.reach), (FailureKind::BodyReset, Reach::Answered));
            assert_eq!(failure.status(), Some(201));
        }
    }
}

#[tokio::test]
async fn a_body_that_stands_still_is_a_timeout_after_an_answer() {
    let start = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
    let server = Server::start([vec![Step::Receive, Step::Send(start.into()), Step::Hold]]).await;
    let failure = failure(&transport(&server), &post(), SHORT).await;
    assert_eq!((failure.kind, failure.reach), (FailureKind::BodyTimedOut, Reach::Answered));
    assert_eq!(Error::from(&failure).code, Code::Timeout);
}

#[tokio::test]
async fn an_answer_larger_than_the_limit_is_refused_whether_or_not_it_says_so_before() {
    let announced = "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n";
    let in_chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nabcdef\r\n5\r\nghijk\r\n";
    for start in [announced, in_chunks] {
        let server = Server::start([vec![Step::Receive, Step::Send(start.into()), Step::Hold]]).await;
        let mut settings = HttpSettings::new(server.url());
        settings.response_bytes_max = 10;
        let failure = failure(&HttpTransport::new(&settings).unwrap(), &get(), LONG).await;
        assert_eq!((failure.kind, failure.reach), (FailureKind::TooLarge, Reach::Answered));
    }
}

#[tokio::test]
async fn what_is_not_http_is_a_bad_response() {
    let garbage = "\u{1}\u{2}garbage\r\n\r\n";
    let broken_chunk = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
    for (start, reach) in [(garbage, Reach::MaybeSent), (broken_chunk, Reach::Answered)] {
        let server = Server::start([vec![Step::Receive, Step::Send(start.into()), Step::Hold]]).await;
        let failure = failure(&transport(&server), &get(), LONG).await;
        assert_eq!((failure.kind, failure.reach), (FailureKind::BadResponse, reach), "{failure}");
        assert_eq!(Error::from(&failure).code, Code::ServerError);
    }
}

#[tokio::test]
async fn connections_are_kept_and_used_again() {
    let mut server = Server::start([vec![Step::Receive, ok("1"), Step::Receive, ok("2")]]).await;
    let transport = transport(&server);
    for expected in ["1", "2"] {
        assert_eq!(transport.attempt(&post(), LONG).await.unwrap().body, expected);
        server.received().await;
    }
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closed_while_idle_fails_no_request() {
    let first = vec![Step::Receive, ok("1"), Step::Close];
    let server = Server::start([first, vec![Step::Receive, ok("2")]]).await;
    let transport = transport(&server);
    assert_eq!(transport.attempt(&get(), LONG).await.unwrap().body, "1");
    server.closed(0).await;
    assert_eq!(transport.attempt(&get(), LONG).await.unwrap().body, "2");
}

#[tokio::test]
async fn a_safe_request_written_into_a_connection_that_is_just_being_closed_is_sent_again_at_once() {
    // The server takes the second request and closes: to the client this is the lost race with an idle timeout.
    let first = vec![Step::Receive, ok("1"), Step::Receive, Step::Reset];
    let server = Server::start([first, vec![Step::Receive, ok("2")]]).await;
    let transport = transport(&server);
    assert_eq!(transport.attempt(&get(), LONG).await.unwrap().body, "1");
    assert_eq!(transport.attempt(&get(), LONG).await.unwrap().body, "2");
}

#[tokio::test]
async fn one_that_was_sent_again_to_nobody_may_still_have_arrived_at_first() {
    let server =
        Server::start([vec![Step::Receive, ok("1"), Step::StopListening, Step::Receive, Step::Reset]]).await;
    let transport = transport(&server);
    assert_eq!(transport.attempt(&get(), LONG).await.unwrap().body, "1");
    let failure = failure(&transport, &get(), LONG).await;
    assert_eq!((failure.kind, failure.reach), (FailureKind::Refused, Reach::MaybeSent));
}

#[tokio::test]
async fn several_stale_connections_still_fail_no_safe_request() {
    let stale = || vec![Step::Receive, Step::Meet, ok("1"), Step::Receive, Step::Close];
    let server = Server::start([stale(), stale(), vec![Step::Receive, ok("2")]]).await;
    let transport = transport(&server);
    let (request, other) = (get(), get());
    let both = futures_util::future::join(transport.attempt(&request, LONG), transport.attempt(&other, LONG));
    let (one, two) = both.await;
    assert!(one.is_ok() && two.is_ok());
    assert_eq!(transport.attempt(&request, LONG).await.unwrap().body, "2");
}

#[tokio::test]
async fn a_request_that_could_act_twice_is_not_sent_again_by_the_transport() {
    let first = vec![Step::Receive, ok("1"), Step::Receive, Step::Close];
    let mut server = Server::start([first, vec![Step::Receive, ok("2")]]).await;
    let transport = transport(&server);
    transport.attempt(&get(), LONG).await.unwrap();
    let failure = failure(&transport, &post(), LONG).await;
    assert_eq!((failure.kind, failure.reach), (FailureKind::Reset, Reach::MaybeSent));
    assert!(server.received().await.starts_with("GET"));
    assert!(server.received().await.starts_with("POST"));
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn after_a_servers_failure_what_could_act_twice_goes_out_on_a_connection_of_its_own() {
    let failed = || Step::Send("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n".into());
    let kept = vec![Step::Receive, failed(), Step::Receive, ok("kept")];
    let server = Server::start([kept, vec![Step::Receive, ok("new")], vec![Step::Receive, ok("new")]]).await;
    let transport = transport(&server);
    assert_eq!(transport.attempt(&get(), LONG).await.unwrap().status.as_u16(), 500);
    for request in [post(), Request::put("/a").build().unwrap()] {
        assert_eq!(transport.attempt(&request, LONG).await.unwrap().body, "new");
    }
    assert_eq!(transport.attempt(&get(), LONG).await.unwrap().body, "kept");
}

#[tokio::test]
async fn a_backend_that_breaks_every_connection_does_not_get_each_request_twice() {
    let breaks = || vec![Step::Receive, Step::Close];
    let server = Server::start([breaks(), breaks(), breaks()]).await;
    let transport = transport(&server);
    for connections in [1, 2, 3] {
        assert_eq!(failure(&transport, &get(), LONG).await.kind, FailureKind::Reset);
        assert_eq!(server.connections(), connections);
    }
}

#[tokio::test]
async fn a_redirect_within_the_backend_is_followed_with_method_body_and_token() {
    let moved = "HTTP/1.1 307 Temporary Redirect\r\nlocation: /thing/\r\ncontent-length: 0\r\n\r\n";
    let mut server =
        Server::start([vec![Step::Receive, Step::Send(moved.into()), Step::Receive, ok("there")]]).await;
    let mut settings = HttpSettings::new(server.url());
    settings.bearer_token = Some("sesame".to_owned());
    let answer = HttpTransport::new(&settings).unwrap().attempt(&post(), LONG).await.unwrap();
    assert_eq!(answer.body, "there");
    server.received().await;
    let second = server.received().await;
    assert!(second.starts_with("POST /thing/ ") && second.ends_with(r#"{"do":"it"}"#), "{second}");
    assert!(second.contains("Bearer sesame"));
}

#[tokio::test]
async fn a_redirect_to_another_origin_is_not_followed() {
    let other = Server::start([vec![Step::Receive, ok("stolen")]]).await;
    let moved = format!("HTTP/1.1 302 Found\r\nlocation: {}/x\r\ncontent-length: 0\r\n\r\n", other.url());
    let server = Server::start([vec![Step::Receive, Step::Send(moved.into())]]).await;
    let answer = transport(&server).attempt(&get(), LONG).await.unwrap();
    assert_eq!(answer.status.as_u16(), 302);
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn a_circle_of_redirects_ends() {
    let moved = "HTTP/1.1 302 Found\r\nlocation: /thing\r\ncontent-length: 0\r\n\r\n";
    let hop = [Step::Receive, Step::Send(moved.into())];
    let server = Server::start([hop.iter().cycle().take(2 * (REDIRECTS_MAX + 1)).cloned().collect()]).await;
    let answer = transport(&server).attempt(&get(), LONG).await.unwrap();
    assert_eq!(answer.status.as_u16(), 302);
}

#[tokio::test]
async fn a_failure_after_a_redirect_may_have_been_acted_on() {
    let moved = "HTTP/1.1 303 See Other\r\nlocation: /done\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let server = Server::start([vec![Step::Receive, Step::Send(moved.into()), Step::StopListening]]).await;
    let failure = failure(&transport(&server), &post(), LONG).await;
    assert_eq!(failure.reach, Reach::MaybeSent, "{failure}");
}

#[tokio::test]
async fn dropping_an_attempt_closes_its_connection_and_leaves_the_transport_usable() {
    let mut server =
        Server::start([vec![Step::Receive, Step::AwaitClose], vec![Step::Receive, ok("2")]]).await;
    let transport = transport(&server);
    let request = post();
    tokio::select! {
        biased;
        outcome = transport.attempt(&request, LONG) => panic!("answered: {outcome:?}"),
        _ = server.received() => (),
    }
    server.closed(0).await;
    assert_eq!(transport.attempt(&request, LONG).await.unwrap().body, "2");
}

#[tokio::test]
async fn the_transport_can_be_used_as_an_object() {
    let server = Server::start([vec![Step::Receive, ok("hello")]]).await;
    let transport: Box<dyn Transport> = Box::new(transport(&server));
    assert_eq!(transport.attempt(&get(), LONG).await.unwrap().body, Bytes::from_static(b"hello"));
}

#[test]
fn an_address_that_cannot_be_a_backend_is_refused_with_the_rule() {
    for url in [
        "",
        "localhost:8000",
        "ws://localhost:8000",
        "http://",
        "http://user:pass@localhost/",
        "http://localhost/?x=1",
        "http://localhost/#x",
        "file:///tmp",
    ] {
        let error = HttpTransport::new(&HttpSettings::new(url)).unwrap_err();
        assert_eq!(error.reason, Reason::InvalidConfig, "{url}");
        assert_ne!(error.message, error.reason.message(), "{url}");
        assert_helps(&error.message);
    }
    let mut settings = HttpSettings::new("http://localhost:1");
    settings.bearer_token = Some("two\nlines".to_owned());
    assert_eq!(HttpTransport::new(&settings).unwrap_err().code, Code::InvalidInput);
}

// === Timeouts, without a network, on a paused clock ===

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_is_given_up_after_the_timeout() {
    let (_body, watch) = NoBody::new(false);
    let started = Instant::now();
    assert_eq!(within_idle(std::future::pending::<()>(), &watch, LONG).await, None);
    assert_eq!(started.elapsed(), LONG);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_keeps_moving_may_take_longer_than_the_timeout() {
    let body = Body::from(Bytes::from(vec![0; 640 * 1024])).open().await.unwrap();
    let (mut upload, watch) = Upload::new(body, Meter::default());
    let started = Instant::now();
    let slow = async {
        while let Some(part) = futures_util::StreamExt::next(&mut upload).await {
            part.unwrap();
            tokio::time::sleep(LONG / 2).await;
        }
    };
    assert_eq!(within_idle(slow, &watch, LONG).await, Some(()));
    assert_eq!(started.elapsed(), LONG / 2 * 10);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_stops_moving_is_given_up() {
    let body = Body::from(Bytes::from(vec![0; 640 * 1024])).open().await.unwrap();
    let (mut upload, watch) = Upload::new(body, Meter::default());
    let started = Instant::now();
    let stuck = async {
        tokio::time::sleep(LONG / 2).await;
        futures_util::StreamExt::next(&mut upload).await;
        std::future::pending::<()>().await;
    };
    assert_eq!(within_idle(stuck, &watch, LONG).await, None);
    assert_eq!(started.elapsed(), LONG / 2 + LONG);
    assert!(!watch.withdraw());
}

#[test]
fn only_get_and_its_like_are_excused_for_a_stale_connection() {
    let transport = HttpTransport::new(&HttpSettings::new("http://localhost:1")).unwrap();
    transport.kept.add();
    let reset = TransportError::new(FailureKind::Reset, Reach::MaybeSent, "");
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        assert!(!transport.was_stale(&method, &reset));
    }
    let timed_out = TransportError::new(FailureKind::TimedOut, Reach::MaybeSent, "");
    assert!(!transport.was_stale(&Method::GET, &timed_out));
    assert!(transport.was_stale(&Method::GET, &reset));
    assert!(!transport.was_stale(&Method::GET, &reset), "one answer excused two failures");
}

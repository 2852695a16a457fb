//! The driver over the real transport, against a real server on the loopback.

use std::net::SocketAddr;

use mainstay_runtime::{Child, Runtime, SupervisorSpec};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    agent::{MessageId, MessageLimits},
    credentials::Credentials,
    error::tests::words::assert_message_helps,
    json_text::DEPTH_MAX,
    queue::{QueueActor, QueuePolicy, QueueView},
    tests::{listen, read_head, reserve_address, unresolvable_url},
    transport::{HttpSettings, HttpTransport, SendProgress, StreamingResponse},
};

const LONG: Duration = Duration::from_secs(60);
/// For calls that are meant to time out: those servers never answer in full, so no speed is assumed.
const SHORT: Duration = Duration::from_millis(50);

fn driver_of(url: &str, timeout: Duration) -> HttpDriver {
    HttpDriver::new(Arc::new(HttpTransport::new(&HttpSettings::new(url)).unwrap()), "planner", timeout)
}

fn driver(address: SocketAddr, timeout: Duration) -> HttpDriver {
    driver_of(&format!("http://{address}"), timeout)
}

/// Reads one request, head and body.
async fn read_request(stream: &mut TcpStream) -> String {
    let head = read_head(stream).await;
    let length =
        head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.unwrap();
    head + std::str::from_utf8(&body).unwrap()
}

/// Runs a call of the driver against a server with this answer. Returns its result, and the request that the server
/// got.
async fn respond_to<T>(
    status: &str,
    body: &str,
    call: impl for<'a> FnOnce(&'a HttpDriver) -> BoxFuture<'a, T>,
) -> (T, String) {
    let (listener, address) = listen().await;
    let driver = driver(address, LONG);
    let length = body.len();
    let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    let (result, (request, _)) = tokio::join!(call(&driver), answer_next(&listener, &answer));
    (result, request)
}

/// Accepts a connection and answers its first request, which it returns with the connection.
async fn answer_next(listener: &TcpListener, answer: &str) -> (String, TcpStream) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let request = read_request(&mut stream).await;
    stream.write_all(answer.as_bytes()).await.unwrap();
    (request, stream)
}

async fn check_with(status: &str, body: &str) -> Observation {
    respond_to(status, body, |driver| driver.check()).await.0
}

fn reports(reported: ReportedHealth, uptime_s: Option<f64>, error_count: Option<u64>) -> Observation {
    Observation::Answered { reported, uptime_s, error_count }
}

/// Returns the details of a missed check. They must show no address and no path, since people read them.
fn missed_details(observation: Observation) -> String {
    let Observation::Missed { why } = observation else { panic!("no miss, but {observation:?}") };
    assert_message_helps(&why.message);
    assert!(!why.log_text().contains("127.0.0.1") && !why.log_text().contains("/api"), "{why:?}");
    why.log_text().to_owned()
}

// === health ===

#[tokio::test]
async fn check_returns_reported_health() {
    let body = r#"{"id":"planner","status":"healthy","uptime":12.5,"errorCount":3}"#;
    let (observed, request) = respond_to("200 OK", body, |driver| driver.check()).await;
    assert_eq!(observed, reports(ReportedHealth::Healthy, Some(12.5), Some(3)));
    assert!(request.starts_with("GET /api/agents/planner/health HTTP/1.1\r\n"), "{request}");
    for (status, reported) in [("degraded", ReportedHealth::Degraded), ("failed", ReportedHealth::Failed)] {
        let body = json!({"id": "planner", "status": status, "uptime": 7, "errorCount": 0}).to_string();
        assert_eq!(check_with("200 OK", &body).await, reports(reported, Some(7.0), Some(0)));
    }
}

#[tokio::test]
async fn check_ignores_unknown_missing_and_unreadable_members() {
    for body in [
        r#"{"status":"healthy"}"#,
        r#"{"status":"healthy","uptime":null,"load":{"cpu":[1]}}"#,
        r#"{"status":"healthy","uptime":"3 hours","errorCount":-1}"#,
    ] {
        let healthy = reports(ReportedHealth::Healthy, None, None);
        assert_eq!(check_with("200 OK", body).await, healthy, "{body}");
    }
}

#[tokio::test]
async fn check_malformed_report_is_missed() {
    let bodies =
        ["", "ok", "[]", "{}", r#"{"status":7}"#, r#"{"status":"fine"}"#, r#"{"status":"healthy""#, "<html>"];
    for body in bodies {
        let why = missed_details(check_with("200 OK", body).await);
        assert!(why.contains("no health report"), "{body}: {why}");
    }
}

#[tokio::test]
async fn check_error_quotes_backend_briefly() {
    let body = json!({"status": "\u{1b}[2J".repeat(100_000)}).to_string();
    let why = missed_details(check_with("200 OK", &body).await);
    assert!(why.chars().count() < 1010, "{} characters", why.chars().count());
    assert!(!why.contains(char::is_control));
}

#[tokio::test]
async fn check_error_omits_transport_secrets() {
    let body = json!({"status": "Bearer s3cret-t0ken"}).to_string();
    for status in ["200 OK", "401 Unauthorized"] {
        let (listener, address) = listen().await;
        let mut settings = HttpSettings::new(format!("http://{address}"));
        settings.credentials = Credentials::fixed("s3cret-t0ken");
        let driver = HttpDriver::new(Arc::new(HttpTransport::new(&settings).unwrap()), "planner", LONG);
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let (observed, (request, _)) = tokio::join!(driver.check(), answer_next(&listener, &answer));
        assert!(request.contains("s3cret-t0ken"));
        let shown = format!("{observed:?}");
        assert!(!shown.contains("s3cret") && shown.contains("[redacted]"), "{shown}");
    }
}

#[tokio::test]
async fn check_error_status_is_missed_with_status() {
    let healthy = r#"{"status":"healthy"}"#;
    for status in ["404 Not Found", "500 Internal Server Error", "503 Service Unavailable"] {
        let why = missed_details(check_with(status, healthy).await);
        assert!(why.contains(status), "{why}");
    }
}

// === restart ===

#[tokio::test]
async fn restart_is_one_post_and_accepts_any_success() {
    for status in ["200 OK", "202 Accepted"] {
        let (restarted, request) = respond_to(status, "", |driver| driver.restart()).await;
        assert_eq!(restarted, Ok(()));
        assert!(request.starts_with("POST /api/agents/planner/restart HTTP/1.1\r\n"), "{request}");
    }
}

#[tokio::test]
async fn restart_refused_errors_with_status() {
    for status in ["404 Not Found", "405 Method Not Allowed", "409 Conflict", "500 Internal Server Error"] {
        let (restarted, _) = respond_to(status, "", |driver| driver.restart()).await;
        let Err(DriverError::Failed(why)) = restarted else { panic!("{restarted:?}") };
        assert_eq!(why.status.map(|code| code.to_string()).as_deref(), status.get(..3));
        let why = why.log_text();
        assert!(why.contains(status) && why.contains("restart"), "{why}");
    }
}

// === state ===

#[tokio::test]
async fn state_round_trips_as_it_was_written() {
    let deep = "[".repeat(DEPTH_MAX) + &"]".repeat(DEPTH_MAX);
    let odd = r#"{"b": [18446744073709551616,1e999,-0.0],"a":1.0,"a":{"n":null}}"#;
    for state in ["null", "\"text\"", r#""\ud83d""#, odd, &deep] {
        let (read, request) =
            respond_to("200 OK", &format!("\u{feff}{state}\r\n"), |driver| driver.read_state()).await;
        let state = Json::parse(state).unwrap();
        assert_eq!(read, Ok(AgentState::Known(state.clone())));
        assert!(request.starts_with("GET /api/agents/planner/state HTTP/1.1\r\n"), "{request}");

        let sent = state.clone();
        let (written, request) = respond_to("200 OK", "", |driver| driver.write_state(sent)).await;
        assert_eq!(written, Ok(()));
        assert!(request.starts_with("PUT /api/agents/planner/state HTTP/1.1\r\n"), "{request}");
        assert!(request.to_lowercase().contains("\r\ncontent-type: application/json\r\n"), "{request}");
        assert!(request.ends_with(&format!("\r\n\r\n{state}")), "{request}");
    }
    for state in [&*format!("[{deep}]"), r#""\ud8""#, "NaN"] {
        let (read, _) = respond_to("200 OK", state, |driver| driver.read_state()).await;
        let Err(DriverError::Failed(why)) = read else { panic!("{read:?}") };
        assert_eq!(why.reason, Reason::BadResponse, "{state}");
    }
}

#[tokio::test]
async fn state_404_or_405_is_unsupported() {
    for status in ["404 Not Found", "405 Method Not Allowed"] {
        let (read, _) = respond_to(status, "", |driver| driver.read_state()).await;
        assert_eq!(read, Ok(AgentState::Unsupported));
        let (written, _) = respond_to(status, "", |driver| driver.write_state(json!({}).into())).await;
        assert_eq!(written, Ok(()));
    }
}

#[tokio::test]
async fn read_state_failure_is_error_not_none() {
    let cases = [("500 Internal Server Error", "{}", "500"), ("200 OK", "{oh no", "cannot be passed on")];
    for (status, body, expected) in cases {
        let (read, _) = respond_to(status, body, |driver| driver.read_state()).await;
        let Err(DriverError::Failed(why)) = read else { panic!("{read:?}") };
        assert!(why.log_text().contains(expected), "{why:?}");
    }
    let full = "507 Insufficient Storage";
    let (written, _) = respond_to(full, "", |driver| driver.write_state(json!({}).into())).await;
    assert!(matches!(written, Err(DriverError::Failed(why)) if why.status == Some(507)));
}

// === no answer ===

#[tokio::test]
async fn check_refused_or_unresolved_is_unreachable() {
    let (_socket, down) = reserve_address();
    for driver in [driver(down, LONG), driver_of(&unresolvable_url(), LONG)] {
        assert!(matches!(driver.check().await, Observation::Unreachable { .. }));
        assert!(matches!(driver.restart().await, Err(DriverError::Unreachable(_))));
        assert!(matches!(driver.read_state().await, Err(DriverError::Unreachable(_))));
        assert!(matches!(driver.write_state(json!({}).into()).await, Err(DriverError::Unreachable(_))));
    }
}

#[tokio::test]
async fn check_hanging_agent_is_missed_at_timeout() {
    // The connection is made, and no one accepts it.
    let (_listener, address) = listen().await;
    missed_details(driver(address, SHORT).check().await);
}

#[tokio::test]
async fn check_dripping_answer_is_missed_at_timeout() {
    let (listener, address) = listen().await;
    let driver = driver(address, SHORT);
    let drip = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await.unwrap();
        // Much faster than the standstill that the transport detects.
        let mut pace = tokio::time::interval(SHORT / 50);
        while stream.write_all(b" ").await.is_ok() {
            pace.tick().await;
        }
    };
    let observed = tokio::select! {
        observed = driver.check() => observed,
        () = drip => panic!("the driver hung up without a word"),
    };
    missed_details(observed);
}

#[tokio::test]
async fn check_closed_connection_is_missed() {
    let (listener, address) = listen().await;
    let driver = driver(address, LONG);
    let (observed, ()) = tokio::join!(driver.check(), async {
        read_request(&mut listener.accept().await.unwrap().0).await;
    });
    missed_details(observed);
}

/// The kept connection breaks during the second check: that is a miss, and nothing is sent again for it.
#[tokio::test]
async fn check_over_a_broken_connection_is_one_miss() {
    let (listener, address) = listen().await;
    let driver = driver(address, LONG);
    let body = r#"{"status":"healthy"}"#;
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let healthy = reports(ReportedHealth::Healthy, None, None);
    let (observed, (_, mut stream)) = tokio::join!(driver.check(), answer_next(&listener, &answer));
    assert_eq!(observed, healthy);
    let (observed, ()) = tokio::join!(driver.check(), async {
        read_request(&mut stream).await;
        drop(stream);
    });
    missed_details(observed);
    // A repeated request would be accepted first.
    let (observed, _) = tokio::join!(driver.check(), answer_next(&listener, &answer));
    assert_eq!(observed, healthy);
}

// === messages ===

/// A transport whose backend is unreachable.
struct UnreachableTransport;

impl Transport for UnreachableTransport {
    fn send<'a>(
        &'a self,
        _: &'a Request,
        _: Duration,
    ) -> BoxFuture<'a, Result<StreamingResponse, TransportError>> {
        let refused = TransportError::new(FailureKind::Refused, SendProgress::NotSent, "nobody listens");
        std::future::ready(Err(refused)).boxed()
    }
}

#[test]
fn request_that_never_left_the_queue_is_expired() {
    for (reason, expected) in [
        (Reason::Disconnected, Reason::Expired),
        (Reason::QueueFull, Reason::Expired),
        (Reason::Evicted, Reason::Expired),
        (Reason::OutcomeUnknown, Reason::OutcomeUnknown),
        (Reason::Forbidden, Reason::Forbidden),
    ] {
        assert_eq!(as_expired(Error::new(reason)).reason, expected, "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn deliver_unreachable_backend_expires_at_deadline() {
    let mut root = SupervisorSpec::new("root");
    let queue = QueueActor::new(Arc::new(UnreachableTransport), QueuePolicy::default(), QueueView::default());
    let address = root.child(Child::new("queue", queue)).unwrap();
    let _runtime = Runtime::builder().start(root).await.unwrap();
    let driver = HttpDriver::new(Arc::new(UnreachableTransport), "planner", LONG)
        .with_queue(QueueHandle::new(address));
    // Shorter and longer than the default wait of a request, a minute.
    for wait in [5, 300].map(Duration::from_secs) {
        let begun = Instant::now();
        let message = AgentMessage {
            id: MessageId(7),
            body: json!("hello").into(),
            deadline: Some(begun + wait),
            limits: MessageLimits::default(),
        };
        let error = driver.deliver(message).await.unwrap_err();
        assert_eq!((error.reason, begun.elapsed()), (Reason::Expired, wait), "{error:?}");
        assert!(error.log_text().contains("disconnected"), "{error:?}");
    }
}

//! Tests that the link comes back by itself, that a backend without a WebSocket needs none, and that its token may change.

use jiff::Timestamp;
use mainstay::config::Config;
use mainstay::journal::Delivery;
use mainstay::{
    ConnectionState, Credentials, Finding, Mainstay, Reconnected, Request, VerdictLevel, WallTime,
};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::server;
use crate::support::{self, MainstayProcess, TEST_TIMEOUT};

async fn start(config: &str) -> Mainstay {
    Mainstay::builder().config(Config::from_toml(config).unwrap()).start().await.unwrap()
}

async fn wait_for_state(mainstay: &Mainstay, state: ConnectionState) {
    let mut status = mainstay.connection().watch();
    let reached = timeout(TEST_TIMEOUT, status.wait_for(|status| status.state == state)).await;
    drop(reached.unwrap_or_else(|_| panic!("it did not become {state:?}")));
}

#[tokio::test]
async fn answer_over_http_ends_the_longest_wait_of_the_link() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mainstay = start(&format!(
        "backend.url = \"http://{address}\"\n[connection]\ndelay_min = \"1h\"\ndelay_max = \"1h\""
    ))
    .await;
    // The first handshake is refused for the moment, so that an hour's wait begins.
    server::answer(&listener, "503 No").await;
    wait_for_state(&mainstay, ConnectionState::Reconnecting).await;
    let request = mainstay.request(Request::get("/any").build().unwrap());
    let (response, _kept) = tokio::join!(request, server::answer(&listener, "200 OK"));
    response.unwrap();
    let _peer = timeout(TEST_TIMEOUT, server::accept(&listener)).await.expect("the link dials at once");
    wait_for_state(&mainstay, ConnectionState::Connected).await;
    mainstay.shutdown().await;
}

#[tokio::test]
async fn backend_without_websocket_is_used_and_nothing_is_red() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mainstay = start(&format!("backend.url = \"http://{address}\"\nconnection.enabled = false")).await;
    let request = mainstay.request(Request::get("/any").build().unwrap());
    // The request is the first to come: nothing else was dialled.
    let (response, (_stream, head)) = tokio::join!(request, server::answer(&listener, "200 OK"));
    assert_eq!(response.unwrap().status.as_u16(), 200);
    assert!(head.starts_with("GET /any "), "{head}");
    let status = serde_json::to_value(mainstay.status().await).unwrap();
    assert_eq!(
        (&status["connection"]["state"], &status["queue"]["held"]),
        (&"disabled".into(), &Value::Null)
    );
    let error = mainstay.connection().reconnect().await.unwrap_err();
    assert_eq!(error.reason.to_string(), "invalid_config");
    mainstay.shutdown().await;
}

#[tokio::test]
async fn verdict_names_the_key_for_a_missing_websocket() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mainstay = start(&format!("backend.url = \"http://{address}\"")).await;
    server::answer(&listener, "404 No").await;
    let mut events = mainstay.events();
    let failed_at: Timestamp = loop {
        match timeout(TEST_TIMEOUT, events.next()).await.expect("the connection has failed") {
            Some(Delivery::Event(record)) if record.fields.get("to") == Some(&"failed".into()) => {
                break record.at.parse().unwrap();
            }
            Some(_) => {}
            None => panic!("the events ended"),
        }
    };
    let verdict = mainstay.status().await.verdict;
    assert!(matches!(verdict.finding, Finding::NoWebsocket { status: 404, .. }), "{verdict:?}");
    assert!(verdict.text.ends_with("set [connection] enabled = false"), "{verdict:?}");
    assert_eq!((verdict.level, &verdict.action), (VerdictLevel::Warning, &None));
    let then = mainstay.history_at(WallTime(failed_at)).await;
    assert_eq!(then.verdict.unwrap().text, verdict.text);
    mainstay.shutdown().await;
}

#[tokio::test]
async fn endpoint_that_resets_or_fails_delays_no_other() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mainstay = start(&format!(
        "backend.url = \"http://{address}\"\nconnection.enabled = false\n[requests]\nretry_delay_min = \"1h\"\n\
         retry_delay_max = \"1h\""
    ))
    .await;
    let mut backend = JoinSet::new();
    backend.spawn(async move {
        loop {
            let (mut stream, head) = server::accept_request(&listener).await;
            let status = match &head[..10] {
                "GET /reset" => continue,
                "GET /fails" => "500 No",
                _ => "200 OK",
            };
            let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    for path in ["/reset", "/fails"] {
        let broken = mainstay.request(Request::get(path).retries(0).build().unwrap()).await;
        broken.expect_err(path);
        // With a delay of an hour, a request that is held would not be answered within the test's time.
        let request = mainstay.request(Request::get("/works").build().unwrap());
        timeout(TEST_TIMEOUT, request).await.expect("it is held").unwrap();
        assert_eq!(mainstay.status().await.queue.held, None, "{path}");
    }
    mainstay.shutdown().await;
    drop(backend);
}

#[tokio::test]
async fn reconnect_by_the_command_replaces_the_socket_and_says_so() {
    let data = tempfile::tempdir().unwrap();
    let mut demo = MainstayProcess::start(data.path(), &["demo", "--agents", "1"]);
    demo.line_containing("dashboard").await;
    let first = support::run(data.path(), &["reconnect"]).await;
    assert_eq!(first.code, Some(0), "{first:?}");
    let second = support::run(data.path(), &["reconnect"]).await;
    assert!(second.stdout.contains("replaced") && second.stdout.contains("connected"), "{second:?}");
    let events = support::run_json(data.path(), &["status"]).await;
    assert_eq!(events["connection"]["state"], "connected");
}

#[tokio::test]
async fn reconnect_to_a_dead_backend_tells_the_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mainstay = start(&format!("backend.url = \"http://{address}\"")).await;
    let error = mainstay.connection().reconnect().await.unwrap_err();
    assert_eq!(error.reason.to_string(), "connection_refused");
    let report = mainstay.connection().report();
    assert!(report.next_attempt_at.is_some() && report.next_step.contains("attempt"), "{report:?}");
    mainstay.shutdown().await;
}

#[tokio::test]
async fn token_from_a_file_changes_and_is_redacted_in_the_journal() {
    let data = tempfile::tempdir().unwrap();
    let token = data.path().join("token");
    std::fs::write(&token, "first-t0ken").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = format!(
        "[backend]\nurl = \"http://{address}\"\ntoken_file = {:?}\n[connection]\ntoken_query = \"token\"",
        token.display().to_string()
    );
    let config = Config::from_toml(&config).unwrap();
    let builder = Mainstay::builder().config(config).data_dir(data.path());
    let mainstay = builder.start().await.unwrap();
    let (_, first) = server::answer(&listener, "401 first-t0ken").await;
    assert!(first.starts_with("GET /ws?token=first-t0ken ") && !first.contains("Bearer"), "{first}");
    wait_for_state(&mainstay, ConnectionState::Failed).await;
    std::fs::write(&token, "second-t0ken\n").unwrap();
    assert!(mainstay.reload_credentials().await.unwrap());
    let (_, second) = server::answer(&listener, "503 second-t0ken").await;
    assert!(second.starts_with("GET /ws?token=second-t0ken "), "{second}");
    wait_for_state(&mainstay, ConnectionState::Reconnecting).await;
    assert_eq!(mainstay.journal().redact("first-t0ken second-t0ken"), "[redacted] [redacted]");
    mainstay.shutdown().await;
    let journal = std::fs::read_dir(data.path().join("journal")).unwrap();
    for file in journal.map(|file| file.unwrap().path()).filter(|path| path.is_file()) {
        let text = String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned();
        assert!(!text.contains("t0ken"), "{text}");
    }
}

#[tokio::test]
async fn callback_supplies_the_token_and_the_change_is_an_event() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = Config::from_toml(&format!("backend.url = \"http://{address}\"")).unwrap();
    let credentials =
        Credentials::from_callback(|request| async move { Ok(Some(format!("token-{request:?}"))) });
    let mainstay = Mainstay::builder().config(config).credentials(credentials).start().await.unwrap();
    let mut events = mainstay.events();
    let _peer = server::accept(&listener).await;
    assert!(mainstay.reload_credentials().await.unwrap());
    let wait = async {
        while let Some(delivery) = events.next().await {
            if matches!(&delivery, Delivery::Event(record) if record.kind == "credentials_changed") {
                return;
            }
        }
        panic!("the events ended");
    };
    timeout(TEST_TIMEOUT, wait).await.expect("the change is recorded");
    mainstay.shutdown().await;
}

#[tokio::test]
async fn replaced_socket_resumes_after_the_last_number() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mainstay = start(&format!("backend.url = \"http://{address}\"")).await;
    let mut frames = mainstay.connection().frames();
    let mut first = server::accept(&listener).await;
    first.write_all(&server::frame(0x81, br#"{"type":"event","seq":7}"#)).await.unwrap();
    timeout(TEST_TIMEOUT, frames.next()).await.unwrap().unwrap();
    let connection = mainstay.connection();
    let accept = async {
        let mut second = server::accept(&listener).await;
        (server::read_frame(&mut second).await.unwrap(), second)
    };
    let (reconnected, (resume, _second)) = tokio::join!(connection.reconnect(), accept);
    assert_eq!(reconnected.unwrap(), Reconnected::Replaced);
    assert_eq!(resume.payload, br#"{"type":"resume","after":7}"#);
    let close = server::read_frame(&mut first).await.unwrap();
    assert_eq!((close.head, &close.payload[..2]), (0x88, &1000_u16.to_be_bytes()[..]));
    mainstay.shutdown().await;
}

#[tokio::test]
async fn backend_that_insists_on_a_subprotocol_is_reached() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mainstay = start(&format!(
        "backend.url = \"http://{address}\"\nconnection.subprotocols = [\"chat.v2\", \"chat.v1\"]"
    ))
    .await;
    let (mut stream, head) = server::accept_request(&listener).await;
    assert!(head.contains("\r\nSec-WebSocket-Protocol: chat.v2, chat.v1\r\n"), "{head}");
    let answer = server::handshake(&head, "sec-websocket-protocol: chat.v1\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
    wait_for_state(&mainstay, ConnectionState::Connected).await;
    mainstay.shutdown().await;
}

#[tokio::test]
async fn request_rejected_with_401_is_sent_once_more_and_recorded() {
    let data = tempfile::tempdir().unwrap();
    let token = data.path().join("token");
    std::fs::write(&token, "first-t0ken").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mainstay = start(&format!(
        "connection.enabled = false\n[backend]\nurl = \"http://{address}\"\ntoken_file = {:?}",
        token.display().to_string()
    ))
    .await;
    let request = mainstay.request(Request::post("/write").body("payload").build().unwrap());
    let backend = async {
        let (mut stream, first) = server::accept_request(&listener).await;
        std::fs::write(&token, "second-t0ken").unwrap();
        stream.write_all(b"HTTP/1.1 401 No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        let (second_stream, second) = server::answer(&listener, "200 OK").await;
        // Closed with the body unread, a connection would be reset.
        (first, second, [stream, second_stream])
    };
    let (response, (first, second, _streams)) = tokio::join!(request, backend);
    assert_eq!(response.unwrap().status.as_u16(), 200);
    assert!(
        first.contains("Bearer first-t0ken") && second.contains("Bearer second-t0ken"),
        "{first}{second}"
    );
    let mut events = mainstay.events();
    let wait = async {
        while let Some(Delivery::Event(record)) = events.next().await {
            if record.kind == "credentials_changed" && record.fields["cause"] == "rejected" {
                return;
            }
        }
        panic!("the change is not recorded");
    };
    timeout(TEST_TIMEOUT, wait).await.unwrap();
    mainstay.shutdown().await;
}

#[tokio::test]
async fn reload_without_a_source_of_tokens_says_what_to_do() {
    let data = tempfile::tempdir().unwrap();
    let mut demo = MainstayProcess::start(data.path(), &["demo", "--agents", "1"]);
    demo.line_containing("dashboard").await;
    let reload = support::run(data.path(), &["credentials", "reload"]).await;
    assert_eq!(reload.code, Some(1), "{reload:?}");
    assert!(reload.stderr.contains("token_file"), "{reload:?}");
}

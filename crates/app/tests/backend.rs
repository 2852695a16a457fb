//! The embedded backend over real sockets: what the runtime expects of a backend, and each fault.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by a panic")]

use std::time::Duration;

use futures_util::{FutureExt, SinkExt, StreamExt};
use mainstay::backend::{Backend, BackendError, BackendOptions};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::Instant,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error as WsError, Message, protocol::frame::coding::CloseCode},
};

type ClientSocket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A backend and a client that talks to it.
struct BackendClient {
    backend: Backend,
    client: Client,
}

impl BackendClient {
    async fn start() -> Self {
        Self::with_history(1024).await
    }

    async fn with_history(history_max: usize) -> Self {
        let agents = vec!["planner".to_owned(), "coder".to_owned()];
        let backend = Backend::bind(BackendOptions { port: 0, agents, history_max }).await.unwrap();
        let client = Client::builder().no_proxy().build().unwrap();
        Self { backend, client }
    }

    /// The status and JSON body of an answer, which must come within reason.
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let response = self.send(method, path, body).await;
        let status = response.status();
        let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
        if status.is_client_error() || status.is_server_error() {
            assert_eq!(kind.as_deref(), Some("application/problem+json"), "{path}");
        }
        let body = response.bytes().await.unwrap();
        (status, if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() })
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> reqwest::Response {
        self.request(method, path, body).send().await.unwrap()
    }

    fn request(&self, method: Method, path: &str, body: Option<Value>) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.backend.url()));
        match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        }
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.call(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.call(Method::POST, path, Some(body)).await
    }

    /// Injects a fault by HTTP, which must accept it.
    async fn fault(&self, fault: Value) {
        let (status, answer) = self.post("/_fault", fault.clone()).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["injected"], fault);
    }

    /// Injects a fault of an agent.
    async fn agent_fault(&self, kind: &str, agent: &str) {
        self.fault(json!({ "kind": kind, "agent": agent })).await;
    }

    async fn health(&self, agent: &str) -> Value {
        let (status, health) = self.get(&format!("/api/agents/{agent}/health")).await;
        assert_eq!(status, 200);
        health
    }

    async fn message(&self, text: &str) -> (StatusCode, Value) {
        self.post("/api/agents/planner/message", json!({ "text": text })).await
    }

    async fn restart(&self) -> (StatusCode, Value) {
        self.call(Method::POST, "/api/agents/planner/restart", None).await
    }

    async fn socket(&self) -> ClientSocket {
        self.handshake().await.unwrap()
    }

    async fn handshake(&self) -> Result<ClientSocket, WsError> {
        Ok(connect_async(format!("ws://{}/ws", self.backend.address())).await?.0)
    }

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.backend.address()).await.unwrap()
    }

    /// A few whole round trips: what is answered at all has been answered after them.
    async fn yield_for_requests(&self) {
        for _ in 0..20 {
            assert_eq!(self.post("/api/echo", json!(1)).await.0, 200);
        }
    }
}

/// The next JSON frame that is not about caches.
async fn next_frame(socket: &mut ClientSocket) -> Value {
    loop {
        let frame = next_any_frame(socket).await;
        if frame["type"] != "invalidate" {
            return frame;
        }
    }
}

/// The next JSON frame.
async fn next_any_frame(socket: &mut ClientSocket) -> Value {
    loop {
        if let Message::Text(text) = socket.next().await.unwrap().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

async fn send_frame(socket: &mut ClientSocket, frame: Value) {
    socket.send(Message::text(frame.to_string())).await.unwrap();
}

/// Checks that the socket answers.
async fn assert_alive(socket: &mut ClientSocket) {
    send_frame(socket, json!({ "type": "ping" })).await;
    assert_eq!(next_frame(socket).await, json!({ "type": "pong" }));
}

/// Waits for the socket's end, which must come without a close frame.
async fn assert_dropped(mut socket: ClientSocket) {
    loop {
        match socket.next().await {
            Some(Ok(Message::Close(frame))) => panic!("closed in order: {frame:?}"),
            Some(Ok(_)) => {}
            Some(Err(_)) => return,
            None => panic!("closed in order"),
        }
    }
}

// Agents

#[tokio::test]
async fn an_agent_remembers_its_messages() {
    let bench = BackendClient::start().await;
    assert_eq!(bench.message("one").await.1["count"], 1);
    let (status, answer) = bench.message("two").await;
    assert_eq!(status, 200);
    assert_eq!(answer, json!({ "id": "planner", "count": 2, "reply": "planner has heard 2 messages" }));
    let memory = json!({ "messages": [{ "text": "one" }, { "text": "two" }], "count": 2 });
    assert_eq!(bench.get("/api/agents/planner/state").await, (StatusCode::OK, memory.clone()));
    assert_eq!(bench.backend.state_of("planner"), Some(memory));
    assert_eq!(bench.backend.state_of("coder").unwrap()["count"], 0);
    assert_eq!(bench.backend.state_of("absent"), None);
}

#[tokio::test]
async fn crashed_agent_is_empty_until_restarted_and_written_back() {
    let bench = BackendClient::start().await;
    bench.message("one").await;
    let path = "/api/agents/planner/state";
    let (_, saved) = bench.get(path).await;
    bench.agent_fault("crash_agent", "planner").await;
    let failed = json!({ "id": "planner", "status": "failed", "uptime": 0, "errorCount": 1 });
    assert_eq!(bench.health("planner").await, failed);
    let (status, problem) = bench.message("two").await;
    assert_eq!(status, 503);
    assert_eq!(problem["status"], 503);
    assert_eq!(problem["title"], "Service Unavailable");
    assert_eq!(problem["detail"], "agent \"planner\" has crashed; restart it first");
    assert_eq!(bench.get(path).await.0, 503);
    assert_eq!(bench.call(Method::PUT, path, Some(saved.clone())).await.0, 503);
    assert_eq!(bench.backend.state_of("planner").unwrap()["count"], 0);
    assert_eq!(bench.health("coder").await["status"], "healthy");
    let (status, health) = bench.restart().await;
    assert_eq!((status, &health["status"]), (StatusCode::OK, &json!("healthy")));
    assert_eq!(bench.health("planner").await["errorCount"], 1);
    assert_eq!(bench.get(path).await.1, json!({ "messages": [], "count": 0 }));
    let written = bench.call(Method::PUT, path, Some(saved.clone())).await;
    assert_eq!(written, (StatusCode::NO_CONTENT, Value::Null));
    assert_eq!(bench.get(path).await.1, saved);
    assert_eq!(bench.message("two").await.1["count"], 2);
    bench.agent_fault("crash_agent", "planner").await;
    bench.agent_fault("heal_agent", "planner").await;
    assert_eq!(bench.health("planner").await["status"], "healthy");
    assert_eq!(bench.message("healed without a restart").await.1["count"], 1);
}

#[tokio::test]
async fn hung_agent_holds_requests_until_healed() {
    let bench = BackendClient::start().await;
    bench.message("one").await;
    bench.agent_fault("hang_agent", "planner").await;
    let mut open = JoinSet::new();
    let message = json!({ "text": "two" });
    for request in [
        bench.request(Method::GET, "/api/agents/planner/health", None),
        bench.request(Method::GET, "/api/agents/planner/state", None),
        bench.request(Method::POST, "/api/agents/planner/message", Some(message)),
    ] {
        open.spawn(async move { request.send().await.unwrap().status() });
    }
    bench.yield_for_requests().await;
    assert!(open.try_join_next().is_none(), "a hung agent answered");
    assert_eq!(bench.health("coder").await["status"], "healthy");
    bench.agent_fault("heal_agent", "planner").await;
    assert_eq!(open.join_all().await, [StatusCode::OK; 3]);
    let memory = json!({ "messages": [{ "text": "one" }, { "text": "two" }], "count": 2 });
    assert_eq!(bench.backend.state_of("planner"), Some(memory));
}

#[tokio::test]
async fn a_request_to_a_hung_agent_ends_when_its_client_goes() {
    let bench = BackendClient::start().await;
    bench.agent_fault("hang_agent", "planner").await;
    let gone = bench.request(Method::POST, "/api/agents/planner/message", Some(json!("lost")));
    assert!(gone.timeout(Duration::from_millis(50)).send().await.unwrap_err().is_timeout());
    bench.yield_for_requests().await;
    bench.agent_fault("heal_agent", "planner").await;
    assert_eq!(bench.message("kept").await.1["count"], 1);
    assert_eq!(bench.backend.state_of("planner").unwrap()["messages"], json!([{ "text": "kept" }]));
}

#[tokio::test]
async fn a_hung_agent_can_be_restarted_and_what_waited_for_it_is_lost() {
    let bench = BackendClient::start().await;
    bench.agent_fault("hang_agent", "planner").await;
    let waiting = bench.request(Method::POST, "/api/agents/planner/message", Some(json!("hi")));
    let mut open = JoinSet::new();
    open.spawn(waiting.send());
    bench.yield_for_requests().await;
    assert!(open.try_join_next().is_none());
    assert_eq!(bench.restart().await.1["status"], "healthy");
    assert_eq!(open.join_next().await.unwrap().unwrap().unwrap().status(), 503);
    assert_eq!(bench.backend.state_of("planner").unwrap()["count"], 0);
}

#[tokio::test]
async fn refused_request_is_a_problem_that_names_the_reason() {
    let bench = BackendClient::start().await;
    let no_agent = "there is no agent \"absent\"; there is planner, coder";
    let long = format!("/api/search?q={}", "x".repeat(257));
    let search = "/api/search?q=tides";
    let crash = |members: Value| {
        let mut fault = json!({ "kind": "crash_agent" });
        fault.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        Some(fault)
    };
    for (method, path, body, status, detail) in [
        (Method::GET, "/api/agents/absent/health", None, 404, no_agent),
        (Method::POST, "/api/agents/absent/restart", None, 404, no_agent),
        (Method::GET, "/api/agents/absent/state", None, 404, no_agent),
        (Method::PUT, "/api/agents/absent/state", Some(json!(1)), 404, no_agent),
        (Method::POST, "/api/agents/absent/message", Some(json!(1)), 404, no_agent),
        (Method::POST, "/api/agents/planner/message", Some(json!("x".repeat(5000))), 413, "at most 4096"),
        (Method::GET, "/api/agents/%ff/health", None, 400, ""),
        (Method::GET, "/api/search", None, 400, search),
        (Method::GET, "/api/search?q=", None, 400, search),
        (Method::GET, "/api/search?p=tides", None, 400, search),
        (Method::GET, &long, None, 400, search),
        (Method::GET, "/api/nothing", None, 404, "nothing answers at /api/nothing"),
        (Method::POST, "/_fault", Some(json!({ "kind": "explode" })), 400, "crash_agent"),
        (Method::POST, "/_fault", crash(json!({})), 400, r#"{"kind":"crash_agent","agent":"planner"}"#),
        (Method::POST, "/_fault", crash(json!({ "agent": "absent" })), 400, "there is planner, coder"),
        (
            Method::POST,
            "/_fault",
            Some(json!({ "kind": "reset", "path": "/", "times": 0 })),
            400,
            "1 to 1000000",
        ),
    ] {
        let (answered, problem) = bench.call(method.clone(), path, body).await;
        assert_eq!(answered.as_u16(), status, "{method} {path}: {problem}");
        assert_eq!(problem["status"], json!(status), "{method} {path}: {problem}");
        assert_eq!(problem["type"], "about:blank");
        assert_eq!(problem["title"].as_str(), answered.canonical_reason());
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{method} {path}: {problem}");
    }
    let broken = bench.request(Method::POST, "/api/agents/planner/message", None).body("{");
    assert_eq!(broken.send().await.unwrap().status(), 400);
    assert_eq!(bench.backend.state_of("planner").unwrap()["count"], 0);
    for (method, path, status, header, value) in [
        (Method::DELETE, "/api/agents/planner/state", 405, "allow", "GET,HEAD,PUT"),
        (Method::GET, "/ws", 426, "upgrade", "websocket"),
    ] {
        let response = bench.send(method, path, None).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers()[header], value, "{path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
    }
}

// Files, search and echo

#[tokio::test]
async fn a_file_comes_as_text_with_its_media_type() {
    let bench = BackendClient::start().await;
    let response = bench.send(Method::GET, "/api/files/docs/tides.md", None).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/markdown; charset=utf-8");
    assert!(response.text().await.unwrap().starts_with("# Tides\n"));
}

#[tokio::test]
async fn no_path_leads_out_of_the_files() {
    let bench = BackendClient::start().await;
    for path in [
        "/api/files/../../../../etc/passwd",
        "/api/files/%2e%2e/%2e%2e/etc/passwd",
        "/api/files/..%2f..%2fetc%2fpasswd",
        "/api/files//etc/passwd",
        "/api/files/docs/..%5c..%5cREADME.md",
        "/api/files/README.md%00",
        "/api/files/Cargo.toml",
    ] {
        // By hand, since URL parsers resolve dots before they send anything.
        let answer =
            raw(&bench, &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
        assert!(answer.contains("application/problem+json"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_search_gives_the_same_lines_each_time() {
    let bench = BackendClient::start().await;
    let (status, found) = bench.get("/api/search?q=TIDE+table").await;
    assert_eq!(status, 200);
    let hit =
        json!({ "path": "notes/todo.txt", "line": 3, "text": "check the tide table against last year" });
    assert_eq!(found, json!({ "query": "TIDE table", "hits": [hit], "truncated": false }));
    assert_eq!(bench.get("/api/search?q=TIDE+table").await.1, found);
}

#[tokio::test]
async fn echo_returns_the_body_of_at_most_one_mebibyte() {
    let bench = BackendClient::start().await;
    let request = bench.request(Method::POST, "/api/echo", None);
    let request = request.header("content-type", "text/x-odd").header("idempotency-key", "k1").body("a\0b");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/x-odd");
    assert_eq!(response.headers()["idempotency-key"], "k1");
    assert_eq!(response.bytes().await.unwrap(), "a\0b");
    for (bytes, status) in [(1 << 20, 200), ((1 << 20) + 1, 413), (8 << 20, 413)] {
        let request = bench.request(Method::POST, "/api/echo", None).body(vec![b'x'; bytes]);
        assert_eq!(request.send().await.unwrap().status(), status, "{bytes} bytes");
    }
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let bench = BackendClient::start().await;
    let mut stream = bench.tcp().await;
    for _ in 0..3 {
        stream.write_all(b"GET /api/agents/planner/health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 17];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 200 OK\r\n");
        let end = br#""errorCount":0}"#;
        while !answer.ends_with(end) {
            answer.push(stream.read_u8().await.unwrap());
        }
    }
}

// Faults on requests

/// Writes a request by hand and reads to the end of the connection.
async fn raw(bench: &BackendClient, request: &str) -> String {
    let mut stream = bench.tcp().await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_status_fault_answers_as_often_as_it_says_below_its_path() {
    let bench = BackendClient::start().await;
    let fault =
        json!({ "kind": "status", "path": "/api/files", "status": 503, "times": 2, "retry_after": 7 });
    bench.fault(fault).await;
    assert_eq!(bench.get("/api/search?q=tide").await.0, 200);
    for _ in 0..2 {
        let response = bench.send(Method::GET, "/api/files/README.md", None).await;
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "7");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
    assert_eq!(bench.send(Method::GET, "/api/files/README.md", None).await.status(), 200);
    // The request that it strikes is not carried out.
    bench.fault(json!({ "kind": "status", "path": "/api/agents/planner", "status": 429, "times": 1 })).await;
    let response = bench.send(Method::POST, "/api/agents/planner/message", Some(json!("hi"))).await;
    assert_eq!(response.status(), 429);
    assert!(!response.headers().contains_key("retry-after"));
    assert_eq!(bench.message("again").await.1["count"], 1);
}

#[tokio::test]
async fn a_slow_fault_delays_as_often_as_it_says() {
    let bench = BackendClient::start().await;
    bench.fault(json!({ "kind": "slow", "path": "/api/echo", "ms": 150, "times": 1 })).await;
    let start = Instant::now();
    assert_eq!(bench.post("/api/echo", json!(1)).await.0, 200);
    assert!(start.elapsed() >= Duration::from_millis(150));
    // An hour for a path that nothing asks for: it must not be spent on another.
    bench.fault(json!({ "kind": "slow", "path": "/api/files", "ms": 3_600_000, "times": 1 })).await;
    assert_eq!(bench.post("/api/echo", json!(1)).await.0, 200);
}

#[tokio::test]
async fn a_reset_fault_resets_the_requests_connection_and_no_other() {
    let bench = BackendClient::start().await;
    let mut bystander = bench.tcp().await;
    bench.fault(json!({ "kind": "reset", "path": "/api/agents", "times": 1 })).await;
    let mut stream = bench.tcp().await;
    let request = "POST /api/agents/planner/message HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n\"hi\"";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let error = stream.read_to_end(&mut answer).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(answer, b"");
    assert_eq!(bench.backend.state_of("planner").unwrap()["count"], 0);
    bystander.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 17];
    bystander.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK\r\n");
}

#[tokio::test]
async fn no_fault_strikes_the_fault_endpoint() {
    let bench = BackendClient::start().await;
    bench.fault(json!({ "kind": "reset", "path": "/", "times": 1 })).await;
    bench.agent_fault("heal_agent", "planner").await;
    let struck = bench.request(Method::GET, "/api/agents/planner/health", None).send().await;
    assert!(struck.is_err() || struck.unwrap().status() == 200, "a client may repeat a GET by itself");
    assert_eq!(bench.health("planner").await["status"], "healthy");
}

// WebSocket

#[tokio::test]
async fn agent_changes_are_numbered_events() {
    let bench = BackendClient::start().await;
    let mut socket = bench.socket().await;
    bench.message("hi").await;
    bench.agent_fault("hang_agent", "planner").await;
    bench.agent_fault("heal_agent", "planner").await;
    bench.agent_fault("crash_agent", "planner").await;
    bench.restart().await;
    bench.call(Method::PUT, "/api/agents/planner/state", Some(json!({}))).await;
    let event =
        |seq: u64, kind: &str| json!({ "type": "event", "seq": seq, "kind": kind, "agent": "planner" });
    let mut expected =
        ["agent_hung", "agent_healed", "agent_crashed", "agent_restarted", "agent_state_written"]
            .iter()
            .zip(2..)
            .map(|(kind, seq)| event(seq, kind))
            .collect::<Vec<_>>();
    expected[2]["errorCount"] = json!(1);
    expected[3]["errorCount"] = json!(1);
    let mut message = event(1, "agent_message");
    message["count"] = json!(1);
    message["message"] = json!({ "text": "hi" });
    expected.insert(0, message);
    for event in expected {
        assert_eq!(next_frame(&mut socket).await, event);
    }
}

#[tokio::test]
async fn each_event_follows_its_invalidation() {
    let bench = BackendClient::start().await;
    let mut socket = bench.socket().await;
    send_frame(&mut socket, json!({ "type": "resume", "after": 0 })).await;
    bench.message("hi").await;
    let keys = ["http:/api/agents/planner/health", "http:/api/agents/planner/state"];
    assert_eq!(next_any_frame(&mut socket).await, json!({ "type": "invalidate", "keys": keys }));
    assert_eq!(next_any_frame(&mut socket).await["kind"], "agent_message");
}

#[tokio::test]
async fn a_client_that_resumes_gets_what_it_missed_in_order() {
    let bench = BackendClient::start().await;
    for _ in 0..5 {
        bench.message("while away").await;
    }
    let mut socket = bench.socket().await;
    // Already there when the resume comes, and yet later in the order.
    bench.message("before the resume").await;
    send_frame(&mut socket, json!({ "type": "resume", "after": 2 })).await;
    for seq in 3..=6 {
        assert_eq!(next_frame(&mut socket).await["seq"], seq);
    }
    let mut other = bench.socket().await;
    bench.message("live").await;
    assert_eq!(next_frame(&mut socket).await["seq"], 7);
    assert_eq!(next_frame(&mut other).await["seq"], 7, "a new client gets no old events");
}

#[tokio::test]
async fn resume_beyond_the_history_gets_the_gap() {
    let bench = BackendClient::with_history(3).await;
    for _ in 0..10 {
        bench.message("while away").await;
    }
    let mut socket = bench.socket().await;
    send_frame(&mut socket, json!({ "type": "resume", "after": 2 })).await;
    assert_eq!(next_frame(&mut socket).await, json!({ "type": "gap", "after": 2, "next": 8 }));
    for seq in 8..=10 {
        assert_eq!(next_frame(&mut socket).await["seq"], seq);
    }
}

#[tokio::test]
async fn a_ping_is_answered() {
    let bench = BackendClient::start().await;
    let mut socket = bench.socket().await;
    socket.send(Message::Ping("mark".into())).await.unwrap();
    loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Pong(mark) => break assert_eq!(mark, "mark"),
            other => assert!(other.is_ping(), "{other:?}"),
        }
    }
    assert_alive(&mut socket).await;
}

#[tokio::test]
async fn invalid_frame_is_answered_with_valid_ones() {
    let bench = BackendClient::start().await;
    let mut socket = bench.socket().await;
    let wrong =
        ["no json", "{}", r#"{"type":"sing"}"#, r#"{"type":"resume"}"#, r#"{"type":"resume","after":-1}"#];
    let mut messages: Vec<Message> = wrong.map(Message::text).into();
    messages.push(Message::binary(vec![1, 2, 3]));
    for message in messages {
        socket.send(message).await.unwrap();
        let answer = next_frame(&mut socket).await;
        assert_eq!(answer["type"], "error");
        assert!(answer["detail"].as_str().unwrap().contains(r#"{"type":"resume","after":N}"#), "{answer}");
    }
    assert_alive(&mut socket).await;
}

#[tokio::test]
async fn a_frame_that_is_too_large_closes_the_socket_with_a_reason() {
    let bench = BackendClient::start().await;
    let mut socket = bench.socket().await;
    socket.send(Message::text("x".repeat(4 << 20))).await.unwrap();
    loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Close(frame) => break assert_eq!(frame.unwrap().code, CloseCode::Size),
            other => assert!(other.is_ping(), "{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_client_that_closes_is_closed_in_order() {
    let bench = BackendClient::start().await;
    let mut socket = bench.socket().await;
    socket.close(None).await.unwrap();
    loop {
        match socket.next().await {
            None => break,
            Some(message) => assert!(!message.unwrap().is_text()),
        }
    }
}

// Faults on WebSockets

#[tokio::test]
async fn drop_ws_cuts_every_open_socket_without_a_close_frame() {
    let bench = BackendClient::start().await;
    let (one, two) = (bench.socket().await, bench.socket().await);
    bench.fault(json!({ "kind": "drop_ws" })).await;
    assert_dropped(one).await;
    assert_dropped(two).await;
    let mut after = bench.socket().await;
    assert_alive(&mut after).await;
}

#[tokio::test]
async fn refused_handshake_gets_its_status_beside_open_sockets() {
    let bench = BackendClient::start().await;
    let mut open = bench.socket().await;
    bench.fault(json!({ "kind": "refuse_ws", "for_ms": 3_600_000 })).await;
    let Err(WsError::Http(response)) = bench.handshake().await else { panic!("not refused") };
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_alive(&mut open).await;
    bench.fault(json!({ "kind": "refuse_ws", "for_ms": 0 })).await;
    bench.socket().await;
    // Faults of requests strike handshakes too.
    bench.fault(json!({ "kind": "status", "path": "/ws", "status": 401, "times": 1 })).await;
    let Err(WsError::Http(response)) = bench.handshake().await else { panic!("not struck") };
    assert_eq!(response.status(), 401);
    bench.fault(json!({ "kind": "reset", "path": "/ws", "times": 1 })).await;
    assert!(bench.handshake().await.is_err());
    bench.socket().await;
}

#[tokio::test]
async fn half_open_ws_keeps_sockets_open_and_silent() {
    let bench = BackendClient::start().await;
    let mut old = bench.socket().await;
    assert_alive(&mut old).await;
    bench.fault(json!({ "kind": "half_open_ws", "for_ms": 3_600_000 })).await;
    let mut new = bench.socket().await;
    for socket in [&mut old, &mut new] {
        socket.send(Message::Ping("there?".into())).await.unwrap();
        send_frame(socket, json!({ "type": "ping" })).await;
    }
    bench.message("unheard").await;
    bench.yield_for_requests().await;
    for socket in [&mut old, &mut new] {
        let spoken = socket.next().now_or_never();
        assert!(spoken.is_none(), "a half-open socket spoke: {spoken:?}");
    }
    bench.fault(json!({ "kind": "half_open_ws", "for_ms": 0 })).await;
    for socket in [&mut old, &mut new] {
        let mut kinds = [next_frame(socket).await["type"].clone(), next_frame(socket).await["type"].clone()];
        kinds.sort_by_key(Value::to_string);
        assert_eq!(kinds, ["event", "pong"]);
    }
}

// Start and end

#[tokio::test]
async fn closed_backend_handles_nothing_and_keeps_its_state() {
    let mut bench = BackendClient::start().await;
    bench.message("heard").await;
    let mut socket = bench.socket().await;
    bench.backend.close().await;
    assert!(TcpStream::connect(bench.backend.address()).await.is_err());
    while let Some(Ok(_)) = socket.next().await {}
    let memory = json!({ "messages": [{ "text": "heard" }], "count": 1 });
    assert_eq!(bench.backend.state_of("planner"), Some(memory));
    bench.backend.close().await;
}

#[tokio::test]
async fn stop_drops_connections_and_frees_the_port_at_once() {
    let bench = BackendClient::start().await;
    let address = bench.backend.address();
    assert_eq!(bench.backend.url(), format!("http://127.0.0.1:{}", address.port()));
    bench.message("lost").await;
    bench.agent_fault("hang_agent", "planner").await;
    let (socket, mut idle) = (bench.socket().await, bench.tcp().await);
    let mut open = JoinSet::new();
    open.spawn(bench.request(Method::GET, "/api/agents/planner/health", None).send());
    bench.yield_for_requests().await;

    bench.backend.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
    let config = BackendOptions { port: address.port(), ..BackendOptions::default() };
    let next = Backend::bind(config).await.unwrap();
    assert_eq!(next.address(), address);

    assert_dropped(socket).await;
    assert_eq!(idle.read(&mut [0]).await.unwrap_or(0), 0);
    assert!(open.join_next().await.unwrap().unwrap().is_err());
    assert_eq!(next.state_of("planner").unwrap()["count"], 0);
    let health = format!("{}/api/agents/planner/health", next.url());
    assert_eq!(bench.client.get(health).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_backend_that_is_dropped_ends_too() {
    let bench = BackendClient::start().await;
    let address = bench.backend.address();
    let socket = bench.socket().await;
    drop(bench.backend);
    assert_dropped(socket).await;
    // Its tasks end one after the other: the socket's end is not yet the listener's.
    while TcpStream::connect(address).await.is_ok() {}
}

#[tokio::test]
async fn port_in_use_or_wrong_id_is_refused_by_name() {
    let bench = BackendClient::start().await;
    let port = bench.backend.address().port();
    let error = Backend::bind(BackendOptions { port, ..BackendOptions::default() }).await.unwrap_err();
    assert!(matches!(error, BackendError::PortInUse { port: named } if named == port));
    assert!(error.to_string().contains(&format!("port {port} on 127.0.0.1 is in use")));
    let agents = vec!["a/b".to_owned()];
    let error = Backend::bind(BackendOptions { agents, ..BackendOptions::default() }).await.unwrap_err();
    assert!(matches!(error, BackendError::AgentId { .. }));
}

#[tokio::test]
async fn two_backends_in_one_process_do_not_see_each_other() {
    let (one, two) = (BackendClient::start().await, BackendClient::start().await);
    let mut socket = two.socket().await;
    one.agent_fault("crash_agent", "planner").await;
    one.message("hi").await;
    assert_eq!(two.health("planner").await["status"], "healthy");
    two.message("here").await;
    assert_eq!(next_frame(&mut socket).await["message"], json!({ "text": "here" }));
}

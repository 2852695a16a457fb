//! The embedded backend over real sockets: what the runtime expects of a backend, and each fault.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by a panic")]

mod agents;
mod requests;
mod sockets;

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

type TestSocket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A backend and a client that talks to it.
struct BackendClient {
    backend: Backend,
    client: Client,
}

impl BackendClient {
    async fn start() -> Self {
        let agents = vec!["planner".to_owned(), "coder".to_owned()];
        let options = BackendOptions { agents, history_max: 1024, ..BackendOptions::default() };
        let backend = Backend::bind(options).await.unwrap();
        // The client speaks plain HTTP, but has to know a provider of TLS.
        let _ = rustls::crypto::ring::default_provider().install_default();
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

    async fn socket(&self) -> TestSocket {
        self.handshake().await.unwrap()
    }

    async fn handshake(&self) -> Result<TestSocket, WsError> {
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
async fn next_frame(socket: &mut TestSocket) -> Value {
    loop {
        let frame = next_any_frame(socket).await;
        if frame["type"] != "invalidate" {
            return frame;
        }
    }
}

/// The next JSON frame.
async fn next_any_frame(socket: &mut TestSocket) -> Value {
    loop {
        if let Message::Text(text) = socket.next().await.unwrap().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

async fn send_frame(socket: &mut TestSocket, frame: Value) {
    socket.send(Message::text(frame.to_string())).await.unwrap();
}

/// Checks that the socket answers.
async fn assert_alive(socket: &mut TestSocket) {
    send_frame(socket, json!({ "type": "ping" })).await;
    assert_eq!(next_frame(socket).await, json!({ "type": "pong" }));
}

/// Waits for the socket's end, which must come without a close frame.
async fn assert_dropped(mut socket: TestSocket) {
    loop {
        match socket.next().await {
            Some(Ok(Message::Close(frame))) => panic!("closed in order: {frame:?}"),
            Some(Ok(_)) => {}
            Some(Err(_)) => return,
            None => panic!("closed in order"),
        }
    }
}

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
async fn backend_that_is_dropped_ends_too() {
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

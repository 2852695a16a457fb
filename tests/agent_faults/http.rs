//! Tests agents in the backend over HTTP. The backend is a server of the test, which behaves as ordered, and one
//! program that is killed.

use parking_lot::Mutex;
use std::sync::Arc;

use expect_test::expect;
use mainstay::{AgentStatus, Reason};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::fixture::FaultyAgentFixture;
use crate::support::{DemoBackend, eventually, get_json, header, post_json, read_head, serve_connections};

/// The behaviours of the agent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum AgentBehaviour {
    Healthy,
    ReportsFailure,
    HangsOnChecks,
    HangsOnMessages,
    FloodsReplies,
    FailsOnMessages,
    FloodsHealthReport,
    NeverHealthy,
    RefusesRestarts,
    /// It is healthy once after each restart, and then fails.
    FailsWhenReady,
}

#[derive(Debug)]
struct FakeAgent {
    behaviour: AgentBehaviour,
    state: Value,
    checks: u32,
    has_failed: bool,
}

enum FakeReply {
    Answer(u16, Vec<u8>),
    Never,
}

impl FakeAgent {
    fn respond(&mut self, method: &str, what: &str, body: &[u8]) -> FakeReply {
        let health = |status: &str| FakeReply::Answer(200, json!({ "status": status }).to_string().into());
        match (method, what) {
            ("GET", "health") => {
                self.checks += 1;
                match self.behaviour {
                    AgentBehaviour::HangsOnChecks => FakeReply::Never,
                    AgentBehaviour::FloodsHealthReport => FakeReply::Answer(200, vec![b' '; 20 << 20]),
                    AgentBehaviour::NeverHealthy => FakeReply::Answer(503, b"warming up".to_vec()),
                    AgentBehaviour::ReportsFailure | AgentBehaviour::RefusesRestarts => health("failed"),
                    AgentBehaviour::FailsWhenReady if self.checks > 1 => health("failed"),
                    _ if self.has_failed => health("failed"),
                    _ => health("healthy"),
                }
            }
            ("POST", "restart") if self.behaviour == AgentBehaviour::RefusesRestarts => {
                FakeReply::Answer(500, b"no".to_vec())
            }
            ("POST", "restart") => {
                (self.state, self.checks, self.has_failed) = (json!({}), 0, false);
                if !matches!(self.behaviour, AgentBehaviour::NeverHealthy | AgentBehaviour::FailsWhenReady) {
                    self.behaviour = AgentBehaviour::Healthy;
                }
                FakeReply::Answer(204, Vec::new())
            }
            ("GET", "state") => FakeReply::Answer(200, self.state.to_string().into()),
            ("PUT", "state") => {
                self.state = serde_json::from_slice(body).unwrap();
                FakeReply::Answer(204, Vec::new())
            }
            ("POST", "message") if self.behaviour == AgentBehaviour::HangsOnMessages => FakeReply::Never,
            ("POST", "message") if self.behaviour == AgentBehaviour::FloodsReplies => {
                FakeReply::Answer(200, vec![b' '; 20 << 20])
            }
            ("POST", "message") if self.behaviour == AgentBehaviour::FailsOnMessages => {
                (self.state, self.has_failed) = (json!({}), true);
                FakeReply::Answer(503, b"it has failed".to_vec())
            }
            ("POST", "message") => FakeReply::Answer(200, b"\"done\"".to_vec()),
            _ => FakeReply::Answer(404, Vec::new()),
        }
    }
}

/// A backend with the agent `x` in it.
pub(crate) struct FakeBackend {
    url: String,
    agent: Arc<Mutex<FakeAgent>>,
    _tasks: JoinSet<()>,
}

impl FakeBackend {
    pub(crate) async fn start(behaviour: AgentBehaviour) -> Self {
        let agent = FakeAgent { behaviour, state: json!({ "step": 7 }), checks: 0, has_failed: false };
        let agent = Arc::new(Mutex::new(agent));
        let served = Arc::clone(&agent);
        let (port, tasks) = serve_connections(move |stream| serve(stream, Arc::clone(&served))).await;
        Self { url: format!("http://127.0.0.1:{port}"), agent, _tasks: tasks }
    }

    fn set_behaviour(&self, behaviour: AgentBehaviour) {
        self.agent.lock().behaviour = behaviour;
    }

    pub(crate) fn state(&self) -> Value {
        self.agent.lock().state.clone()
    }
}

async fn serve(stream: TcpStream, agent: Arc<Mutex<FakeAgent>>) {
    let mut beginning = [0; 7];
    let _ = stream.peek(&mut beginning).await;
    if &beginning == b"GET /ws" {
        // The WebSocket, which sends nothing.
        if let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await {
            while futures_util::StreamExt::next(&mut socket).await.is_some_and(|frame| frame.is_ok()) {}
        }
        return;
    }
    // A client may disconnect at any time.
    let _ = answer(stream, &agent).await;
}

async fn answer(stream: TcpStream, agent: &Mutex<FakeAgent>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let Some(head) = read_head(&mut stream).await else { return Ok(()) };
        let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let what = path.strip_prefix("/api/agents/x/").unwrap_or_default();
        let reply = agent.lock().respond(method, what, &body);
        match reply {
            FakeReply::Never => std::future::pending().await,
            FakeReply::Answer(status, body) => {
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
                let head = if status == 204 { format!("HTTP/1.1 {status} X\r\n\r\n") } else { head };
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(&body).await?;
            }
        }
    }
}

pub(crate) async fn start_http(backend: &FakeBackend, more: &str) -> FaultyAgentFixture {
    let agent = format!("fail_after = 2\nstartup_grace = \"300ms\"\n{more}");
    FaultyAgentFixture::with_backend(tempfile::tempdir().unwrap(), &backend.url, &agent).await
}

/// Waits until the agent is healthy and its state known, and then changes its behaviour.
pub(crate) async fn start_then_set(
    behaviour: AgentBehaviour,
    more: &str,
) -> (FakeBackend, FaultyAgentFixture) {
    let backend = FakeBackend::start(AgentBehaviour::Healthy).await;
    let mut fixture = start_http(&backend, more).await;
    fixture.wait_for_status("healthy").await;
    fixture.wait_for_saved_state().await;
    backend.set_behaviour(behaviour);
    (backend, fixture)
}

#[tokio::test(flavor = "multi_thread")]
async fn reply_flood_fails_the_message_and_not_the_agent() {
    let (_backend, fixture) = start_then_set(AgentBehaviour::FloodsReplies, "").await;
    assert_eq!(fixture.send(json!("now")).await, Err(Reason::ResponseTooLarge));
    assert_eq!(fixture.view().report.status, AgentStatus::Healthy);
    fixture.assert_transcript(&expect![[r#"
        starting -> healthy
    "#]]);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_restart_is_given_up() {
    let (_backend, mut fixture) = start_then_set(AgentBehaviour::RefusesRestarts, "max_restarts = 1").await;
    fixture.wait_for(|record| record.kind == "gave_up").await;
    fixture.assert_transcript(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: the agent reports that it failed
        decision: restart, 1 of 1
        restarted, checkpoint
        starting -> failed
        exited: error: the backend answered 500 Internal Server Error to restart: HTTP 500: no
        decision: give_up, 1 of 1
        gave_up
    "#]]);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_backend_makes_agent_unknown_without_restart() {
    let backend = DemoBackend::start(0, "x").await;
    let (url, port) = (backend.url.clone(), backend.port());
    post_json(&format!("{url}/api/agents/x/message"), json!("remember me")).await;
    // Checks run when the connection goes and comes, and at no other time: a check in flight at the kill would be a
    // miss.
    let rarely = "health_interval = \"1h\"";
    let mut fixture = FaultyAgentFixture::with_backend(tempfile::tempdir().unwrap(), &url, rarely).await;
    fixture.wait_for_status("healthy").await;
    fixture.wait_for_saved_state().await;
    // Uptimes are whole seconds: the agent must be old enough for a restart to show.
    let uptime = async || get_json(&format!("{url}/api/agents/x/health")).await["uptime"].as_u64().unwrap();
    eventually("the agent is three seconds old", async || uptime().await >= 3).await;
    backend.kill().await;
    fixture.wait_for_status("unknown").await;
    assert_eq!(fixture.view().report.status, AgentStatus::Unknown);
    let _backend = DemoBackend::start(port, "x").await;
    fixture.wait_for_status("healthy").await;
    let state = async || get_json(&format!("{url}/api/agents/x/state")).await;
    eventually("it has its state back", async || state().await["count"] == 1).await;
    assert_eq!(fixture.view().supervision.generation, 1);
    fixture.assert_transcript(&expect![[r#"
        starting -> healthy
    "#]]);
    fixture.stop().await;
}

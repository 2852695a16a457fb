//! Agents that live in the backend and are reached over HTTP. The backend is a server of the test's own, which does what it
//! is told to, and one program that is killed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use expect_test::expect;
use mainstay::Reason;
use mainstay::actors::agent::AgentStatus;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::scene::Scene;
use crate::support::{BackendProgram, eventually, get, post};

/// How the agent behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Well,
    SaysItFailed,
    HangsOverChecks,
    HangsOverLetters,
    FloodsItsAnswers,
    DiesOverLetters,
    FloodsItsReport,
    NeverWell,
    RefusesRestarts,
    /// It is well once after each restart, and has failed then.
    DiesWhenReady,
    /// It fails when it is given its state back.
    DiesOverItsState,
}

#[derive(Debug)]
struct Agent {
    way: Way,
    state: Value,
    checks: u32,
    is_dead: bool,
}

enum Reply {
    Answer(u16, Vec<u8>),
    Never,
}

impl Agent {
    fn respond(&mut self, method: &str, what: &str, body: &[u8]) -> Reply {
        let health = |status: &str| Reply::Answer(200, json!({ "status": status }).to_string().into());
        match (method, what) {
            ("GET", "health") => {
                self.checks += 1;
                match self.way {
                    Way::HangsOverChecks => Reply::Never,
                    Way::FloodsItsReport => Reply::Answer(200, vec![b' '; 20 << 20]),
                    Way::NeverWell => Reply::Answer(503, b"warming up".to_vec()),
                    Way::SaysItFailed | Way::RefusesRestarts => health("failed"),
                    Way::DiesWhenReady if self.checks > 1 => health("failed"),
                    _ if self.is_dead => health("failed"),
                    _ => health("healthy"),
                }
            }
            ("POST", "restart") if self.way == Way::RefusesRestarts => Reply::Answer(500, b"no".to_vec()),
            ("POST", "restart") => {
                (self.state, self.checks, self.is_dead) = (json!({}), 0, false);
                if !matches!(self.way, Way::NeverWell | Way::DiesWhenReady | Way::DiesOverItsState) {
                    self.way = Way::Well;
                }
                Reply::Answer(204, Vec::new())
            }
            ("GET", "state") => Reply::Answer(200, self.state.to_string().into()),
            ("PUT", "state") => {
                self.state = serde_json::from_slice(body).unwrap();
                self.is_dead = self.way == Way::DiesOverItsState;
                Reply::Answer(204, Vec::new())
            }
            ("POST", "message") if self.way == Way::HangsOverLetters => Reply::Never,
            ("POST", "message") if self.way == Way::FloodsItsAnswers => {
                Reply::Answer(200, vec![b' '; 20 << 20])
            }
            ("POST", "message") if self.way == Way::DiesOverLetters => {
                (self.state, self.is_dead) = (json!({}), true);
                Reply::Answer(503, b"it has failed".to_vec())
            }
            ("POST", "message") => Reply::Answer(200, b"\"done\"".to_vec()),
            _ => Reply::Answer(404, Vec::new()),
        }
    }
}

/// A backend with the agent `x` in it.
struct Backend {
    url: String,
    agent: Arc<Mutex<Agent>>,
    _serving: JoinSet<()>,
}

impl Backend {
    async fn start(way: Way) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let agent = Agent { way, state: json!({ "step": 7 }), checks: 0, is_dead: false };
        let agent = Arc::new(Mutex::new(agent));
        let mut serving = JoinSet::new();
        serving.spawn({
            let agent = Arc::clone(&agent);
            async move {
                let mut connections = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    connections.spawn(serve(stream, Arc::clone(&agent)));
                }
            }
        });
        Self { url, agent, _serving: serving }
    }

    fn turns(&self, way: Way) {
        self.agent.lock().unwrap().way = way;
    }

    fn state(&self) -> Value {
        self.agent.lock().unwrap().state.clone()
    }
}

async fn serve(stream: TcpStream, agent: Arc<Mutex<Agent>>) {
    let mut beginning = [0; 7];
    let _ = stream.peek(&mut beginning).await;
    if &beginning == b"GET /ws" {
        // The link, which has nothing to say.
        if let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await {
            while futures_util::StreamExt::next(&mut socket).await.is_some_and(|frame| frame.is_ok()) {}
        }
        return;
    }
    // Whoever asks may go at any time.
    let _ = answer(stream, &agent).await;
}

async fn answer(stream: TcpStream, agent: &Mutex<Agent>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        if stream.read_line(&mut head).await? == 0 {
            return Ok(());
        }
        let mut length = 0;
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await?;
            if header.trim().is_empty() {
                break;
            }
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let what = path.strip_prefix("/api/agents/x/").unwrap_or_default();
        let reply = agent.lock().unwrap().respond(method, what, &body);
        match reply {
            Reply::Never => std::future::pending().await,
            Reply::Answer(status, body) => {
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
                let head = if status == 204 { format!("HTTP/1.1 {status} X\r\n\r\n") } else { head };
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(&body).await?;
            }
        }
    }
}

async fn http(backend: &Backend, more: &str) -> Scene {
    let agent = format!("fail_after = 2\nstartup_grace = \"300ms\"\n{more}");
    Scene::with(tempfile::tempdir().unwrap(), &backend.url, &agent).await
}

/// One that is well, and its state known; then it turns.
async fn turned(way: Way, more: &str) -> (Backend, Scene) {
    let backend = Backend::start(Way::Well).await;
    let mut scene = http(&backend, more).await;
    scene.becomes("healthy").await;
    state_kept(&scene).await;
    backend.turns(way);
    (backend, scene)
}

async fn state_kept(scene: &Scene) {
    let kept = async {
        while scene.view().state_kept_at.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(crate::scene::PATIENCE, kept).await.expect("its state is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_says_that_it_has_failed_is_restarted_and_has_its_state_back() {
    let (backend, mut scene) = turned(Way::SaysItFailed, "").await;
    scene.becomes("healthy").await;
    scene.expect(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: the agent reports that it failed
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    assert_eq!(backend.state(), json!({ "step": 7 }));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_answers_no_check_is_degraded_then_restarted_and_has_its_state_back() {
    let (backend, mut scene) = turned(Way::HangsOverChecks, "health_timeout = \"1s\"").await;
    scene.becomes("healthy").await;
    scene.expect(&expect![[r#"
        starting -> healthy
        healthy -> degraded
        degraded -> failed
        exited: error: no answer in time
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    assert_eq!(backend.state(), json!({ "step": 7 }));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hangs_over_a_letter_is_restarted_for_it_though_it_answers_its_checks() {
    let (_backend, mut scene) = turned(Way::HangsOverLetters, "progress_timeout = \"300ms\"").await;
    assert_eq!(scene.says(json!("now")).await, Err(Reason::OutcomeUnknown));
    scene.becomes("healthy").await;
    scene.expect(&expect![[r#"
        starting -> healthy
        agent_stuck
        healthy -> failed
        exited: error: it has been at work without progress for longer than 300ms
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    assert_eq!(scene.says(json!("now")).await, Ok(json!("done")));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_over_a_letter_is_restarted_and_has_its_state_back() {
    let (backend, mut scene) = turned(Way::DiesOverLetters, "").await;
    assert_eq!(scene.says(json!("now")).await, Err(Reason::OutcomeUnknown));
    scene.becomes("healthy").await;
    scene.expect(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: the agent reports that it failed
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    assert_eq!(backend.state(), json!({ "step": 7 }));
    assert_eq!(scene.says(json!("now")).await, Ok(json!("done")));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_floods_its_answer_is_well_and_the_letter_says_what_happened() {
    let (_backend, scene) = turned(Way::FloodsItsAnswers, "").await;
    assert_eq!(scene.says(json!("now")).await, Err(Reason::ResponseTooLarge));
    assert_eq!(scene.view().status, AgentStatus::Healthy);
    scene.expect(&expect![[r#"
        starting -> healthy
    "#]]);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_floods_its_report_misses_its_checks() {
    let (_backend, mut scene) = turned(Way::FloodsItsReport, "").await;
    scene.becomes("healthy").await;
    scene.expect(&expect![[r#"
        starting -> healthy
        healthy -> degraded
        degraded -> failed
        exited: error: TooLarge: more than 16777216 bytes
        decision: restart, 1 of 5
        restarted, restored
        starting -> healthy
    "#]]);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_never_well_is_given_up_when_its_restarts_are_spent() {
    let backend = Backend::start(Way::NeverWell).await;
    let mut scene = http(&backend, "max_restarts = 1").await;
    scene.until(|record| record.kind == "gave_up").await;
    scene.expect(&expect![[r#"
        starting -> failed
        exited: error: the backend answered 503 Service Unavailable to health: HTTP 503: warming up
        decision: restart, 1 of 1
        restarted, fresh
        starting -> failed
        exited: error: the backend answered 503 Service Unavailable to health: HTTP 503: warming up
        decision: abandon, 1 of 1
        gave_up
    "#]]);
    assert!(scene.view().next_step.contains("mainstay agent reset x"));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_each_time_that_it_was_well_is_given_up_however_well_its_restarts_go() {
    let backend = Backend::start(Way::DiesWhenReady).await;
    let mut scene = http(&backend, "max_restarts = 2").await;
    scene.until(|record| record.kind == "gave_up").await;
    scene.expect(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: the agent reports that it failed
        decision: restart, 1 of 2
        restarted, restored
        starting -> healthy
        healthy -> failed
        exited: error: the agent reports that it failed
        decision: restart, 2 of 2
        restarted, restored
        starting -> healthy
        healthy -> failed
        exited: error: the agent reports that it failed
        decision: abandon, 2 of 2
        gave_up
    "#]]);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_refuses_its_restart_is_given_up_when_its_restarts_are_spent() {
    let (_backend, mut scene) = turned(Way::RefusesRestarts, "max_restarts = 1").await;
    scene.until(|record| record.kind == "gave_up").await;
    scene.expect(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: the agent reports that it failed
        decision: restart, 1 of 1
        restarted, restored
        starting -> failed
        exited: error: the backend answered 500 Internal Server Error to restart: HTTP 500: no
        decision: abandon, 1 of 1
        gave_up
    "#]]);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_over_the_state_that_it_is_given_back_goes_on_without_it_in_the_end() {
    let (backend, mut scene) = turned(Way::SaysItFailed, "max_restarts = 9").await;
    backend.agent.lock().unwrap().is_dead = true;
    backend.turns(Way::DiesOverItsState);
    scene.until(|record| record.kind == "agent_state_set_aside").await;
    scene.becomes("healthy").await;
    scene.expect(&expect![[r#"
        starting -> healthy
        healthy -> failed
        exited: error: the agent reports that it failed
        decision: restart, 1 of 9
        restarted, restored
        starting -> failed
        exited: error: the agent reports that it failed
        decision: restart, 2 of 9
        restarted, restored
        starting -> failed
        exited: error: the agent reports that it failed
        decision: restart, 3 of 9
        restarted, restored
        starting -> failed
        exited: error: the agent reports that it failed
        decision: restart, 4 of 9
        agent_state_set_aside
        restarted, restored
        starting -> healthy
    "#]]);
    assert_eq!(backend.state(), json!({}));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_backend_is_killed_is_unknown_and_restarted_by_nobody_until_it_can_be_asked_again() {
    let backend = BackendProgram::start(0, "x").await;
    let (url, port) = (backend.url.clone(), backend.port());
    post(&format!("{url}/api/agents/x/message"), json!("remember me")).await;
    // It is looked at when the link goes and comes, and at no other time: a check that the kill meets on its way would be
    // a miss.
    let rarely = "health_interval = \"1h\"";
    let mut scene = Scene::with(tempfile::tempdir().unwrap(), &url, rarely).await;
    scene.becomes("healthy").await;
    state_kept(&scene).await;
    // Uptimes are whole seconds: the agent must be old enough for a restart to show.
    let uptime = async || get(&format!("{url}/api/agents/x/health")).await["uptime"].as_u64().unwrap();
    eventually("the agent is three seconds old", async || uptime().await >= 3).await;
    backend.kill().await;
    scene.becomes("unknown").await;
    assert_eq!(scene.view().status, AgentStatus::Unknown);
    let _backend = BackendProgram::start(port, "x").await;
    scene.becomes("healthy").await;
    let state = async || get(&format!("{url}/api/agents/x/state")).await;
    eventually("it has its state back", async || state().await["count"] == 1).await;
    assert_eq!(scene.view().generation, 1);
    scene.expect(&expect![[r#"
        starting -> healthy
    "#]]);
    scene.end().await;
}

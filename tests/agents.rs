//! Tests agents from another process: messages, watching, adding and removing. The outcome of each message is known,
//! whatever is killed.

mod support;

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use support::{
    BackendProcess, EventFollower, MainstayProcess, TEST_TIMEOUT, eventually, get_json, is_agent_health,
    post_json, quick_config, run, run_json as ask,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A runtime against a backend of its own.
struct AgentsFixture {
    data: tempfile::TempDir,
    backend: BackendProcess,
    _runtime: MainstayProcess,
    events: EventFollower,
}

impl AgentsFixture {
    /// Starts it with these agents; `more` holds further keys of their configuration.
    async fn start(agents: &str, more: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let backend = BackendProcess::start(0, agents).await;
        let config = quick_config(data.path(), &backend.url, more);
        let runtime = MainstayProcess::start(data.path(), &["run", "--config", config.to_str().unwrap()]);
        let events = EventFollower::follow(data.path());
        Self { data, backend, _runtime: runtime, events }
    }

    async fn fault(&self, fault: Value) {
        post_json(&format!("{}/_fault", self.backend.url), fault).await;
    }

    async fn show(&self, agent: &str) -> Value {
        ask(self.data.path(), &["agent", "show", agent]).await
    }

    /// Returns the text for a person, once the agent has this status.
    async fn show_when(&self, agent: &str, status: &str) -> String {
        eventually(status, async || self.show(agent).await["status"] == status).await;
        let shown = run(self.data.path(), &["agent", "show", agent]).await;
        assert_eq!(shown.code, Some(0), "{shown:?}");
        assert!(!shown.stdout.contains('\u{1b}'), "no colours where there is no terminal: {shown:?}");
        shown.stdout
    }

    /// Sends the agent a message, and returns its number and its answer.
    async fn send(&self, agent: &str, message: &str) -> Value {
        ask(self.data.path(), &["agent", "send", agent, message]).await
    }

    /// Returns the supervisor's events about an agent so far.
    fn lifecycle_kinds(&self, agent: &str) -> Vec<&str> {
        let actor = format!("root/agents/{agent}");
        let output = self.events.events.iter().filter(|event| event["actor"] == actor.as_str());
        let kinds = output.filter_map(|event| event["kind"].as_str());
        kinds
            .filter(|kind| ["actor_exited", "decision", "actor_restarted", "gave_up"].contains(kind))
            .collect()
    }
}

/// Returns the line of a report about `fact`.
fn fact_line<'a>(report: &'a str, fact: &str) -> &'a str {
    let found = report.lines().find_map(|line| line.strip_prefix(&format!("{fact:<12}")));
    found.unwrap_or_else(|| panic!("{fact} is missing:\n{report}"))
}

const TWO_AGENTS: &str = "[[agent]]\nid = \"planner\"\n[[agent]]\nid = \"coder\"\n";

#[tokio::test]
async fn cli_send_is_answered_and_invalid_messages_are_refused() {
    let mut fixture = AgentsFixture::start("planner,coder", TWO_AGENTS).await;
    fixture.events.wait_since(0, is_agent_health("planner", "healthy")).await;
    let first = fixture.send("planner", r#"{"text":"hello"}"#).await;
    assert_eq!((&first["message_id"], &first["answer"]["count"]), (&json!(1), &json!(1)), "{first}");
    assert_eq!(fixture.send("coder", "[1, 2]").await["message_id"], 1, "each agent counts its own");

    let file = fixture.data.path().join("letter.json");
    std::fs::write(&file, r#"{"text":"from a file"}"#).unwrap();
    let at_file = format!("@{}", file.display());
    let output =
        run(fixture.data.path(), &["agent", "send", "planner", &at_file, "--repeat", "--wait", "5s"]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let answer: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(
        (&answer["count"], output.stderr.contains("message 2 was answered")),
        (&json!(2), true),
        "{output:?}"
    );
    let heard = get_json(&format!("{}/api/agents/planner/state", fixture.backend.url)).await;
    assert_eq!(heard["messages"], json!([{"text": "hello"}, {"text": "from a file"}]));

    let nobody = run(fixture.data.path(), &["agent", "send", "nobody", "1", "--json"]).await;
    let error: Value = serde_json::from_str(&nobody.stdout).unwrap();
    assert_eq!((nobody.code, &error["reason"]), (Some(1), &json!("agent_unknown")), "{nobody:?}");
    for (message, said) in [("hello", "the message is not JSON"), ("@absent.json", "cannot be read")] {
        let refused = run(fixture.data.path(), &["agent", "send", "planner", message]).await;
        assert_eq!((refused.code, refused.stderr.contains(said)), (Some(2), true), "{refused:?}");
    }
    let asks_nothing = run(fixture.data.path(), &["agent", "answer", "planner", "a1", "true"]).await;
    assert_eq!(
        (asks_nothing.code, asks_nothing.stderr.contains("NOT_FOUND")),
        (Some(1), true),
        "{asks_nothing:?}"
    );
}

#[tokio::test]
async fn crashed_and_hung_agents_show_error_and_next_step() {
    let slow_to_return = "restart_delay = \"5m\"\nrestart_delay_max = \"5m\"\n";
    let agents = format!(
        "[[agent]]\nid = \"planner\"\n{slow_to_return}\
         [[agent]]\nid = \"coder\"\nhealth_timeout = \"200ms\"\n{slow_to_return}\
         [[agent]]\nid = \"reviewer\"\n"
    );
    let mut fixture = AgentsFixture::start("planner,coder,reviewer", &agents).await;
    for agent in ["planner", "coder", "reviewer"] {
        fixture.events.wait_since(0, is_agent_health(agent, "healthy")).await;
    }
    let well = fixture.show_when("reviewer", "healthy").await;
    assert!(fact_line(&well, "status").starts_with("healthy for "), "{well}");
    assert_eq!(fact_line(&well, "next"), "checked regularly");
    let terms =
        "0 so far, 5 of 5 left; each counts for 10 min, and all are earned back once it has been up for 60 s";
    assert_eq!(fact_line(&well, "restarts"), terms);
    assert_eq!((fact_line(&well, "driver"), fact_line(&well, "last error")), ("http", "none"));
    assert_eq!(fact_line(&well, "messages"), "0 in flight, 0 waiting");

    fixture.fault(json!({"kind": "crash_agent", "agent": "planner"})).await;
    fixture.fault(json!({"kind": "hang_agent", "agent": "coder"})).await;
    let crashed = fixture.show_when("planner", "restarting").await;
    assert!(fact_line(&crashed, "next").ends_with(" s (4 restarts left)"), "{crashed}");
    assert!(fact_line(&crashed, "restarts").starts_with("0 so far, 4 of 5 left"), "{crashed}");
    assert!(fact_line(&crashed, "last error").starts_with("SERVER_ERROR agent_unhealthy: "), "{crashed}");
    let hung = fixture.show_when("coder", "restarting").await;
    assert!(fact_line(&hung, "last error").starts_with("TIMEOUT timed_out: "), "{hung}");
    assert_eq!(fact_line(&hung, "misses"), "3 in a row; 3 fail it");
    assert!(fact_line(&hung, "last check").contains(" ago ("), "{hung}");

    let agents = ask(fixture.data.path(), &["agents"]).await;
    let members = [
        "id",
        "driver",
        "status",
        "since",
        "gave_up",
        "generation",
        "restarts",
        "budget_left",
        "budget",
        "restart_at",
        "last_error",
        "error",
        "resolved_error",
        "misses",
        "fail_after",
        "last_check",
        "uptime_s",
        "error_count",
        "state_saved_at",
        "process",
        "messages_waiting",
        "messages_in_flight",
        "next_step",
    ];
    for agent in agents.as_array().unwrap() {
        for member in members {
            assert!(agent.get(member).is_some(), "{member} is missing: {agent}");
        }
    }
    assert_eq!(agents[0]["budget"], json!({"max": 5, "window_ms": 600_000, "stable_after_ms": 60_000}));
    assert_eq!(
        (&agents[0]["error"]["code"], agents[0]["restart_at"].is_string()),
        (&json!("SERVER_ERROR"), true)
    );
    let neighbour = &agents[2];
    assert_eq!(
        (&neighbour["status"], &neighbour["generation"], &neighbour["budget_left"]),
        (&json!("healthy"), &json!(1), &json!(5))
    );
    assert_eq!(fixture.send("reviewer", "1").await["answer"]["count"], 1);
    assert_eq!(fixture.lifecycle_kinds("reviewer"), Vec::<&str>::new());

    let table = run(fixture.data.path(), &["agents"]).await.stdout;
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[0].starts_with("agent     driver  status      for"), "{table}");
    assert!(rows[1].starts_with("planner   http    restarting") && rows[1].contains("4 of 5"), "{table}");
    assert!(rows[3].starts_with("reviewer  http    healthy") && rows[3].contains("5 of 5"), "{table}");
}

#[tokio::test]
async fn given_up_agent_shows_reset_and_neighbour_is_unaffected() {
    let agents = "[[agent]]\nid = \"planner\"\nmax_restarts = 1\n[[agent]]\nid = \"coder\"\n";
    let mut fixture = AgentsFixture::start("planner,coder", agents).await;
    for agent in ["planner", "coder"] {
        fixture.events.wait_since(0, is_agent_health(agent, "healthy")).await;
    }
    for _ in 0..2 {
        let mark = fixture.events.mark();
        fixture.fault(json!({"kind": "crash_agent", "agent": "planner"})).await;
        fixture.events.wait_since(mark, is_agent_health("planner", "failed")).await;
        let is_settled =
            |event: &Value| event["kind"] == "gave_up" || is_agent_health("planner", "healthy")(event);
        fixture.events.wait_since(mark, is_settled).await;
    }
    let given_up = fixture.show_when("planner", "failed").await;
    assert!(fact_line(&given_up, "status").starts_with("failed (given up) for "), "{given_up}");
    let next = "given up: its restarts are used up, so it stays as it is until `mainstay agent reset planner` gives them \
                back and starts it";
    assert_eq!(fact_line(&given_up, "next"), next);
    assert!(fact_line(&given_up, "restarts").starts_with("1 so far, 0 of 1 left"), "{given_up}");
    assert_eq!(fixture.show("planner").await["gave_up"], true);
    // No message waits for an agent that may never come back.
    let refused = run(fixture.data.path(), &["agent", "send", "planner", "1"]).await;
    assert_eq!((refused.code, refused.stderr.contains("stopped")), (Some(1), true), "{refused:?}");

    assert_eq!(fixture.send("coder", "1").await["answer"]["count"], 1);
    assert_eq!(fixture.show("coder").await["generation"], 1);
    assert_eq!(fixture.lifecycle_kinds("coder"), Vec::<&str>::new());

    let reset = run(fixture.data.path(), &["agent", "reset", "planner"]).await;
    assert_eq!(reset.code, Some(0), "{reset:?}");
    let well = fixture.show_when("planner", "healthy").await;
    assert!(fact_line(&well, "restarts").contains("1 of 1 left"), "{well}");
    assert_eq!(fixture.show("planner").await["gave_up"], false);
}

#[tokio::test]
async fn agent_is_added_and_removed_at_run_time() {
    let mut fixture = AgentsFixture::start("planner,later", "[[agent]]\nid = \"planner\"\n").await;
    fixture.events.wait_since(0, is_agent_health("planner", "healthy")).await;
    let file = fixture.data.path().join("later.toml");
    let path = file.to_str().unwrap().to_owned();
    let add = async |text: &str| {
        std::fs::write(&file, text).unwrap();
        run(fixture.data.path(), &["agent", "add", &path]).await
    };
    for (text, said) in [
        ("[[agent]]\nid = \"later\"\nfail_after = 0\n", "\"fail_after\" must be from 1 to 1000"),
        ("[[agent]]\nid = \"later\"\nmax_restart = 2\n", "did you mean \"max_restarts\"?"),
        ("[[agent]]\nfail_after = 2\n", "\"id\" must be"),
        ("[backend]\nurl = \"http://127.0.0.1:1\"\n", "must hold one agent and nothing else"),
        ("[[agent]]\nid = later\n", "2:6: this is not TOML"),
    ] {
        let refused = add(text).await;
        assert_eq!(refused.code, Some(2), "{text}: {refused:?}");
        assert!(
            refused.stderr.contains(said) && refused.stderr.contains("later.toml"),
            "{text}: {refused:?}"
        );
    }
    let block = "[[agent]]\nid = \"later\"\nmax_restarts = 2\n";
    let added = add(block).await;
    assert_eq!(added.code, Some(0), "{added:?}");
    assert_eq!(fact_line(&added.stdout, "agent"), "later");
    assert!(fact_line(&added.stdout, "restarts").contains("2 of 2 left"), "{added:?}");
    let twice = add(block).await;
    assert_eq!((twice.code, twice.stderr.contains("conflict")), (Some(1), true), "{twice:?}");
    fixture.events.wait_since(0, is_agent_health("later", "healthy")).await;
    let ids: Vec<Value> = ask(fixture.data.path(), &["agents"])
        .await
        .as_array()
        .unwrap()
        .iter()
        .map(|agent| agent["id"].clone())
        .collect();
    assert_eq!(ids, ["planner", "later"]);
    assert_eq!(fixture.send("later", "1").await["message_id"], 1);

    let mut listener = MainstayProcess::start(fixture.data.path(), &["agent", "listen", "later"]);
    listener.line_containing("listening to later").await;
    let removed = run(fixture.data.path(), &["agent", "remove", "later"]).await;
    assert_eq!(removed.code, Some(0), "{removed:?}");
    let (ended, output) = listener.wait().await;
    assert!(ended.success() && output.ends_with("later was removed"), "{ended} {output}");
    let gone = run(fixture.data.path(), &["agent", "show", "later"]).await;
    assert_eq!((gone.code, gone.stderr.contains("agent_unknown")), (Some(1), true), "{gone:?}");
    assert_eq!(fixture.show("planner").await["generation"], 1);
    assert_eq!(fixture.lifecycle_kinds("planner"), Vec::<&str>::new());

    // Its state and events are removed with it.
    let added = run(fixture.data.path(), &["agent", "add", &path]).await;
    assert_eq!(added.code, Some(0), "{added:?}");
    assert_eq!(fixture.send("later", "2").await["message_id"], 1);
}

#[tokio::test]
async fn health_checks_run_while_the_queue_is_full() {
    let more = format!("{TWO_AGENTS}[requests]\nmax_concurrent = 1\n");
    let data = tempfile::tempdir().unwrap();
    let backend = BackendProcess::start(0, "planner,coder").await;
    let config = data.path().join("mainstay.toml");
    let text = format!("[backend]\nurl = \"{}\"\n[agents]\nhealth_interval = \"100ms\"\n{more}", backend.url);
    std::fs::write(&config, text).unwrap();
    let _runtime = MainstayProcess::start(data.path(), &["run", "--config", config.to_str().unwrap()]);
    let mut events = EventFollower::follow(data.path());
    events.wait_since(0, is_agent_health("planner", "healthy")).await;
    post_json(
        &format!("{}/_fault", backend.url),
        json!({"kind": "slow", "path": "/api/echo", "ms": 3_600_000, "times": 9}),
    )
    .await;
    let request = ["request", "POST", "/api/echo", "--body", "1", "--timeout", "1h"];
    let _requests =
        [MainstayProcess::start(data.path(), &request), MainstayProcess::start(data.path(), &request)];
    eventually("one runs and one waits", async || {
        let queue = ask(data.path(), &["status"]).await["queue"].take();
        (&queue["running"], &queue["waiting"]) == (&json!(1), &json!(1))
    })
    .await;
    let mark = events.mark();
    post_json(&format!("{}/_fault", backend.url), json!({"kind": "crash_agent", "agent": "planner"})).await;
    events.wait_since(mark, is_agent_health("planner", "failed")).await;
    let queue = ask(data.path(), &["status"]).await["queue"].take();
    assert_eq!((&queue["running"], &queue["waiting"]), (&json!(1), &json!(1)), "{queue}");
}

// === killed with a message in flight ===

/// Forwards traffic to the backend, and counts the messages in it.
struct CountingProxy {
    url: String,
    messages: Arc<watch::Sender<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl CountingProxy {
    async fn start(backend: &BackendProcess) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let messages = Arc::new(watch::Sender::new(Vec::new()));
        let (port, seen) = (backend.port(), Arc::clone(&messages));
        let mut passing = JoinSet::new();
        passing.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(forward(client, port, Arc::clone(&seen)));
            }
        });
        Self { url, messages, _tasks: passing }
    }

    /// Waits until so many messages to `agent` have passed.
    async fn wait_for_count(&self, agent: &str, count: usize) {
        let mut messages = self.messages.subscribe();
        let come = messages.wait_for(|messages| messages.iter().filter(|to| *to == agent).count() >= count);
        timeout(TEST_TIMEOUT, come)
            .await
            .unwrap_or_else(|_| panic!("{agent} got no {count} letters"))
            .unwrap();
    }

    fn count(&self, agent: &str) -> usize {
        self.messages.borrow().iter().filter(|to| *to == agent).count()
    }
}

async fn forward(mut client: TcpStream, port: u16, seen: Arc<watch::Sender<Vec<String>>>) {
    let Ok(mut backend) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let (mut from, mut to) = client.split();
    let (mut back_from, mut back_to) = backend.split();
    let there = async {
        let (mut chunk, mut text) = (vec![0; 65_536], String::new());
        while let Ok(length @ 1..) = from.read(&mut chunk).await {
            text.push_str(&String::from_utf8_lossy(&chunk[..length]));
            if back_to.write_all(&chunk[..length]).await.is_err() {
                return;
            }
            // Whole lines are searched, however they are split. A body may share a line with the next head.
            while let Some(end) = text.find('\n') {
                let line: String = text.drain(..=end).collect();
                let rest = line.split_once("POST /api/agents/").map(|(_, rest)| rest);
                if let Some((agent, _)) = rest.and_then(|rest| rest.split_once("/message HTTP/")) {
                    seen.send_modify(|messages| messages.push(agent.to_owned()));
                }
            }
        }
    };
    let back = tokio::io::copy(&mut back_from, &mut to);
    tokio::select! {
        () = there => {}
        _ = back => {}
    }
}

/// Returns the result of a program that printed an error as JSON.
async fn error_of(sender: &mut MainstayProcess) -> Value {
    let (status, output) = sender.wait().await;
    assert_eq!(status.code(), Some(1), "{output}");
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"))
}

fn start_runtime(data: &Path, url: &str) -> MainstayProcess {
    let config = quick_config(data, url, TWO_AGENTS);
    MainstayProcess::start(data, &["run", "--config", config.to_str().unwrap()])
}

#[tokio::test]
async fn killed_runtime_redelivers_only_repeatable_messages() {
    let data = tempfile::tempdir().unwrap();
    let backend = BackendProcess::start(0, "planner,coder").await;
    let counter = CountingProxy::start(&backend).await;
    let first = start_runtime(data.path(), &counter.url);
    let mut events = EventFollower::follow(data.path());
    for agent in ["planner", "coder"] {
        events.wait_since(0, is_agent_health(agent, "healthy")).await;
        let path = format!("/api/agents/{agent}/message");
        post_json(
            &format!("{}/_fault", backend.url),
            json!({"kind": "slow", "path": path, "ms": 3_600_000, "times": 1}),
        )
        .await;
    }
    let mut once = MainstayProcess::start(data.path(), &["agent", "send", "planner", "\"once\"", "--json"]);
    let mut again =
        MainstayProcess::start(data.path(), &["agent", "send", "coder", "\"again\"", "--repeat", "--json"]);
    counter.wait_for_count("planner", 1).await;
    counter.wait_for_count("coder", 1).await;
    first.kill().await;
    for sender in [&mut once, &mut again] {
        assert_eq!(error_of(sender).await["reason"], "stopped");
    }

    let mark = events.mark();
    let _second = start_runtime(data.path(), &counter.url);
    let failed = events.wait_since(mark, |event| event["kind"] == "message_failed").await;
    assert_eq!(failed["actor"], "root/agents/planner");
    assert_eq!(
        (&failed["message_id"], &failed["attempts"], &failed["reason"]),
        (&json!(1), &json!(1), &json!("outcome_unknown"))
    );
    let repeated = events.wait_since(mark, |event| event["kind"] == "message_redelivered").await;
    assert_eq!((&repeated["actor"], &repeated["message_id"]), (&json!("root/agents/coder"), &json!(1)));
    counter.wait_for_count("coder", 2).await;
    // Messages go in order, so a repeated one would come before these.
    let next = ask(data.path(), &["agent", "send", "planner", "\"next\""]).await;
    assert_eq!((&next["message_id"], &next["answer"]["count"]), (&json!(2), &json!(1)), "{next}");
    let next = ask(data.path(), &["agent", "send", "coder", "\"next\""]).await;
    assert_eq!((&next["message_id"], &next["answer"]["count"]), (&json!(2), &json!(2)), "{next}");
    let heard = async |agent: &str| {
        get_json(&format!("{}/api/agents/{agent}/state", backend.url)).await["messages"].take()
    };
    assert_eq!((heard("planner").await, heard("coder").await), (json!(["next"]), json!(["again", "next"])));
    assert_eq!((counter.count("planner"), counter.count("coder")), (2, 3));
    let kinds = events.events[mark..].iter().filter(|event| event["kind"] == "message_failed").count();
    assert_eq!(kinds, 1, "the other one was answered");
}

//! Tests agents from another process: messages, watching, adding and removing. The outcome of each message is known,
//! whatever is killed.

mod fault_proxy;
mod support;

use fault_proxy::FaultProxy;
use serde_json::{Value, json};
use support::{
    DemoBackend, EventFollower, MainstayProcess, Scenario, assert_members, eventually, get_json,
    is_agent_health, post_json, quick_config, run, run_json as ask, start_runtime,
};

impl Scenario {
    /// Returns the text for a person, once the agent has this status.
    async fn show_when(&self, agent: &str, status: &str) -> String {
        eventually(status, async || self.show(agent).await["status"] == status).await;
        let shown = self.run(&["agent", "show", agent]).await;
        assert!(!shown.contains('\u{1b}'), "no colours where there is no terminal: {shown}");
        shown
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
    let mut fixture = Scenario::start("planner,coder", TWO_AGENTS).await;
    fixture.healthy(&["planner"]).await;
    let first = fixture.send("planner", r#"{"text":"hello"}"#).await;
    assert_eq!((&first["message_id"], &first["answer"]["count"]), (&json!(1), &json!(1)), "{first}");
    assert_eq!(fixture.send("coder", "[1, 2]").await["message_id"], 1, "each agent counts its own");

    let file = fixture.data.path().join("message.json");
    std::fs::write(&file, r#"{"text":"from a file"}"#).unwrap();
    let at_file = format!("@{}", file.display());
    let output =
        run(fixture.data.path(), &["agent", "send", "planner", &at_file, "--repeat", "--wait-timeout", "5s"])
            .await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let answer: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(answer["count"], 2, "{output:?}");
    assert!(output.stderr.contains("message 2 was answered"), "{output:?}");
    let received = get_json(&format!("{}/api/agents/planner/state", fixture.backend.url)).await;
    assert_eq!(received["messages"], json!([{"text": "hello"}, {"text": "from a file"}]));

    let unknown = run(fixture.data.path(), &["agent", "send", "nobody", "1", "--json"]).await;
    let error: Value = serde_json::from_str(&unknown.stdout).unwrap();
    assert_eq!((unknown.code, &error["reason"]), (Some(1), &json!("agent_unknown")), "{unknown:?}");
    for (message, expected) in [("hello", "the message is not JSON"), ("@absent.json", "cannot be read")] {
        let refused = run(fixture.data.path(), &["agent", "send", "planner", message]).await;
        assert_eq!((refused.code, refused.stderr.contains(expected)), (Some(2), true), "{refused:?}");
    }
    let asks_nothing = run(fixture.data.path(), &["agent", "answer", "planner", "a1", "true"]).await;
    assert_eq!(asks_nothing.code, Some(1), "{asks_nothing:?}");
    assert!(asks_nothing.stderr.contains("NOT_FOUND"), "{asks_nothing:?}");
}

#[tokio::test]
async fn crashed_and_hung_agents_show_error_and_next_step() {
    let slow_to_return = "restart_delay = \"5m\"\nrestart_delay_max = \"5m\"\n";
    let agents = format!(
        "[[agent]]\nid = \"planner\"\n{slow_to_return}\
         [[agent]]\nid = \"coder\"\nhealth_timeout = \"200ms\"\n{slow_to_return}\
         [[agent]]\nid = \"reviewer\"\n"
    );
    let mut fixture = Scenario::start("planner,coder,reviewer", &agents).await;
    fixture.healthy(&["planner", "coder", "reviewer"]).await;
    let well = fixture.show_when("reviewer", "healthy").await;
    assert!(fact_line(&well, "status").starts_with("healthy for "), "{well}");
    assert_eq!(fact_line(&well, "next"), "checked regularly");
    let terms = "0 so far, 5 of 5 left; each counts for 10 min, and all are earned back once it has been up for 1 min";
    assert_eq!(fact_line(&well, "restarts"), terms);
    assert_eq!((fact_line(&well, "driver"), fact_line(&well, "last error")), ("http", "none"));
    assert_eq!(fact_line(&well, "messages"), "0 in flight, 0 waiting");

    fixture.fault(json!({"kind": "crash_agent", "agent": "planner"})).await;
    fixture.fault(json!({"kind": "hang_agent", "agent": "coder"})).await;
    let crashed = fixture.show_when("planner", "restarting").await;
    let next = fact_line(&crashed, "next");
    assert!(next.starts_with("is restarted in ") && next.ends_with(" (4 restarts left)"), "{crashed}");
    assert!(fact_line(&crashed, "restarts").starts_with("0 so far, 4 of 5 left"), "{crashed}");
    assert!(fact_line(&crashed, "last error").starts_with("SERVER_ERROR agent_unhealthy: "), "{crashed}");
    let hung = fixture.show_when("coder", "restarting").await;
    assert!(fact_line(&hung, "last error").starts_with("TIMEOUT timed_out: "), "{hung}");
    assert_eq!(fact_line(&hung, "misses"), "3 in a row; 3 fail it");
    assert!(fact_line(&hung, "last check").contains(" ago ("), "{hung}");

    let agents = ask(fixture.data.path(), &["agents"]).await;
    assert_eq!(agents[0]["budget"], json!({"max": 5, "window_ms": 600_000, "stable_after_ms": 60_000}));
    assert_eq!(agents[0]["error"]["code"], "SERVER_ERROR");
    assert!(agents[0]["restart_at"].is_string());
    let neighbour = &agents[2];
    assert_members(neighbour, &json!({ "status": "healthy", "generation": 1, "budget_left": 5 }));
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
    let mut fixture = Scenario::start("planner,coder", agents).await;
    fixture.healthy(&["planner", "coder"]).await;
    assert!(fixture.run(&["agent", "stop", "planner"]).await.contains("status      stopped"));
    assert_eq!(fixture.show("planner").await["status"], "stopped");
    let mark = fixture.events.mark();
    fixture.run(&["agent", "start", "planner"]).await;
    fixture.events.wait_since(mark, is_agent_health("planner", "healthy")).await;
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
    let gave_up = fixture.events.events.iter().find(|event| event["kind"] == "gave_up").unwrap();
    assert!(gave_up["next_step"].as_str().unwrap().contains("reset"), "{gave_up}");
    let agent = fixture.show("planner").await;
    assert_eq!((&agent["gave_up"], &agent["budget_left"]), (&json!(true), &json!(0)), "{agent}");
    assert!(agent["next_step"].as_str().unwrap().contains("mainstay agent reset planner"));
    let tree = ask(fixture.data.path(), &["tree"]).await;
    let agents = tree["children"].as_array().unwrap().last().unwrap();
    assert_eq!(agents["children"][0]["next_step"], agent["next_step"]);
    let tree = fixture.run(&["tree"]).await;
    assert!(tree.contains("root/agents/planner: given up: its restarts are used up"), "{tree}");
    // No message waits for an agent that may never come back.
    let refused = run(fixture.data.path(), &["agent", "send", "planner", "1"]).await;
    assert_eq!((refused.code, refused.stderr.contains("stopped")), (Some(1), true), "{refused:?}");

    assert_eq!(fixture.send("coder", "1").await["answer"]["count"], 1);
    assert_eq!(fixture.show("coder").await["generation"], 1);
    assert_eq!(fixture.lifecycle_kinds("coder"), Vec::<&str>::new());

    let mark = fixture.events.mark();
    fixture.run(&["agent", "reset", "planner"]).await;
    fixture.events.wait_since(mark, |event| event["kind"] == "budget_reset").await;
    let well = fixture.show_when("planner", "healthy").await;
    // One act is one event.
    let resets = fixture.events.events[mark..].iter().filter(|event| {
        event["actor"] == "root/agents/planner"
            && event["kind"].as_str().is_some_and(|kind| kind.ends_with("_reset"))
    });
    assert_eq!(resets.count(), 1);
    assert!(fact_line(&well, "restarts").contains("1 of 1 left"), "{well}");
    let agent = fixture.show("planner").await;
    assert_eq!((&agent["gave_up"], &agent["budget_left"]), (&json!(false), &json!(1)), "{agent}");
}

#[tokio::test]
async fn agent_is_added_and_removed_at_run_time() {
    let mut fixture = Scenario::start("planner,later", "[[agent]]\nid = \"planner\"\n").await;
    fixture.healthy(&["planner"]).await;
    let file = fixture.data.path().join("later.toml");
    let path = file.to_str().unwrap().to_owned();
    let add = async |text: &str| {
        std::fs::write(&file, text).unwrap();
        run(fixture.data.path(), &["agent", "add", &path]).await
    };
    for (text, expected) in [
        ("[[agent]]\nid = \"later\"\nfail_after = 0\n", "\"fail_after\" must be from 1 to 1000"),
        ("[[agent]]\nid = \"later\"\nmax_restart = 2\n", "did you mean \"max_restarts\"?"),
        ("[[agent]]\nfail_after = 2\n", "\"id\" must be"),
        ("[backend]\nurl = \"http://127.0.0.1:1\"\n", "must hold one agent and nothing else"),
        ("[[agent]]\nid = later\n", "2:6: this is not TOML"),
    ] {
        let refused = add(text).await;
        assert_eq!(refused.code, Some(2), "{text}: {refused:?}");
        assert!(
            refused.stderr.contains(expected) && refused.stderr.contains("later.toml"),
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
    fixture.run(&["agent", "remove", "later"]).await;
    let (ended, output) = listener.wait().await;
    assert!(ended.success() && output.ends_with("later was removed"), "{ended} {output}");
    let gone = run(fixture.data.path(), &["agent", "show", "later"]).await;
    assert_eq!((gone.code, gone.stderr.contains("agent_unknown")), (Some(1), true), "{gone:?}");
    assert_eq!(fixture.show("planner").await["generation"], 1);
    assert_eq!(fixture.lifecycle_kinds("planner"), Vec::<&str>::new());

    // Its state and events are removed with it. This time the block comes from standard input.
    let mut command = support::mainstay(fixture.data.path(), &["agent", "add", "-"]);
    command.stdin(std::fs::File::open(&file).unwrap());
    let added = tokio::time::timeout(support::TEST_TIMEOUT, command.output()).await.unwrap().unwrap();
    assert!(added.status.success(), "{added:?}");
    assert_eq!(fixture.send("later", "2").await["message_id"], 1);
}

#[tokio::test]
async fn health_checks_run_while_the_queue_is_full() {
    let more = format!("{TWO_AGENTS}[requests]\nmax_concurrent = 1\n");
    let data = tempfile::tempdir().unwrap();
    let backend = DemoBackend::start(0, "planner,coder").await;
    let config = data.path().join("mainstay.toml");
    let text = format!("[backend]\nurl = \"{}\"\n[agents]\nhealth_interval = \"100ms\"\n{more}", backend.url);
    std::fs::write(&config, text).unwrap();
    let _runtime = start_runtime(data.path(), &config);
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

// === the runtime is killed with a message in flight ===

/// Returns the number of messages to an agent that the proxy has seen.
fn messages_to(agent: &str, proxy: &FaultProxy) -> usize {
    let path = format!("/api/agents/{agent}/message");
    proxy.traffic().requests.iter().filter(|seen| seen.method == "POST" && seen.path == path).count()
}

async fn wait_for_messages(agent: &str, count: usize, proxy: &FaultProxy) {
    eventually(&format!("{agent} gets {count} messages"), async || messages_to(agent, proxy) >= count).await;
}

/// Returns the result of a program that printed an error as JSON.
async fn error_of(sender: &mut MainstayProcess) -> Value {
    let (status, output) = sender.wait().await;
    assert_eq!(status.code(), Some(1), "{output}");
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"))
}

#[tokio::test]
async fn killed_runtime_redelivers_only_repeatable_messages() {
    let data = tempfile::tempdir().unwrap();
    let backend = DemoBackend::start(0, "planner,coder").await;
    let proxy = FaultProxy::start(([127, 0, 0, 1], backend.port()).into(), "/ws", 7).await.unwrap();
    let config = quick_config(data.path(), &proxy.url(), TWO_AGENTS);
    let first = start_runtime(data.path(), &config);
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
    wait_for_messages("planner", 1, &proxy).await;
    wait_for_messages("coder", 1, &proxy).await;
    first.kill().await;
    for sender in [&mut once, &mut again] {
        assert_eq!(error_of(sender).await["reason"], "stopped");
    }

    let mark = events.mark();
    let _second = start_runtime(data.path(), &config);
    let failed = events.wait_since(mark, |event| event["kind"] == "message_failed").await;
    assert_eq!(failed["actor"], "root/agents/planner");
    assert_members(&failed, &json!({ "message_id": 1, "attempts": 1, "reason": "outcome_unknown" }));
    let repeated = events.wait_since(mark, |event| event["kind"] == "message_redelivered").await;
    assert_eq!((&repeated["actor"], &repeated["message_id"]), (&json!("root/agents/coder"), &json!(1)));
    wait_for_messages("coder", 2, &proxy).await;
    // Messages go in order, so a repeated one would come before these.
    let next = ask(data.path(), &["agent", "send", "planner", "\"next\""]).await;
    assert_eq!((&next["message_id"], &next["answer"]["count"]), (&json!(2), &json!(1)), "{next}");
    let next = ask(data.path(), &["agent", "send", "coder", "\"next\""]).await;
    assert_eq!((&next["message_id"], &next["answer"]["count"]), (&json!(2), &json!(2)), "{next}");
    let received = async |agent: &str| {
        get_json(&format!("{}/api/agents/{agent}/state", backend.url)).await["messages"].take()
    };
    assert_eq!(received("planner").await, json!(["next"]));
    assert_eq!(received("coder").await, json!(["again", "next"]));
    assert_eq!((messages_to("planner", &proxy), messages_to("coder", &proxy)), (2, 3));
    let kinds = events.events[mark..].iter().filter(|event| event["kind"] == "message_failed").count();
    assert_eq!(kinds, 1, "the other one was answered");
}

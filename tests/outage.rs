//! Tests an outage of the backend: the connection returns, requests fail with a clear error, and no agent restarts.

mod support;

use serde_json::{Value, json};
use support::{
    DemoBackend, EventFollower, MainstayProcess, Scenario, is_agent_health, is_connection_state,
    quick_config, run, run_json as ask, start_demo, start_runtime,
};

#[tokio::test]
async fn outage_is_reported_and_recovers_without_help() {
    let agents = "[[agent]]\nid = \"planner\"\n[[agent]]\nid = \"coder\"\n";
    let mut scenario = Scenario::start("planner,coder", agents).await;
    scenario.healthy(&["planner", "coder"]).await;
    let Scenario { data, backend, runtime, mut events } = scenario;
    let port = backend.port();
    events.wait_since(0, is_connection_state("connected")).await;

    let mark = events.mark();
    backend.kill().await;
    let lost = events.wait_since(mark, is_connection_state("reconnecting")).await;
    // A connection that was not stable for long enough does not reset the count of attempts.
    let attempt = lost["attempt"].as_u64().unwrap();
    assert_eq!(lost["max"], 100_000);
    let next = lost["next_attempt_at"].as_str().unwrap().parse::<jiff::Timestamp>();
    assert!(next.is_ok(), "{lost}");
    assert!(lost["next_attempt_in_ms"].as_u64().unwrap() <= 200, "{lost}");
    let is_next = |event: &Value| event["kind"] == "connection_state" && event["attempt"] == attempt + 1;
    let next = events.wait_since(mark, is_next).await;
    assert_eq!(next["from"], "reconnecting");
    events.wait_since(mark, is_agent_health("planner", "unknown")).await;
    events.wait_since(mark, is_agent_health("coder", "unknown")).await;

    let status = ask(data.path(), &["status"]).await;
    assert_eq!(status["connection"]["state"], "reconnecting");
    assert!(status["connection"]["last_error"].is_string());
    for agent in status["agents"].as_array().unwrap() {
        assert_eq!((&agent["status"], &agent["generation"]), (&json!("unknown"), &json!(1)), "{agent}");
    }
    // A caller with a short timeout learns the reason.
    let args = ["request", "GET", "/api/search?q=x", "--wait-timeout", "1ms", "--json"];
    let failed = run(data.path(), &args).await;
    assert_eq!(failed.code, Some(1), "{failed:?}");
    let error: Value = serde_json::from_str(&failed.stdout).unwrap();
    assert_eq!((&error["code"], &error["reason"]), (&json!("NETWORK_ERROR"), &json!("disconnected")));
    assert_eq!((&error["attempts"], &error["retryable"]), (&json!(0), &json!(true)));
    // A caller that waits gets its response when the backend is back, without a retry.
    let mark = events.mark();
    let mut patient =
        MainstayProcess::start(data.path(), &["request", "GET", "/api/search?q=patience", "--json"]);
    events.wait_since(mark, |event| event["kind"] == "queue_held" && event["waiting"] == 1).await;
    // The request may be the current probe. A status between the probe's end and its return to the queue counts none.
    support::eventually("one request is held", async || {
        let queue = ask(data.path(), &["status"]).await["queue"].take();
        let count = |name: &str| queue[name].as_u64().unwrap();
        queue["held"].is_object() && count("waiting") + count("running") == 1
    })
    .await;

    let mark = events.mark();
    let backend = DemoBackend::start(port, "planner,coder").await;
    events.wait_since(mark, is_connection_state("connected")).await;
    events.wait_since(mark, is_agent_health("planner", "healthy")).await;
    events.wait_since(mark, is_agent_health("coder", "healthy")).await;
    let (status, answered) = patient.wait().await;
    assert!(status.success(), "{answered}");
    let answered: Value = serde_json::from_str(&answered).unwrap();
    assert_eq!((&answered["status"], &answered["attempts"]), (&json!(200), &json!(1)));
    events.wait_since(0, |event| event["kind"] == "queue_released").await;
    let restarts = events.events.iter().filter(|event| event["kind"] == "actor_exited").count();
    assert_eq!(restarts, 0, "no agent was restarted");
    let (status, _) = runtime.stop().await;
    assert!(status.success());
    backend.kill().await;
}

#[tokio::test]
async fn exhausted_retries_recover_when_backend_answers() {
    let data = tempfile::tempdir().unwrap();
    let backend = DemoBackend::start(0, "planner").await;
    let port = backend.port();
    let config = quick_config(data.path(), &backend.url, "[[agent]]\nid = \"planner\"\n");
    let few = std::fs::read_to_string(&config).unwrap().replace("max_retries = 100000", "max_retries = 2");
    std::fs::write(&config, few).unwrap();
    let _runtime = start_runtime(data.path(), &config);
    let mut events = EventFollower::follow(data.path());
    events.wait_since(0, is_agent_health("planner", "healthy")).await;
    let mark = events.mark();
    backend.kill().await;
    let failed = events.wait_since(mark, is_connection_state("failed")).await;
    assert_eq!(failed["reason"], "retries_exhausted");
    let mark = events.mark();
    let _backend = DemoBackend::start(port, "planner").await;
    events.wait_since(mark, is_connection_state("connected")).await;
}

#[tokio::test]
async fn runtime_started_first_connects_when_backend_comes_up() {
    let data = tempfile::tempdir().unwrap();
    let backend = DemoBackend::start(0, "planner").await;
    let (url, port) = (backend.url.clone(), backend.port());
    backend.kill().await;
    let config = quick_config(data.path(), &url, "[[agent]]\nid = \"planner\"\n");
    let _runtime = start_runtime(data.path(), &config);
    let mut events = EventFollower::follow(data.path());
    events.wait_for_agent("planner", "unknown").await;
    let mark = events.mark();
    let _backend = DemoBackend::start(port, "planner").await;
    events.wait_since(mark, is_connection_state("connected")).await;
    events.wait_since(mark, is_agent_health("planner", "healthy")).await;
}

#[tokio::test]
async fn connection_is_steered_by_hand_from_another_process() {
    let data = tempfile::tempdir().unwrap();
    let _demo = start_demo(data.path(), "1").await;
    let mut events = EventFollower::follow(data.path());
    events.wait_for_connection("connected").await;
    let gone = run(data.path(), &["disconnect"]).await;
    assert!(gone.code == Some(0) && gone.stdout.starts_with("connection  disconnected since "), "{gone:?}");
    events.wait_for_connection("disconnected").await;
    assert_eq!(run(data.path(), &["reconnect"]).await.code, Some(0));
    events.wait_for_connection("connected").await;
    let shown = ask(data.path(), &["connection"]).await;
    assert_eq!(shown["state"], "connected");
}

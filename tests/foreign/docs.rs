//! Runs the backend of docs/getting-started.md as the page shows it: FastAPI on uvicorn.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::server::installed;
use crate::support::{
    EventFollower, MainstayProcess, TEST_TIMEOUT, eventually, is_agent_health, is_connection_state,
    quick_config, run, run_json, send_signal,
};

/// Starts the page's backend, changed by `edit`, and returns its address. Port 0 stands for a free one.
async fn start_backend(
    folder: &Path,
    port: &str,
    edit: impl Fn(&str) -> String,
) -> ((Child, JoinSet<()>), String) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/getting-started.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once("```python\n").expect("the page has a backend");
    fs::write(folder.join("backend.py"), edit(rest.split_once("```").unwrap().0)).unwrap();
    let mut command = Command::new(installed("MAINSTAY_FOREIGN_PYTHON"));
    command.args(["-B", "-m", "uvicorn", "backend:app", "--port", port]).current_dir(folder);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("uvicorn prints its address");
            if let Some((_, rest)) = line.split_once("running on ") {
                return rest.split(' ').next().unwrap().to_owned();
            }
        }
    };
    let url = timeout(TEST_TIMEOUT, address).await.expect("uvicorn starts");
    // The pipe must not fill up.
    let mut reader = JoinSet::new();
    reader.spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    ((child, reader), url)
}

/// Follows the steps of the page: a message, a restart of the agent, and a stop and a start of the backend.
#[tokio::test]
async fn getting_started_keeps_its_promises() {
    let data = tempfile::tempdir().unwrap();
    let ((mut backend, _), url) = start_backend(data.path(), "0", str::to_owned).await;
    let config = quick_config(data.path(), &url, "[[agent]]\nid = \"planner\"\n");
    let mut events = EventFollower::follow(data.path());
    let _runtime = MainstayProcess::start(data.path(), &["run", "--config", config.to_str().unwrap()]);
    events.wait_since(0, is_connection_state("connected")).await;
    events.wait_since(0, is_agent_health("planner", "healthy")).await;
    let sent = run_json(data.path(), &["agent", "send", "planner", "{\"text\":\"hello\"}"]).await;
    assert_eq!(sent["answer"], json!({ "notes": 1 }));
    let state = run_json(data.path(), &["request", "GET", "/api/agents/planner/state"]).await;
    assert_eq!(state["body"], json!({ "notes": ["hello"] }));

    // The restart empties the agent's state, and Mainstay writes back what it has read.
    let answered = events.wait_since(0, |event| event["kind"] == "message_answered").await;
    eventually("the note is read", async || {
        let shown = run_json(data.path(), &["agent", "show", "planner"]).await;
        shown["state_saved_at"].as_str() > answered["at"].as_str()
    })
    .await;
    let restarted = run(data.path(), &["agent", "restart", "planner"]).await;
    assert_eq!(restarted.code, Some(0), "{restarted:?}");
    let state = run_json(data.path(), &["request", "GET", "/api/agents/planner/state"]).await;
    assert_eq!(state["body"], json!({ "notes": ["hello"] }));

    // Ctrl-C, and the backend again: the outage, a request that waits, and the reconnect.
    let mark = events.mark();
    send_signal(backend.id().unwrap().into(), "INT").await;
    timeout(TEST_TIMEOUT, backend.wait()).await.expect("uvicorn stops").unwrap();
    events.wait_since(mark, is_connection_state("reconnecting")).await;
    let args = ["request", "GET", "/api/agents/planner/health", "--json"];
    let mut waiting = MainstayProcess::start(data.path(), &args);
    events.wait_since(mark, |event| event["kind"] == "queue_held" && event["waiting"] == 1).await;
    let (_, port) = url.rsplit_once(':').unwrap();
    let _backend = start_backend(data.path(), port, str::to_owned).await;
    events.wait_since(mark, is_connection_state("connected")).await;
    events.wait_since(mark, |event| event["kind"] == "queue_released").await;
    let (status, response) = waiting.wait().await;
    assert!(status.success() && response.contains("healthy"), "{response}");
}

/// The page says what follows if the backend has no WebSocket, and which key says so.
#[tokio::test]
async fn backend_without_websocket_is_forbidden_until_switched_off() {
    let data = tempfile::tempdir().unwrap();
    let without_websocket = |code: &str| code.split_once("@app.websocket").unwrap().0.to_owned();
    let (_backend, url) = start_backend(data.path(), "0", without_websocket).await;
    let config = quick_config(data.path(), &url, "[[agent]]\nid = \"planner\"\n");
    let mut events = EventFollower::follow(data.path());
    let runtime = MainstayProcess::start(data.path(), &["run", "--config", config.to_str().unwrap()]);
    let failed = events.wait_since(0, is_connection_state("failed")).await;
    assert_eq!(failed["reason"], "forbidden");
    let connection = run_json(data.path(), &["connection"]).await;
    let next_step = connection["next_step"].as_str().unwrap();
    assert!(
        next_step.contains("enabled = false") && next_step.contains("path under [connection]"),
        "{next_step}"
    );
    let sent = run_json(data.path(), &["agent", "send", "planner", "{\"text\":\"hello\"}"]).await;
    assert_eq!(sent["answer"], json!({ "notes": 1 }));
    // So that no event of this run is taken for one of the next.
    events.wait_since(0, is_agent_health("planner", "healthy")).await;
    runtime.kill().await;

    let text =
        fs::read_to_string(&config).unwrap().replace("[connection]\n", "[connection]\nenabled = false\n");
    fs::write(&config, text).unwrap();
    let mark = events.mark();
    let _runtime = MainstayProcess::start(data.path(), &["run", "--config", config.to_str().unwrap()]);
    events.wait_since(mark, |event| event["kind"] == "runtime_started").await;
    events.wait_since(mark, is_agent_health("planner", "healthy")).await;
    let state = run_json(data.path(), &["request", "GET", "/api/agents/planner/state"]).await;
    assert_eq!(state["status"], 200);
    assert_eq!(run_json(data.path(), &["connection"]).await["state"], "disabled");
}

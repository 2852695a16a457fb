//! Tests the binary against a foreign server: its configuration, its token, its commands.

use std::fs;
use std::path::PathBuf;

use serde_json::json;
use tempfile::TempDir;

use crate::against;
use crate::server::{RunningServer, ServerSpec};
use crate::support::{
    EventFollower, MainstayProcess, is_agent_health, is_connection_state, quick_config, run, run_json as ask,
};

const TOKEN: &str = "s3cret-t0ken";

/// Makes a data folder with a configuration: a header for every request, and a token from the environment.
fn write_config(server: &RunningServer, more: &str) -> (TempDir, PathBuf) {
    let data = tempfile::tempdir().unwrap();
    let config = quick_config(data.path(), &server.url(), more);
    let text = fs::read_to_string(&config).unwrap();
    let keys = "[backend]\nheaders = { x-shell = \"of-the-file\" }\ntoken_env = \"MAINSTAY_TEST_TOKEN\"\n";
    fs::write(&config, text.replace("[backend]\n", keys)).unwrap();
    (data, config)
}

fn start_runtime(data: &TempDir, config: &std::path::Path) -> MainstayProcess {
    let args = ["run", "--config", config.to_str().unwrap()];
    MainstayProcess::start_with(data.path(), &args, &[("MAINSTAY_TEST_TOKEN", TOKEN)])
}

against!(handshake_carries_the_headers_and_the_token: websockets, uvicorn, h11, node);
async fn handshake_carries_the_headers_and_the_token(foreign: ServerSpec) {
    let mut server = foreign.start().await;
    let (data, config) = write_config(&server, "");
    let runtime = start_runtime(&data, &config);
    server.expect_line(&format!("opened Bearer {TOKEN} of-the-file")).await;
    EventFollower::follow(data.path()).wait_since(0, is_connection_state("connected")).await;
    if !server.spec.is_websocket_only() {
        let echo = ask(data.path(), &["request", "GET", "/echo"]).await;
        assert_eq!(echo["body"]["headers"]["authorization"], format!("Bearer {TOKEN}"));
        assert_eq!(echo["body"]["headers"]["x-shell"], "of-the-file");
    }
    let (status, output) = runtime.stop().await;
    assert!(status.success() && !output.contains(TOKEN), "{output}");
    let journal = run(data.path(), &["events", "--json"]).await.stdout;
    assert!(journal.contains("runtime_stopped") && !journal.contains(TOKEN), "{journal}");
}

against!(commands_print_what_the_server_answers: uvicorn, h11);
async fn commands_print_what_the_server_answers(foreign: ServerSpec) {
    let server = foreign.start().await;
    let (data, config) = write_config(&server, "[[agent]]\nid = \"planner\"\n[[agent]]\nid = \"sparse\"\n");
    let _runtime = start_runtime(&data, &config);
    let mut events = EventFollower::follow(data.path());
    events.wait_since(0, is_connection_state("connected")).await;
    events.wait_since(0, is_agent_health("planner", "healthy")).await;
    events.wait_since(0, is_agent_health("sparse", "healthy")).await;

    let status = ask(data.path(), &["status"]).await;
    assert_eq!(status["connection"]["state"], "connected");
    assert_eq!(status["agents"][0]["status"], "healthy");

    let item = json!({ "name": "lamp", "size": 3 }).to_string();
    let answer = ask(data.path(), &["request", "POST", "/items", "--body", &item]).await;
    assert_eq!((&answer["status"], &answer["body"]["name"]), (&json!(201), &json!("lamp")));

    let refused = run(data.path(), &["request", "POST", "/items", "--body", "{}", "--json"]).await;
    let error: serde_json::Value = serde_json::from_str(&refused.stdout).unwrap();
    assert_eq!((refused.code, &error["reason"]), (Some(1), &json!("unprocessable")), "{refused:?}");

    let refused = run(data.path(), &["request", "GET", "/problem/409/plain"]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("The tray is empty."), "{refused:?}");
}

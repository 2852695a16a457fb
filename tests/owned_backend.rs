//! Tests the backend that the runtime starts: its warming up, its commands, its address and its secret.

#![cfg(unix)]

mod support;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use mainstay::config::Config;
use mainstay::supervision::ActorStatus;
use mainstay::{Mainstay, Reason, Request};
use serde_json::{Value, json};
use support::{
    EventFollower, MainstayProcess, TEST_TIMEOUT, eventually, is_agent_health, is_connection_state, mainstay,
    mainstay_binary, read_head, run, run_json, send_signal, serve_connections, start_runtime, tree_node,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Writes a configuration with this `[backend]`, and returns its path.
fn config(data: &Path, backend: &str, more: &str) -> PathBuf {
    let path = data.join("mainstay.toml");
    let text = format!(
        "[backend]\n{backend}\n[agents]\nrestart_delay = \"50ms\"\nrestart_delay_max = \"50ms\"\n\
         health_interval = \"100ms\"\n{more}"
    );
    std::fs::write(&path, text).unwrap();
    path
}

async fn start(backend: &str, more: &str) -> (tempfile::TempDir, MainstayProcess, EventFollower) {
    let data = tempfile::tempdir().unwrap();
    let config = config(data.path(), backend, more);
    let mut runtime = start_runtime(data.path(), &config);
    // It can be asked from then on.
    runtime.line_containing("backend ").await;
    let events = EventFollower::follow(data.path());
    (data, runtime, events)
}

/// Returns the keys of an embedded backend at an assigned address.
fn assigned(ready: &str) -> String {
    let program = mainstay_binary();
    format!(
        "url = \"auto\"\ncommand = ['{}', 'demo-backend', '--port', '{{port}}']\nready = '{ready}'",
        program.display()
    )
}

/// A configuration without a connection.
const NO_LINK: &str = "[connection]\nenabled = false\n";

/// Makes a request that fails, and returns what it prints.
async fn request(data: &Path, wait: &str) -> String {
    let ended = run(data, &["request", "GET", "/x", "--wait-timeout", wait]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    ended.stderr
}

/// Returns the keys of an embedded backend at an assigned address that starts once `folder` has a file `go`.
fn assigned_and_held(folder: &Path) -> String {
    let script = "while [ ! -e go ]; do sleep 0.05; done; exec \"$0\" demo-backend --port \"$1\"";
    let program = mainstay_binary();
    let (program, folder) = (program.display(), folder.display());
    format!("url = \"auto\"\ncommand = ['sh', '-c', '{script}', '{program}', '{{port}}']\ncwd = '{folder}'")
}

async fn backend(data: &Path) -> Value {
    run_json(data, &["backend", "show"]).await
}

fn is_of_backend(kind: &str) -> impl Fn(&Value) -> bool {
    move |event| event["kind"] == kind && event["actor"] == "root/backend"
}

// === warming up ===

#[tokio::test]
async fn warming_up_shows_what_it_awaits_and_its_last_line() {
    let script = "echo loading the model; exec sleep 1000";
    let keys = format!("command = ['sh', '-c', '{script}']\nready = 'stdout:listening'\nready_within = '1h'");
    let (data, runtime, mut events) = start(&keys, NO_LINK).await;
    let starting = events.wait_for(is_of_backend("backend_starting")).await;
    assert_eq!(starting["awaits"], "it prints \"listening\"");
    eventually("its last line is shown", async || {
        backend(data.path()).await["last_line"] == "loading the model"
    })
    .await;
    let status = run_json(data.path(), &["status"]).await;
    let verdict = status["verdict"]["text"].as_str().unwrap();
    let awaited = ": it is ready when it prints \"listening\"; its last line: loading the model";
    assert!(verdict.contains(awaited), "{verdict}");
    let shown = &status["backend"];
    assert_eq!((&shown["status"], &shown["pid"]), (&"starting".into(), &starting["pid"]));
    assert_eq!(shown["awaits"], "it prints \"listening\"");
    assert!(shown["next_step"].as_str().unwrap().contains("within 1 h"), "{shown}");
    let tree = run_json(data.path(), &["tree"]).await;
    let node = tree["children"].as_array().unwrap().iter().find(|node| node["path"] == "root/backend");
    assert_eq!(node.unwrap()["status"], "starting");
    let text = run(data.path(), &["status"]).await.stdout;
    assert!(text.contains("backend     starting") && text.contains("last line: loading the model"), "{text}");
    let step =
        "The backend is starting: it is ready when it prints \"listening\", within 1 h (5 restarts left).";
    let request = request(data.path(), "200ms").await;
    assert_eq!(request, format!("mainstay: NETWORK_ERROR disconnected: {step}\n"));
    let held = &run_json(data.path(), &["status"]).await["queue"]["held"];
    assert_eq!((&held["message"], &held["next_probe_in_ms"]), (&step.into(), &Value::Null));
    assert!(text.contains(", nothing is sent before the backend is ready\n"), "{text}");
    let events_text = run(data.path(), &["events"]).await.stdout;
    assert!(events_text.contains(&format!("the queue holds the requests to come: {step}")), "{events_text}");
    let is_ready = |event: &Value| event["actor"] == "root/backend" && event["kind"] == "actor_ready";
    assert!(!events.events.iter().any(is_ready), "no event says that it is ready");
    runtime.stop().await;
}

#[tokio::test]
async fn backend_that_is_not_ready_in_time_is_started_again() {
    let keys = "command = ['sleep', '1000']\nready = 'stdout:up'\nready_within = '1s'";
    let (_data, runtime, mut events) = start(keys, "max_restarts = 1").await;
    let exit = events.wait_for(is_of_backend("actor_exited")).await;
    assert_eq!(exit["cause"], "start_failed");
    assert!(exit["message"].as_str().unwrap().contains("it was not ready within 1 s"), "{exit}");
    events.wait_for(is_of_backend("gave_up")).await;
    runtime.stop().await;
}

#[tokio::test]
async fn backend_with_a_fixed_address_is_ready_once_it_listens() {
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let keys = assigned_and_held(folder.path()).replace("auto", &format!("http://127.0.0.1:{port}"));
    let (data, runtime, mut events) = start(&keys, NO_LINK).await;
    let starting = events.wait_for(is_of_backend("backend_starting")).await;
    assert_eq!(starting["awaits"], "it accepts connections");
    assert_eq!(backend(data.path()).await["status"], "starting");
    assert!(!events.events.iter().any(is_of_backend("backend_started")));
    std::fs::write(folder.path().join("go"), "").unwrap();
    events.wait_for(is_of_backend("backend_started")).await;
    runtime.stop().await;
}

/// A program that comes with the application lies beside its executable, and in no folder of `PATH`.
#[tokio::test]
async fn sidecar_beside_the_executable_is_the_backend() {
    let data = tempfile::tempdir().unwrap();
    let keys = "url = 'auto'\ncommand = ['sidecar:mainstay', 'demo-backend', '--port', '{port}']";
    let config = config(data.path(), keys, NO_LINK);
    let args = ["run", "--config", config.to_str().unwrap()];
    let empty = tempfile::tempdir().unwrap();
    let runtime =
        MainstayProcess::start_with(data.path(), &args, &[("PATH", empty.path().to_str().unwrap())]);
    EventFollower::follow(data.path()).wait_for(is_of_backend("backend_started")).await;
    let answer = run_json(data.path(), &["request", "GET", "/api/search?q=x"]).await;
    assert_eq!(answer["status"], 200);
    runtime.stop().await;
}

/// As uvicorn prints it.
#[tokio::test]
async fn ready_text_counts_in_colour_and_on_stderr() {
    let print = r#"printf "\033[32mINFO\033[0m: running on \033[1mhttp://127.0.0.1:$0\033[0m (Press\n" >&2"#;
    let keys = format!(
        "url = 'auto'\ncommand = ['sh', '-c', '{print}; exec sleep 1000', '{{port}}']\n\
         ready = 'stdout:INFO: running on {{url}} (Press'"
    );
    let agent = format!(
        "startup_grace = '1h'\nmin_uptime = '100ms'\n[connection]\nenabled = false\n\
         [[agent]]\nid = 'helper'\ndriver = 'process'\nready = 'stdout:INFO: running on http'\n\
         command = ['sh', '-c', '{print}; exec cat', '80']\n"
    );
    let (_data, runtime, mut events) = start(&keys, &agent).await;
    events.wait_for(is_of_backend("backend_started")).await;
    events.wait_since(0, is_agent_health("helper", "healthy")).await;
    runtime.stop().await;
}

/// Both get the same port, and the agent is ready once it prints that.
#[tokio::test]
async fn ready_text_of_an_agent_has_the_assigned_address() {
    let keys = "url = 'auto'\ncommand = ['sh', '-c', 'echo port $0; exec sleep 1000', '{port}']\n\
                ready = 'stdout:port {port}'";
    let agent = "startup_grace = '1h'\nmin_uptime = '0s'\n[connection]\nenabled = false\n\
                 [[agent]]\nid = 'helper'\ndriver = 'process'\nready = 'stdout:uses {port}.'\n\
                 command = ['sh', '-c', 'echo uses $0.; exec cat', '{port}']\n";
    let (_data, runtime, mut events) = start(keys, agent).await;
    events.wait_for(is_of_backend("backend_started")).await;
    events.wait_since(0, is_agent_health("helper", "healthy")).await;
    runtime.stop().await;
}

#[tokio::test]
async fn commands_stop_start_and_restart_the_backend() {
    let keys = "command = ['sh', '-c', 'echo up; exec sleep 1000']\nready = 'stdout:up'";
    let (data, runtime, mut events) = start(keys, NO_LINK).await;
    let first = events.wait_for(is_of_backend("backend_started")).await;
    let order = async |verb: &str| {
        let done = run(data.path(), &["backend", verb]).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        done.stdout
    };
    assert!(order("stop").await.contains("stopped; `mainstay backend start` starts it"));
    let stopped = backend(data.path()).await;
    assert_eq!((&stopped["status"], &stopped["pid"]), (&"stopped".into(), &Value::Null));
    let failed = request(data.path(), "1h").await;
    let words = "The backend is stopped; 'mainstay backend start' starts it.";
    assert_eq!(failed, format!("mainstay: NETWORK_ERROR disconnected: {words}\n"));
    order("start").await;
    let second = events.wait_for(is_of_backend("backend_started")).await;
    assert_ne!(first["pid"], second["pid"]);
    order("restart").await;
    let third = events.wait_for(is_of_backend("backend_started")).await;
    assert_ne!(second["pid"], third["pid"]);
    let shown = backend(data.path()).await;
    assert_eq!((&shown["status"], &shown["pid"]), (&"running".into(), &third["pid"]));
    runtime.stop().await;
}

#[tokio::test]
async fn suspended_backend_is_shown_until_it_continues() {
    let keys = "command = ['sh', '-c', 'echo up; exec sleep 1000']\nready = 'stdout:up'";
    let data = tempfile::tempdir().unwrap();
    let config = config(data.path(), keys, &format!("fail_after = 1000\n{NO_LINK}"));
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("health_interval = \"100ms\"", "health_interval = \"1s\"")).unwrap();
    let runtime = start_runtime(data.path(), &config);
    let mut events = EventFollower::follow(data.path());
    let pid = events.wait_for(is_of_backend("backend_started")).await["pid"].as_u64().unwrap();
    send_signal(pid, "STOP").await;
    events.wait_for(is_of_backend("backend_suspended")).await;
    let shown = backend(data.path()).await;
    let since = shown["suspended_since"].as_str().unwrap();
    assert!(shown["status"] == "running" && since > shown["since"].as_str().unwrap(), "{shown}");
    let step = shown["next_step"].as_str().unwrap();
    assert!(step.ends_with(&format!("`kill -CONT {pid}` lets it continue")), "{step}");
    let text = run(data.path(), &["status", "--utc"]).await.stdout;
    let (_, suspended) = text.split_once("running, suspended since ").unwrap();
    assert!(suspended.lines().next().unwrap().contains(&since[11..19]), "{since} {text}");
    assert!(suspended.contains("stopped by a signal"), "{text}");
    let node = tree_node(data.path(), "root/backend").await;
    let facts = [&node["status"], &node["suspended"], &node["next_step"]];
    assert_eq!(facts, [&json!("running"), &json!(true), &json!(step)], "{node}");
    let text = run(data.path(), &["tree"]).await.stdout;
    let steps = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(steps.contains("running, suspended") && steps.contains(&format!("`kill -CONT {pid}`")), "{text}");
    send_signal(pid, "CONT").await;
    events.wait_for(is_of_backend("backend_resumed")).await;
    assert_eq!(backend(data.path()).await.get("suspended_since"), None);
    assert_eq!(tree_node(data.path(), "root/backend").await.get("suspended"), None);
    runtime.stop().await;
}

#[tokio::test]
async fn backend_that_stays_suspended_is_restarted() {
    let keys = "command = ['sh', '-c', 'echo up; exec sleep 1000']\nready = 'stdout:up'";
    let (_data, runtime, mut events) = start(keys, NO_LINK).await;
    let first = events.wait_for(is_of_backend("backend_started")).await;
    send_signal(first["pid"].as_u64().unwrap(), "STOP").await;
    let exit = events.wait_for(is_of_backend("actor_exited")).await;
    assert!(exit["message"].as_str().unwrap().contains("stopped by a signal or a debugger for"), "{exit}");
    let next = events.wait_for(is_of_backend("backend_started")).await;
    assert_ne!(first["pid"], next["pid"]);
    runtime.stop().await;
}

#[tokio::test]
async fn given_up_backend_names_the_command_that_helps() {
    let keys =
        "command = ['sh', '-c', 'test -e go || exit 3; echo up; exec sleep 1000']\nready = 'stdout:up'";
    let data = tempfile::tempdir().unwrap();
    let keys = format!("{keys}\ncwd = '{}'", data.path().display());
    let config = config(data.path(), &keys, "max_restarts = 1");
    let mut runtime = start_runtime(data.path(), &config);
    runtime.line_containing("backend ").await;
    let mut events = EventFollower::follow(data.path());
    events.wait_for(is_of_backend("gave_up")).await;
    let shown = backend(data.path()).await;
    assert_eq!((&shown["status"], &shown["gave_up"]), (&"failed".into(), &true.into()));
    assert!(shown["next_step"].as_str().unwrap().contains("`mainstay backend reset`"), "{shown}");
    let text = run(data.path(), &["status"]).await.stdout;
    assert!(text.contains("`mainstay backend reset`"), "{text}");
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains(", requests fail at once until a command starts the backend"), "{text}");
    let failed = request(data.path(), "1h").await;
    let words = "The backend is given up: its restarts are used up, so it stays as it is until 'mainstay backend reset' \
                 gives them back and starts it.";
    assert_eq!(failed, format!("mainstay: NETWORK_ERROR disconnected: {words}\n"));
    std::fs::write(data.path().join("go"), "").unwrap();
    assert_eq!(run(data.path(), &["backend", "reset"]).await.code, Some(0));
    events.wait_for(is_of_backend("backend_started")).await;
    runtime.stop().await;
}

#[tokio::test]
async fn lines_from_before_the_present_start_have_a_heading() {
    let folder = tempfile::tempdir().unwrap();
    let script = "test -e again || { touch again; echo old; exit 3; }; while [ ! -e print ]; do sleep 0.05; done; \
                  echo new; exec sleep 1000";
    let keys = format!(
        "command = ['sh', '-c', '{script}']\nready = 'stdout:up'\ncwd = '{}'",
        folder.path().display()
    );
    let (data, runtime, mut events) = start(&keys, "").await;
    events.wait_for(is_of_backend("actor_exited")).await;
    events.wait_for(is_of_backend("backend_starting")).await;
    let shown = backend(data.path()).await;
    assert_eq!((&shown["output"], &shown["output_is_old"]), (&json!(["old"]), &json!(true)));
    let text = run(data.path(), &["backend", "show"]).await.stdout;
    assert!(text.contains("before this start:\n") && text.ends_with("| old\n"), "{text}");
    std::fs::write(folder.path().join("print"), "").unwrap();
    eventually("it prints", async || backend(data.path()).await["output"] == json!(["new"])).await;
    assert!(!run(data.path(), &["backend", "show"]).await.stdout.contains("before this start"));
    runtime.stop().await;
}

#[tokio::test]
async fn request_in_a_restart_delay_says_when_the_backend_restarts() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("mainstay.toml");
    let text = format!(
        "[backend]\ncommand = ['false']\nready = 'none'\n[agents]\nrestart_delay = \"1h\"\nrestart_delay_max = \"1h\"\n{NO_LINK}"
    );
    std::fs::write(&path, text).unwrap();
    let mut runtime = start_runtime(data.path(), &path);
    runtime.line_containing("backend ").await;
    let mut events = EventFollower::follow(data.path());
    events.wait_for(is_of_backend("decision")).await;
    eventually("it waits for its restart", async || backend(data.path()).await["status"] == "restarting")
        .await;
    let failed = request(data.path(), "1ms").await;
    let start = "mainstay: NETWORK_ERROR disconnected: The backend is restarted in ";
    assert!(failed.starts_with(start) && failed.ends_with("(4 restarts left).\n"), "{failed}");
    runtime.stop().await;
}

#[tokio::test]
async fn request_that_waits_fails_once_the_backend_is_stopped() {
    let keys = "command = ['sleep', '1000']\nready = 'stdout:up'";
    let (data, runtime, mut events) = start(keys, NO_LINK).await;
    events.wait_for(is_of_backend("backend_starting")).await;
    let stopped = async {
        let waits = async || run_json(data.path(), &["status"]).await["queue"]["waiting"] == 1;
        eventually("the request waits", waits).await;
        assert_eq!(run(data.path(), &["backend", "stop"]).await.code, Some(0));
    };
    let (failed, ()) = tokio::join!(request(data.path(), "1h"), stopped);
    assert!(failed.ends_with("The backend is stopped; 'mainstay backend start' starts it.\n"), "{failed}");
    runtime.stop().await;
}

#[tokio::test]
async fn request_says_after_a_second_what_it_waits_for() {
    let folder = tempfile::tempdir().unwrap();
    let (data, runtime, mut events) = start(&assigned_and_held(folder.path()), NO_LINK).await;
    events.wait_for(is_of_backend("backend_starting")).await;
    let mut request = mainstay(data.path(), &["request", "GET", "/api/search?q=x"]);
    let mut request = request.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(request.stderr.take().unwrap()).lines();
    let first = timeout(TEST_TIMEOUT, lines.next_line()).await.unwrap().unwrap().unwrap();
    let words =
        "waits for the backend, which is starting: it is ready when it accepts connections, within 2 min";
    assert!(first.starts_with(words), "{first}");
    std::fs::write(folder.path().join("go"), "").unwrap();
    let next = timeout(TEST_TIMEOUT, lines.next_line()).await.unwrap().unwrap().unwrap();
    assert!(next.starts_with("HTTP 200 in "), "it says the same thing once: {next}");
    assert!(timeout(TEST_TIMEOUT, request.wait()).await.unwrap().unwrap().success());
    runtime.stop().await;
}

#[tokio::test]
async fn connection_says_that_it_waits_for_the_backend() {
    let folder = tempfile::tempdir().unwrap();
    let (data, runtime, mut events) = start(&assigned_and_held(folder.path()), "").await;
    events.wait_for(is_of_backend("backend_starting")).await;
    let step = async || run_json(data.path(), &["connection"]).await["next_step"].take();
    let waiting = step().await;
    let words =
        "waits for the backend, which is starting: it is ready when it accepts connections, within 2 min";
    assert!(waiting.as_str().unwrap().starts_with(words), "{waiting}");
    assert_eq!(run(data.path(), &["disconnect"]).await.code, Some(0));
    assert_eq!(step().await, "none until a reconnect", "a command keeps it closed");
    runtime.stop().await;
}

#[tokio::test]
async fn request_says_that_the_backend_is_suspended() {
    let more = format!("fail_after = 1000\n{NO_LINK}");
    let (data, runtime, mut events) = start(&assigned("stdout:listening on {url}"), &more).await;
    let pid = events.wait_for(is_of_backend("backend_started")).await["pid"].as_u64().unwrap();
    send_signal(pid, "STOP").await;
    events.wait_for(is_of_backend("backend_suspended")).await;
    let mut request = mainstay(data.path(), &["request", "GET", "/api/search?q=x"]);
    let mut request = request.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(request.stderr.take().unwrap()).lines();
    let first = timeout(TEST_TIMEOUT, lines.next_line()).await.unwrap().unwrap().unwrap();
    assert!(
        first.starts_with("waits for the backend, which a signal or a debugger has stopped: "),
        "{first}"
    );
    assert!(first.ends_with(&format!("`kill -CONT {pid}` lets it continue")), "{first}");
    send_signal(pid, "CONT").await;
    assert!(timeout(TEST_TIMEOUT, request.wait()).await.unwrap().unwrap().success());
    runtime.stop().await;
}

#[tokio::test]
async fn agent_that_names_the_address_waits_for_the_backend() {
    let folder = tempfile::tempdir().unwrap();
    let agent = "startup_grace = '1s'\nmin_uptime = '100ms'\nmax_restarts = 2\n\
                 [[agent]]\nid = 'helper'\ndriver = 'process'\ncommand = ['cat']\nenv = { API = '{url}' }\n";
    let (data, runtime, mut events) = start(&assigned_and_held(folder.path()), agent).await;
    events.wait_for(is_of_backend("backend_starting")).await;
    let waits = async || {
        let agent = run_json(data.path(), &["agent", "show", "helper"]).await;
        agent["next_step"].as_str().unwrap().starts_with("waits for the backend, and starts once")
    };
    eventually("it waits for the backend", waits).await;
    assert_eq!(run(data.path(), &["agent", "stop", "helper"]).await.code, Some(0), "a stop ends the wait");
    assert_eq!(run(data.path(), &["agent", "start", "helper"]).await.code, Some(0));
    eventually("it waits again", waits).await;
    let restarted = run(data.path(), &["agent", "restart", "helper"]).await;
    assert_eq!(restarted.code, Some(1), "{restarted:?}");
    assert!(
        restarted.stderr.contains("disconnected: The agent waits for the backend, and starts once"),
        "{restarted:?}"
    );
    std::fs::write(folder.path().join("go"), "").unwrap();
    events.wait_for_agent("helper", "healthy").await;
    let is_of_agent =
        |event: &&Value| event["actor"] == "root/agents/helper" && event["kind"] == "actor_exited";
    let exits: Vec<&Value> = events.events.iter().filter(is_of_agent).map(|event| &event["cause"]).collect();
    assert_eq!(exits, ["normal", "normal"], "the wait used no restart");
    runtime.stop().await;
}

#[tokio::test]
async fn agent_that_names_the_address_follows_the_backend() {
    let agent = "min_uptime = '100ms'\n[[agent]]\nid = 'helper'\ndriver = 'process'\nmax_restarts = 0\n\
                 command = ['sh', '-c', 'echo at $0 >&2; exec cat', '{url}']\nenv = { SECRET = '{token}' }\n";
    let (data, runtime, mut events) = start(&assigned("stdout:listening on {url}"), agent).await;
    let first = events.wait_for(is_of_backend("backend_started")).await;
    events.wait_since(0, is_agent_health("helper", "healthy")).await;
    let url = async || {
        backend(data.path()).await["url"].as_str().unwrap_or_default().trim_end_matches('/').to_owned()
    };
    let has_address = async |url: &str| {
        let agent = run_json(data.path(), &["agent", "show", "helper"]).await;
        agent["output"] == json!([format!("at {url}")])
    };
    let first_url = url().await;
    eventually("it has the address", async || has_address(&first_url).await).await;
    let mark = events.mark();
    send_signal(first["pid"].as_u64().unwrap(), "KILL").await;
    events.wait_since(mark, is_of_backend("backend_started")).await;
    events.wait_since(mark, |event| event["kind"] == "agent_outdated").await;
    events.wait_since(mark, is_agent_health("helper", "healthy")).await;
    let next_url = url().await;
    assert_ne!(first_url, next_url);
    eventually("it has the next address", async || has_address(&next_url).await).await;
    assert!(!events.events.iter().any(|event| event["kind"] == "gave_up"), "it has no restarts to use");
    runtime.stop().await;
}

#[tokio::test]
async fn program_that_is_not_there_is_given_up_at_once() {
    let (data, runtime, mut events) =
        start("command = ['mainstay-has-no-such-program']\nready = 'none'", "").await;
    let gave_up = events.wait_for(is_of_backend("gave_up")).await;
    assert_eq!((&gave_up["restarts"], &gave_up["unrecoverable"]), (&0.into(), &true.into()));
    let decisions = events.events.iter().filter(|event| event["kind"] == "decision").count();
    assert_eq!(decisions, 1);
    let shown = backend(data.path()).await;
    assert!(shown["next_step"].as_str().unwrap().contains("`mainstay backend start` tries again"), "{shown}");
    assert_eq!((&shown["budget_left"], &shown["unrecoverable"]), (&0.into(), &true.into()), "{shown}");
    let verdict = &run_json(data.path(), &["status"]).await["verdict"];
    assert_eq!(verdict["action"], json!({ "type": "start_backend" }), "{verdict}");
    let replayed = run(data.path(), &["replay"]).await;
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    runtime.stop().await;
}

#[tokio::test]
async fn program_that_cannot_be_run_is_given_up_at_once() {
    for text in [&b"#!/mainstay/no/such/interpreter\n"[..], b"\x7fELF\0\0 of no system\0"] {
        let data = tempfile::tempdir().unwrap();
        let file = data.path().join("program");
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let command = format!("command = ['{}']\nready = 'none'", file.display());
        let agent = format!("{NO_LINK}[[agent]]\nid = 'helper'\ndriver = 'process'\n{command}\n");
        let config = config(data.path(), &command, &agent);
        let checked = run(data.path(), &["config", "check", config.to_str().unwrap()]).await;
        let is_script = text.starts_with(b"#!");
        assert_eq!(checked.stderr.contains("interpreter"), is_script, "{checked:?}");
        let runtime = start_runtime(data.path(), &config);
        let mut events = EventFollower::follow(data.path());
        for actor in ["root/backend", "root/agents/helper"] {
            let is_of_it = |event: &Value, kind: &str| event["actor"] == actor && event["kind"] == kind;
            events.wait_since(0, |event| is_of_it(event, "gave_up")).await;
            let exits = events.events.iter().filter(|event| is_of_it(event, "actor_exited"));
            assert_eq!(exits.count(), 1, "{actor}: {:#?}", events.events);
        }
        runtime.stop().await;
    }
}

#[tokio::test]
async fn backend_that_is_not_owned_has_no_commands() {
    let (data, runtime, mut events) = start("url = 'http://127.0.0.1:1'", "").await;
    events.wait_for(|event| event["kind"] == "runtime_started").await;
    eventually("it can be asked", async || run(data.path(), &["status"]).await.code == Some(0)).await;
    let refused = run(data.path(), &["backend", "stop"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("does not start its backend"), "{refused:?}");
    assert!(run_json(data.path(), &["status"]).await.get("backend").is_none());
    runtime.stop().await;
}

// === an assigned address ===

#[tokio::test]
async fn each_start_has_its_own_address_and_secret() {
    let more = "[[agent]]\nid = \"planner\"\n";
    let (data, runtime, mut events) = start(&assigned("stdout:listening on {url}"), more).await;
    let first = events.wait_for(is_of_backend("backend_started")).await;
    events.wait_since(0, is_connection_state("connected")).await;
    let url = backend(data.path()).await["url"].as_str().unwrap().to_owned();
    let health = "/api/agents/planner/health";
    let answer = run_json(data.path(), &["request", "GET", health]).await;
    assert_eq!((&answer["status"], &answer["body"]["status"]), (&200.into(), &"healthy".into()));
    let at = |url: &str| format!("{}{health}", url.trim_end_matches('/'));
    let refused = support::http_client().get(at(&url)).send().await.unwrap();
    assert_eq!(refused.status(), 401, "it takes the secret of its start alone");

    let mark = events.mark();
    send_signal(first["pid"].as_u64().unwrap(), "KILL").await;
    events.wait_since(mark, is_of_backend("backend_started")).await;
    events.wait_since(mark, is_connection_state("connected")).await;
    let next = backend(data.path()).await["url"].as_str().unwrap().to_owned();
    assert_ne!(url, next);
    let answer = run_json(data.path(), &["request", "GET", health]).await;
    assert_eq!(answer["status"], 200);
    runtime.stop().await;
}

/// The shell adds a folder to `PATH` that only it knows, and the backend's program is there.
#[tokio::test]
async fn program_is_found_by_the_path_of_the_login_shell() {
    let data = tempfile::tempdir().unwrap();
    let tools = data.path().join("tools");
    std::fs::create_dir(&tools).unwrap();
    let shell = data.path().join("shell");
    let script = format!("#!/bin/sh\nPATH={}:$PATH\neval \"$2\"\n", tools.display());
    let program = tools.join("only-the-shell-knows-it");
    for (file, text) in [(&shell, &*script), (&program, "#!/bin/sh\necho $0; exec sleep 1000\n")] {
        std::fs::write(file, text).unwrap();
        std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let keys = |login_env: bool| {
        format!(
            "url = 'http://127.0.0.1:9'\ncommand = ['only-the-shell-knows-it']\nready = 'none'\nlogin_env = {login_env}"
        )
    };
    let shell = [("SHELL", shell.to_str().unwrap())];
    for login_env in [true, false] {
        let config = config(data.path(), &keys(login_env), "");
        let args = ["run", "--config", config.to_str().unwrap()];
        let runtime = MainstayProcess::start_with(data.path(), &args, &shell);
        let mut events = EventFollower::follow(data.path());
        if login_env {
            events.wait_for(is_of_backend("backend_started")).await;
            let line = format!(" out  {}\n", program.display());
            let printed = async || run(data.path(), &["logs", "backend"]).await.stdout.contains(&line);
            eventually("the program says its path", printed).await;
        } else {
            events.wait_for(|event| event["kind"] == "runtime_stopped").await;
            let mark = events.mark();
            let gave_up = events.wait_since(mark, is_of_backend("gave_up")).await;
            assert!(gave_up.to_string().contains("only-the-shell-knows-it"), "{gave_up}");
        }
        runtime.stop().await;
    }
}

#[tokio::test]
async fn placeholders_reach_variables_and_agents() {
    let text = |who: &str| format!("{who} url {{url}} data {{data_dir}} secret {{token}}");
    let program = mainstay_binary();
    let more = format!(
        "[backend.env]\nTEXT = '{}'\n[[agent]]\nid = 'planner'\ndriver = 'process'\n\
         command = ['sh', '-c', 'echo $0 >&2; exec cat', '{}']\n",
        text("backend"),
        text("agent"),
    );
    let keys = format!(
        "url = 'auto'\nready = 'stdout:listening on {{url}}'\n\
         command = ['sh', '-c', 'echo $TEXT; echo $MAINSTAY_TOKEN > token; exec $0 demo-backend --port $1', '{}', '{{port}}']",
        program.display()
    );
    let data = tempfile::tempdir().unwrap();
    let config = config(data.path(), &format!("{keys}\ncwd = '{}'", data.path().display()), &more);
    let runtime = start_runtime(data.path(), &config);
    let mut events = EventFollower::follow(data.path());
    events.wait_for(is_of_backend("backend_started")).await;
    let url = backend(data.path()).await["url"].as_str().unwrap().trim_end_matches('/').to_owned();
    for who in ["backend", "planner"] {
        let name = if who == "backend" { "backend" } else { "agent" };
        let line = format!("{name} url {url} data {} secret [redacted]", data.path().display());
        let is_there = async || run(data.path(), &["logs", who]).await.stdout.contains(&line);
        eventually("its log has the line", is_there).await;
    }
    let token = std::fs::read_to_string(data.path().join("token")).unwrap();
    assert_eq!(token.trim().len(), 64);
    runtime.stop().await;
}

#[tokio::test]
async fn secret_of_a_start_reaches_no_file_and_no_event() {
    let script = "echo secret $MAINSTAY_TOKEN >&2; echo $MAINSTAY_TOKEN > token; exit 3";
    let data = tempfile::tempdir().unwrap();
    let cwd = tempfile::tempdir().unwrap();
    let keys = format!(
        "url = 'auto'\ncommand = ['sh', '-c', '{script}', '{{port}}']\ncwd = '{}'",
        cwd.path().display()
    );
    let config = config(data.path(), &keys, "max_restarts = 0");
    let mut runtime = start_runtime(data.path(), &config);
    runtime.line_containing("backend ").await;
    let mut events = EventFollower::follow(data.path());
    let exit = events.wait_for(is_of_backend("actor_exited")).await;
    assert!(exit["message"].as_str().unwrap().contains("secret [redacted]"), "{exit}");
    let token = std::fs::read_to_string(cwd.path().join("token")).unwrap();
    let token = token.trim();
    assert_eq!(token.len(), 64);
    let status = run_json(data.path(), &["status"]).await;
    assert!(!status.to_string().contains(token), "{status}");
    runtime.stop().await;
    for entry in std::fs::read_dir(data.path().join("journal")).unwrap() {
        let text = String::from_utf8_lossy(&std::fs::read(entry.unwrap().path()).unwrap()).into_owned();
        assert!(!text.contains(token));
    }
}

#[tokio::test]
async fn secret_of_an_earlier_start_stays_redacted() {
    let script = "test -e token || { echo $MAINSTAY_TOKEN > token; echo it was $MAINSTAY_TOKEN; exit 3; }; exec sleep 1000";
    let folder = tempfile::tempdir().unwrap();
    let cwd = folder.path().display();
    let keys = format!(
        "url = 'auto'\ncommand = ['sh', '-c', '{script}', '{{port}}']\nready = 'stdout:up'\ncwd = '{cwd}'"
    );
    let (data, runtime, mut events) = start(&keys, "").await;
    events.wait_for(is_of_backend("actor_exited")).await;
    events.wait_for(is_of_backend("backend_starting")).await;
    let shown = backend(data.path()).await;
    assert_eq!((&shown["output"], &shown["output_is_old"]), (&json!(["it was [redacted]"]), &json!(true)));
    runtime.stop().await;
}

#[tokio::test]
async fn foreign_server_on_the_port_is_not_the_backend() {
    // The program never listens, and another server comes to its port after the start.
    let script = r#"echo $1 > port; exec sleep 1000"#;
    let folder = tempfile::tempdir().unwrap();
    let keys = format!(
        "url = 'auto'\ncommand = ['sh', '-c', '{script}', 'sh', '{{port}}']\ncwd = '{}'\nready = 'stdout:up'",
        folder.path().display()
    );
    let (data, runtime, mut events) = start(&keys, "").await;
    events.wait_for(is_of_backend("backend_starting")).await;
    let foreign = take_port(folder.path()).await;
    let asked = run(data.path(), &["request", "GET", "/", "--wait-timeout", "200ms", "--retries", "0"]).await;
    assert_eq!(asked.code, Some(1), "{asked:?}");
    assert_eq!(backend(data.path()).await["status"], "starting");
    runtime.stop().await;
    assert_nothing_was_sent(&foreign);
}

/// Listens on the port that a program was given, and has written to the file `port` in its folder.
async fn take_port(folder: &Path) -> std::net::TcpListener {
    let file = folder.join("port");
    let read = || std::fs::read_to_string(&file);
    eventually("the program has its port", async || read().is_ok_and(|port| port.ends_with('\n'))).await;
    let port: u16 = read().unwrap().trim().parse().unwrap();
    std::net::TcpListener::bind(("127.0.0.1", port)).unwrap()
}

/// Asserts that nothing was sent to a listener. Each connection waits there by now, and has ended.
fn assert_nothing_was_sent(listener: &std::net::TcpListener) {
    listener.set_nonblocking(true).unwrap();
    while let Ok((mut stream, _)) = listener.accept() {
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        let mut sent = String::new();
        stream.read_to_string(&mut sent).unwrap();
        assert_eq!(sent, "", "nothing was sent to it");
    }
}

/// Another program of this user, which is this test, takes the port while the backend is still loading. The backend tries
/// to listen until the port is free again.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn foreign_server_that_comes_first_is_not_the_backend() {
    let script = r#"echo $1 > port; while [ ! -e go ]; do sleep 0.05; done
                    until "$0" demo-backend --port "$1"; do sleep 0.05; done"#;
    for ready in ["listening", "none", "http:/api/agents/planner/health"] {
        let folder = tempfile::tempdir().unwrap();
        let keys = format!(
            "url = 'auto'\ncommand = ['sh', '-c', '''{script}''', '{}', '{{port}}']\ncwd = '{}'\n\
             ready = '{ready}'\nready_within = '1h'",
            mainstay_binary().display(),
            folder.path().display()
        );
        let (data, runtime, mut events) = start(&keys, "").await;
        let foreign = take_port(folder.path()).await;
        let port = foreign.local_addr().unwrap().port();
        std::fs::write(folder.path().join("go"), "").unwrap();
        let note = format!("port {port}, which was given to the backend, is taken by ");
        let own = format!("(process {})", std::process::id());
        let logs = async || run(data.path(), &["logs", "backend"]).await.stdout;
        eventually("the log names the program", async || {
            logs().await.lines().any(|line| line.contains(&note) && line.contains(&own))
        })
        .await;
        eventually("the backend cannot listen", async || logs().await.matches("in use").count() >= 2).await;
        let asked =
            run(data.path(), &["request", "GET", "/", "--wait-timeout", "200ms", "--retries", "0"]).await;
        assert_eq!(asked.code, Some(1), "{asked:?}");
        assert_eq!(backend(data.path()).await["status"], "starting", "{ready}");
        assert_nothing_was_sent(&foreign);
        drop(foreign);
        events.wait_for(is_of_backend("backend_started")).await;
        let answer = run_json(data.path(), &["request", "GET", "/api/search?q=x"]).await;
        assert_eq!(answer["status"], 200, "{ready}");
        assert_eq!(logs().await.matches(&note).count(), 1, "the log says it once");
        runtime.stop().await;
    }
}

/// A parent that only waits for the server, as of PyInstaller, and a server in a session of its own.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn descendant_of_the_program_that_listens_is_the_backend() {
    for detach in ["", "setsid "] {
        let script = format!(r#"{detach}"$0" demo-backend --port "$1" & wait"#);
        for ready in ["listening", "http:/api/agents/planner/health"] {
            let keys = format!(
                "url = 'auto'\ncommand = ['sh', '-c', '{script}', '{}', '{{port}}']\nready = '{ready}'",
                mainstay_binary().display()
            );
            let (data, runtime, mut events) = start(&keys, "").await;
            events.wait_for(is_of_backend("backend_started")).await;
            let answer = run_json(data.path(), &["request", "GET", "/api/search?q=x"]).await;
            assert_eq!(answer["status"], 200, "{detach}{ready}");
            runtime.stop().await;
        }
    }
}

// === for an embedder ===

fn parse(keys: &str) -> Config {
    let text = format!("[backend]\n{keys}\n[agents]\nrestart_delay = \"50ms\"\n");
    Config::from_toml(&text).unwrap()
}

#[tokio::test]
async fn ready_waits_for_backend_and_connection() {
    let mainstay = Mainstay::builder().config(parse(&assigned("none"))).start().await.unwrap();
    let backend = mainstay.backend().unwrap();
    assert_eq!(backend.report().unwrap().status, ActorStatus::Starting, "the start waits for nothing");
    let pending = mainstay.pending().await.unwrap();
    assert!(pending.contains("it is ready when it accepts connections"), "{pending}");
    timeout(TEST_TIMEOUT, mainstay.ready()).await.unwrap().unwrap();
    assert_eq!((backend.report().unwrap().status, mainstay.pending().await), (ActorStatus::Running, None));
    mainstay.shutdown().await;
}

#[tokio::test]
async fn pending_names_the_connection_of_a_backend_that_is_away() {
    let mainstay = Mainstay::builder().config(parse("url = 'http://127.0.0.1:9'")).start().await.unwrap();
    assert_eq!(mainstay.pending().await.unwrap(), "the connection to the backend");
    mainstay.shutdown().await;
}

#[tokio::test]
async fn ready_says_why_not() {
    let config = parse("command = ['mainstay-has-no-such-program']\nready = 'none'");
    let mainstay = Mainstay::builder().config(config).start().await.unwrap();
    let why = timeout(TEST_TIMEOUT, mainstay.ready()).await.unwrap().unwrap_err();
    assert_eq!(why.reason, Reason::Unavailable);
    assert!(why.log_text().contains("there is no program"), "{why:?}");
    mainstay.shutdown().await;
}

// === requests over which it ends ===

/// Starts a backend whose requests arrive at the test. Each is a connection to answer or to break.
async fn start_served() -> (tempfile::TempDir, Mainstay, mpsc::Receiver<TcpStream>, JoinSet<()>) {
    let folder = tempfile::tempdir().unwrap();
    let (arrived, arrivals) = mpsc::channel(1);
    let (port, tasks) = serve_connections(move |mut stream| {
        let arrived = arrived.clone();
        async move {
            if read_head(&mut stream).await.is_some() {
                arrived.send(stream).await.unwrap();
            }
        }
    })
    .await;
    let keys = format!(
        "url = 'http://127.0.0.1:{port}'\nready = 'stdout:up'\ncwd = '{}'\n\
         command = ['sh', '-c', 'echo $$ > pid; echo up; exec sleep 1000']\n\
         [connection]\nenabled = false\n[requests]\nretries = 3\n",
        folder.path().display()
    );
    let mainstay = Mainstay::builder().config(parse(&keys)).start().await.unwrap();
    timeout(TEST_TIMEOUT, mainstay.ready()).await.unwrap().unwrap();
    (folder, mainstay, arrivals, tasks)
}

#[tokio::test]
async fn request_that_ends_a_backend_back_at_once_is_quarantined() {
    let (folder, mainstay, mut arrivals, mut tasks) = start_served().await;
    let kill = async {
        let mut deliveries = 0;
        while let Some(connection) = arrivals.recv().await {
            deliveries += 1;
            let pid = std::fs::read_to_string(folder.path().join("pid")).unwrap();
            send_signal(pid.trim().parse().unwrap(), "KILL").await;
            drop(connection);
        }
        deliveries
    };
    let request = async {
        let answer = mainstay.request(Request::get("/kill").build().unwrap()).await;
        mainstay.shutdown().await;
        // No arrival follows.
        tasks.shutdown().await;
        answer
    };
    let (answer, deliveries) = timeout(TEST_TIMEOUT, async { tokio::join!(request, kill) }).await.unwrap();
    let error = answer.unwrap_err();
    assert_eq!((error.reason, error.attempts, deliveries), (Reason::Quarantined, 2, 2), "{error:?}");
}

#[tokio::test]
async fn wanted_restarts_during_a_request_do_not_quarantine_it() {
    let (_folder, mainstay, mut arrivals, _tasks) = start_served().await;
    let backend = mainstay.backend().unwrap();
    let restart = async {
        for _ in 0..2 {
            let connection = arrivals.recv().await.unwrap();
            let restarted = tokio::join!(backend.restart(), async { drop(connection) });
            restarted.0.unwrap();
        }
        let mut connection = arrivals.recv().await.unwrap();
        connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    };
    let request = mainstay.request(Request::get("/slow").build().unwrap());
    let (answer, ()) = timeout(TEST_TIMEOUT, async { tokio::join!(request, restart) }).await.unwrap();
    assert_eq!(answer.unwrap().attempts, 3);
    mainstay.shutdown().await;
}

//! Tests the backend that the runtime starts: its warming up, its commands, its address and its secret.

#![cfg(unix)]

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay::config::Config;
use mainstay::supervision::ActorStatus;
use mainstay::{Mainstay, Reason};
use serde_json::Value;
use support::{
    EventFollower, MainstayProcess, TEST_TIMEOUT, eventually, is_connection_state, mainstay_binary, run,
    run_json, send_signal, start_runtime,
};
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

fn start(backend: &str, more: &str) -> (tempfile::TempDir, MainstayProcess, EventFollower) {
    let data = tempfile::tempdir().unwrap();
    let config = config(data.path(), backend, more);
    let runtime = start_runtime(data.path(), &config);
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
    let (data, runtime, mut events) = start(&keys, "");
    let starting = events.wait_for(is_of_backend("backend_starting")).await;
    assert_eq!(starting["awaits"], "it prints \"listening\"");
    eventually("its last line is shown", async || {
        backend(data.path()).await["last_line"] == "loading the model"
    })
    .await;
    let status = run_json(data.path(), &["status"]).await;
    let shown = &status["backend"];
    assert_eq!((&shown["status"], &shown["pid"]), (&"starting".into(), &starting["pid"]));
    assert_eq!(shown["awaits"], "it prints \"listening\"");
    assert!(shown["next_step"].as_str().unwrap().contains("within 1h"), "{shown}");
    let tree = run_json(data.path(), &["tree"]).await;
    let node = tree["children"].as_array().unwrap().iter().find(|node| node["path"] == "root/backend");
    assert_eq!(node.unwrap()["status"], "starting");
    let text = run(data.path(), &["status"]).await.stdout;
    assert!(text.contains("backend     starting") && text.contains("last line: loading the model"), "{text}");
    let is_ready = |event: &Value| event["actor"] == "root/backend" && event["kind"] == "actor_ready";
    assert!(!events.events.iter().any(is_ready), "no event says that it is ready");
    runtime.stop().await;
}

#[tokio::test]
async fn backend_that_is_not_ready_in_time_is_started_again() {
    let keys = "command = ['sleep', '1000']\nready = 'stdout:up'\nready_within = '1s'";
    let (_data, runtime, mut events) = start(keys, "max_restarts = 1");
    let exit = events.wait_for(is_of_backend("actor_exited")).await;
    assert_eq!(exit["cause"], "start_failed");
    assert!(exit["message"].as_str().unwrap().contains("it was not ready within 1s"), "{exit}");
    events.wait_for(is_of_backend("gave_up")).await;
    runtime.stop().await;
}

#[tokio::test]
async fn commands_stop_start_and_restart_the_backend() {
    let keys = "command = ['sh', '-c', 'echo up; exec sleep 1000']\nready = 'stdout:up'";
    let (data, runtime, mut events) = start(keys, "");
    let first = events.wait_for(is_of_backend("backend_started")).await;
    let order = async |verb: &str| {
        let done = run(data.path(), &["backend", verb]).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        done.stdout
    };
    assert!(order("stop").await.contains("stopped; `mainstay backend start` starts it"));
    let stopped = backend(data.path()).await;
    assert_eq!((&stopped["status"], &stopped["pid"]), (&"stopped".into(), &Value::Null));
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
async fn given_up_backend_names_the_command_that_helps() {
    let keys =
        "command = ['sh', '-c', 'test -e go || exit 3; echo up; exec sleep 1000']\nready = 'stdout:up'";
    let data = tempfile::tempdir().unwrap();
    let keys = format!("{keys}\ncwd = '{}'", data.path().display());
    let config = config(data.path(), &keys, "max_restarts = 1");
    let runtime = start_runtime(data.path(), &config);
    let mut events = EventFollower::follow(data.path());
    events.wait_for(is_of_backend("gave_up")).await;
    let shown = backend(data.path()).await;
    assert_eq!((&shown["status"], &shown["gave_up"]), (&"failed".into(), &true.into()));
    assert!(shown["next_step"].as_str().unwrap().contains("`mainstay backend reset`"), "{shown}");
    assert!(run(data.path(), &["status"]).await.stdout.contains("`mainstay backend reset`"));
    std::fs::write(data.path().join("go"), "").unwrap();
    assert_eq!(run(data.path(), &["backend", "reset"]).await.code, Some(0));
    events.wait_for(is_of_backend("backend_started")).await;
    runtime.stop().await;
}

#[tokio::test]
async fn program_that_is_not_there_is_given_up_at_once() {
    let (data, runtime, mut events) = start("command = ['mainstay-has-no-such-program']", "");
    let gave_up = events.wait_for(is_of_backend("gave_up")).await;
    assert_eq!((&gave_up["restarts"], &gave_up["permanent"]), (&0.into(), &true.into()));
    let decisions = events.events.iter().filter(|event| event["kind"] == "decision").count();
    assert_eq!(decisions, 1);
    let shown = backend(data.path()).await;
    assert!(shown["next_step"].as_str().unwrap().contains("`mainstay backend start` tries again"), "{shown}");
    assert_eq!(shown["budget_left"], 0, "{shown}");
    let replayed = run(data.path(), &["replay"]).await;
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    runtime.stop().await;
}

#[tokio::test]
async fn backend_that_is_not_owned_has_no_commands() {
    let (data, runtime, mut events) = start("url = 'http://127.0.0.1:1'", "");
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
    let (data, runtime, mut events) = start(&assigned("stdout:listening on {url}"), more);
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
        format!("url = 'http://127.0.0.1:9'\ncommand = ['only-the-shell-knows-it']\nlogin_env = {login_env}")
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
    let runtime = start_runtime(data.path(), &config);
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
async fn foreign_server_on_the_port_is_not_the_backend() {
    // The program never listens, and another server comes to its port after the start.
    let script = r#"echo $1 > port; exec sleep 1000"#;
    let folder = tempfile::tempdir().unwrap();
    let keys = format!(
        "url = 'auto'\ncommand = ['sh', '-c', '{script}', 'sh', '{{port}}']\ncwd = '{}'\nready = 'stdout:up'",
        folder.path().display()
    );
    let (data, runtime, mut events) = start(&keys, "");
    events.wait_for(is_of_backend("backend_starting")).await;
    let port = folder.path().join("port");
    eventually("the program has its port", async || {
        std::fs::read_to_string(&port).is_ok_and(|port| port.ends_with('\n'))
    })
    .await;
    let port: u16 = std::fs::read_to_string(&port).unwrap().trim().parse().unwrap();
    let foreign = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let asked = run(data.path(), &["request", "GET", "/", "--wait", "200ms", "--retries", "0"]).await;
    assert_eq!(asked.code, Some(1), "{asked:?}");
    let accepted = timeout(Duration::from_millis(1), foreign.accept()).await;
    assert!(accepted.is_err(), "nothing was sent to it");
    assert_eq!(backend(data.path()).await["status"], "starting");
    runtime.stop().await;
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
    let config = parse("command = ['mainstay-has-no-such-program']");
    let mainstay = Mainstay::builder().config(config).start().await.unwrap();
    let why = timeout(TEST_TIMEOUT, mainstay.ready()).await.unwrap().unwrap_err();
    assert_eq!(why.reason, Reason::Unavailable);
    assert!(why.log_text().contains("there is no program"), "{why:?}");
    mainstay.shutdown().await;
}

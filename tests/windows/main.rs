//! Tests the real binary on Windows: its children, its files, its console.
//!
//! `tests/windows/run` builds this and runs it, on Linux under Wine. The program that is run as agent and as sidecar is
//! this test itself, in [`agent_program`].

#![cfg(windows)]

mod files;
#[path = "../support.rs"]
mod support;

use std::fs;
use std::io::{BufRead, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::{EventFollower, MainstayProcess, eventually, is_agent_health, run, run_json, start_runtime};

/// The variable that makes this test an agent, with the folder in which it writes.
const NOTES: &str = "MAINSTAY_TEST_NOTES";

/// Has a space and letters beyond ASCII, as folders of users have.
const FOLDER: &str = "Daten von Jürgen 日本";

/// A folder in [`FOLDER`], for tests that watch one.
const WATCHED: &str = "Entwürfe ファイル";

/// A line with letters beyond ASCII, which the agent writes.
const GREETING: &str = "Grüße aus 日本";

// === the program that is an agent ===

/// Speaks lines of JSON, and does to itself what a message says.
#[test]
#[ignore = "the tests below start it as an agent"]
fn agent_program() {
    let Some(notes) = std::env::var_os(NOTES).map(PathBuf::from) else { return };
    // The harness has begun a line.
    println!("\nready");
    let mut count = 0;
    for line in std::io::stdin().lock().lines() {
        let message: Value = serde_json::from_str(&line.unwrap()).unwrap();
        match message["type"].as_str() {
            Some("restore") => count = message["state"].as_u64().unwrap_or(0),
            Some("message") => {
                count += 1;
                println!("{}", json!({ "type": "state", "state": count }));
                let body = act(message["body"].as_str().unwrap(), &notes, count);
                println!("{}", json!({ "type": "reply", "id": message["id"], "body": body }));
            }
            _ => {}
        }
    }
    fs::write(notes.join("stdin-ended"), "").unwrap();
}

fn act(order: &str, notes: &Path, count: u64) -> Value {
    match order {
        "exit" => std::process::exit(3),
        "crash" => std::process::abort(),
        "hang" => loop {
            std::thread::park();
        },
        "flood" => {
            let mut stderr = std::io::stderr().lock();
            for number in 0..20_000 {
                writeln!(stderr, "line {number} {}", "x".repeat(80)).unwrap();
            }
            json!("flooded")
        }
        "greet" => {
            eprintln!("{GREETING}");
            json!("greeted")
        }
        // A child that listens as long as it lives, which tells a test whether it does.
        "child" => {
            let port_file = notes.join("port");
            let _ = fs::remove_file(&port_file);
            let mut child = Command::new(std::env::current_exe().unwrap());
            child.args(["--exact", "grandchild_program", "--ignored"]).env(NOTES, notes);
            child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            loop {
                match fs::read_to_string(&port_file).ok().and_then(|port| port.parse::<u16>().ok()) {
                    Some(port) => break json!(port),
                    None => std::thread::yield_now(),
                }
            }
        }
        _ => json!(count),
    }
}

#[test]
#[ignore = "the agent starts it as its child"]
fn grandchild_program() {
    let Some(notes) = std::env::var_os(NOTES).map(PathBuf::from) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    fs::write(notes.join("port"), listener.local_addr().unwrap().port().to_string()).unwrap();
    loop {
        drop(listener.accept());
    }
}

fn is_listening(port: u64) -> bool {
    TcpStream::connect(("127.0.0.1", u16::try_from(port).unwrap())).is_ok()
}

// === the runtime over it ===

struct Fixture {
    data: tempfile::TempDir,
    runtime: MainstayProcess,
    events: EventFollower,
}

impl Fixture {
    /// Starts the runtime with one agent, in folders with a space and letters beyond ASCII. `more` is appended to the
    /// agent's configuration, with the path of [`WATCHED`] for the word `WATCHED`.
    async fn start(more: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join(FOLDER);
        let watched = folder.join(WATCHED);
        fs::create_dir_all(&watched).unwrap();
        let program = folder.join("der Agent.exe");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let arguments = "'--exact', 'agent_program', '--ignored', '--nocapture', '--test-threads=1'";
        let config = folder.join("mainstay.toml");
        let text = format!(
            "[connection]\nenabled = false\n\
             [agents]\nmin_uptime = \"100ms\"\nrestart_delay = \"50ms\"\nrestart_delay_max = \"50ms\"\nhealth_interval = \"100ms\"\n\
             [[agent]]\nid = \"planner\"\ndriver = \"process\"\nready = \"stdout:ready\"\n\
             command = ['{}', {arguments}]\ncwd = '{}'\nenv = {{ {NOTES} = '{}' }}\n{}",
            program.display(),
            folder.display(),
            folder.display(),
            more.replace("WATCHED", watched.to_str().unwrap()),
        );
        fs::write(&config, text).unwrap();
        let runtime = start_runtime(&folder, &config);
        let mut events = EventFollower::follow(&folder);
        events.wait_since(0, is_agent_health("planner", "healthy")).await;
        Self { data, runtime, events }
    }

    fn folder(&self) -> PathBuf {
        self.data.path().join(FOLDER)
    }

    /// Kills the runtime, and starts the next one on its folder.
    async fn with_next_runtime(self) -> Self {
        let folder = self.folder();
        self.runtime.kill().await;
        let runtime = start_runtime(&folder, &folder.join("mainstay.toml"));
        Self { runtime, ..self }
    }

    async fn send(&self, body: &str) -> (Option<i32>, String) {
        let args = ["agent", "send", "planner", &json!(body).to_string(), "--json"];
        let ended = run(&self.folder(), &args).await;
        (ended.code, ended.stdout + &ended.stderr)
    }

    async fn reply(&self, body: &str) -> Value {
        let (code, output) = self.send(body).await;
        assert_eq!(code, Some(0), "{body}: {output}");
        let value: Value = serde_json::from_str(&output).unwrap();
        value["answer"].clone()
    }
}

#[tokio::test]
async fn agent_that_exits_or_crashes_is_restarted_with_its_state() {
    let mut fixture = Fixture::start("").await;
    assert_eq!(fixture.reply("count").await, 1);
    for order in ["exit", "crash"] {
        let (code, output) = fixture.send(order).await;
        assert_ne!(code, Some(0), "{output}");
        fixture.events.wait_for_agent("planner", "healthy").await;
    }
    assert_eq!(fixture.reply("count").await, 4, "two messages before the crashes, the state was saved");
}

#[tokio::test]
async fn hanging_agent_is_restarted() {
    let mut fixture = Fixture::start("progress_timeout = \"1s\"\n").await;
    let (code, output) = fixture.send("hang").await;
    assert_ne!(code, Some(0), "{output}");
    fixture.events.wait_for_agent("planner", "healthy").await;
    assert_eq!(fixture.reply("count").await, 2);
}

#[tokio::test]
async fn flood_blocks_neither_agent_nor_runtime() {
    let fixture = Fixture::start("").await;
    assert_eq!(fixture.reply("flood").await, "flooded");
    assert_eq!(fixture.reply("count").await, 2);
}

#[tokio::test]
async fn descendants_end_with_a_stop_and_with_a_killed_runtime() {
    let fixture = Fixture::start("").await;
    let port = fixture.reply("child").await.as_u64().unwrap();
    assert!(is_listening(port));
    let folder = fixture.folder();
    assert_eq!(run(&folder, &["agent", "stop", "planner"]).await.code, Some(0));
    assert!(folder.join("stdin-ended").exists(), "it was asked to end by the end of its input");
    eventually("its child has ended", async || !is_listening(port)).await;
    assert_eq!(run(&folder, &["agent", "start", "planner"]).await.code, Some(0));
    let port = fixture.reply("child").await.as_u64().unwrap();
    assert!(is_listening(port));
    fixture.runtime.kill().await;
    eventually("its child has ended with the runtime", async || !is_listening(port)).await;
}

#[tokio::test]
async fn second_runtime_on_a_data_folder_is_refused() {
    let fixture = Fixture::start("").await;
    let folder = fixture.folder();
    let config = folder.join("mainstay.toml");
    let args = ["run", "--config", config.to_str().unwrap()];
    let second = run(&folder, &args).await;
    assert_ne!(second.code, Some(0), "{second:?}");
    assert!(second.stderr.contains("in use"), "{second:?}");
    assert_eq!(fixture.reply("count").await, 1);
    eventually("its state is saved", async || {
        run_json(&folder, &["agent", "show", "planner"]).await["state_saved_at"].is_string()
    })
    .await;
    let mut fixture = fixture.with_next_runtime().await;
    fixture.events.wait_for_event("journal", "run_interrupted").await;
    fixture.events.wait_for_agent("planner", "healthy").await;
    let value = run_json(&folder, &["agent", "send", "planner", "\"count\""]).await;
    assert_eq!(value["answer"], 2, "the state was in the store");
}

#[tokio::test]
async fn owned_backend_gets_a_port_and_comes_back() {
    let data = tempfile::tempdir().unwrap();
    let config = data.path().join("mainstay.toml");
    let text = "[backend]\nurl = \"auto\"\nready = \"stdout:listening on {url}\"\n\
                command = ['sidecar:mainstay', 'demo-backend', '--port', '{port}']\n\
                [agents]\nrestart_delay = \"50ms\"\nrestart_delay_max = \"50ms\"\n";
    fs::write(&config, text).unwrap();
    let _runtime = MainstayProcess::start(data.path(), &["run", "--config", config.to_str().unwrap()]);
    let mut events = EventFollower::follow(data.path());
    let first = events.wait_for_event("root/backend", "backend_started").await;
    let get = async || run(data.path(), &["request", "GET", "/api/agents/planner/health"]).await.code;
    assert_eq!(get().await, Some(0));
    assert_eq!(run(data.path(), &["backend", "restart"]).await.code, Some(0));
    let second = events.wait_for_event("root/backend", "backend_started").await;
    assert_ne!(first["pid"], second["pid"]);
    assert_eq!(get().await, Some(0));
    let killed = Command::new("taskkill").args(["/F", "/PID", &second["pid"].to_string()]).status();
    assert!(killed.unwrap().success());
    let third = events.wait_for_event("root/backend", "backend_started").await;
    assert_ne!(second["pid"], third["pid"]);
    assert_eq!(get().await, Some(0));
}

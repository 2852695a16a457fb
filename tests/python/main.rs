//! Tests a FastAPI backend that the real binary owns, with the faults that such backends have.
//!
//! `tests/foreign/run` installs Python's packages and runs this.

#![cfg(unix)]

#[path = "../support.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{EventFollower, MainstayProcess, eventually, run, run_json, send_signal};

/// A runtime with the backend in Python.
struct PythonBackend {
    data: tempfile::TempDir,
    /// The folder in which the backend and the test leave each other files.
    notes: tempfile::TempDir,
    runtime: MainstayProcess,
    events: EventFollower,
}

impl PythonBackend {
    /// Starts the runtime, whose backend takes these arguments.
    fn start(args: &[&str], more: &str) -> Self {
        let (data, notes) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let python =
            std::env::var("MAINSTAY_FOREIGN_PYTHON").expect("tests/foreign/run installs Python's packages");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/backend.py");
        let (script, folder) = (script.to_str().unwrap(), notes.path().to_str().unwrap());
        let command = [&[&*python, script, "--port", "{port}", "--notes", folder], args].concat();
        let config = data.path().join("mainstay.toml");
        let text = format!(
            "[backend]\nurl = \"auto\"\ncommand = {command:?}\nready = \"http:/health\"\n\
             [connection]\nenabled = false\n\
             [agents]\nrestart_delay = \"50ms\"\nrestart_delay_max = \"50ms\"\n{more}"
        );
        fs::write(&config, text).unwrap();
        let config = config.to_str().unwrap();
        let runtime = MainstayProcess::start_traced(data.path(), &["run", "--config", config]);
        let events = EventFollower::follow(data.path());
        Self { data, notes, runtime, events }
    }

    async fn ready(&mut self) -> Value {
        self.events.wait_for_event("root/backend", "backend_started").await
    }

    async fn show(&self) -> Value {
        run_json(self.data.path(), &["backend", "show"]).await
    }

    /// Sends a request through the runtime, and returns the exit code and what was printed.
    async fn request(&self, method: &str, path: &str, more: &[&str]) -> (Option<i32>, String) {
        let ended = run(self.data.path(), &[&["request", method, path], more].concat()).await;
        (ended.code, ended.stdout + &ended.stderr)
    }

    /// Returns the lines of its log.
    async fn log(&self) -> Vec<String> {
        let ended = run(self.data.path(), &["logs", "backend", "-n", "1000"]).await;
        ended.stdout.lines().map(str::to_owned).collect()
    }

    fn note(&self, name: &str) -> PathBuf {
        self.notes.path().join(name)
    }

    fn lines_of(&self, name: &str) -> Vec<String> {
        fs::read_to_string(self.note(name)).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// Asserts that no file of the data folder has a secret that a start was given.
    fn assert_no_secret_is_kept(&self) {
        let tokens = self.lines_of("tokens");
        assert!(!tokens.is_empty());
        let mut folders = vec![self.data.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                    continue;
                }
                let text = fs::read(entry.path()).unwrap();
                for token in &tokens {
                    let is_there = text.windows(token.len()).any(|part| part == token.as_bytes());
                    assert!(!is_there, "{} has a secret", entry.path().display());
                }
            }
        }
    }

    /// Stops the runtime, and returns the backend's exit. No process is left when this returns.
    async fn stop(mut self) -> Value {
        let mark = self.events.mark();
        self.runtime.signal("INT").await;
        let exit = self
            .events
            .wait_since(mark, |event| event["actor"] == "root/backend" && event["kind"] == "actor_exited");
        let exit = exit.await;
        self.events.wait_for_event("root", "runtime_stopped").await;
        let (status, output) = self.runtime.wait().await;
        assert_eq!(status.code(), Some(0), "{output}");
        exit
    }
}

#[tokio::test]
async fn slow_start_shows_progress_and_keeps_requests() {
    let mut backend = PythonBackend::start(&["--loads", "2"], "");
    backend.events.wait_for_event("root/backend", "backend_starting").await;
    for model in ["model 1", "model 2"] {
        let line = format!("loading {model} of 2");
        eventually("its progress is shown", async || backend.show().await["last_line"] == line.as_str())
            .await;
        assert_eq!(backend.show().await["status"], "starting");
        if model == "model 2" {
            let request = backend.request("GET", "/pid", &[]);
            let (answer, ready) = tokio::join!(request, async {
                backend_holds(&backend).await;
                fs::write(backend.note("model-2"), "").unwrap();
            });
            let () = ready;
            assert_eq!(answer.0, Some(0), "{answer:?}");
        } else {
            fs::write(backend.note("model-1"), "").unwrap();
        }
    }
    backend.ready().await;
    assert_eq!(backend.show().await["status"], "running");
    backend.assert_no_secret_is_kept();
    assert_eq!(backend.stop().await["cause"], "normal");
}

/// Waits until a request waits for the backend.
async fn backend_holds(backend: &PythonBackend) {
    let is_held = async || run_json(backend.data.path(), &["status"]).await["queue"]["waiting"] == 1;
    eventually("the request waits", is_held).await;
}

#[tokio::test]
async fn crash_at_import_is_given_up_with_its_traceback() {
    let mut backend = PythonBackend::start(&["--broken-import"], "max_restarts = 1\n");
    let exit = backend.events.wait_for_event("root/backend", "actor_exited").await;
    assert_eq!(exit["cause"], "start_failed");
    let error = "ModuleNotFoundError: No module named 'torch' (key [redacted])";
    assert!(exit.to_string().contains(error), "{exit}");
    // Its head and its end are kept with the crash, and all of it in the log.
    let process = backend.events.wait_for_event("root/backend", "process_exited").await;
    let output: Vec<&str> =
        process["output"].as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
    assert_eq!((output.len(), output[0], output[19]), (20, "Traceback (most recent call last):", error));
    assert_eq!(backend.show().await["output"], process["output"]);
    let log = backend.log().await;
    let head = log.iter().position(|line| line.ends_with("err  Traceback (most recent call last):")).unwrap();
    let length = log[head..].iter().position(|line| line.ends_with(error)).unwrap();
    assert!(length > 60, "{log:?}");
    let gave_up = backend.events.wait_for_event("root/backend", "gave_up").await;
    let shown = backend.show().await;
    assert_eq!((&shown["status"], &shown["gave_up"]), (&"failed".into(), &true.into()), "{gave_up}");
    // A request does not wait for a backend that was given up.
    let (code, output) = backend.request("GET", "/pid", &["--wait-timeout", "1h"]).await;
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("until 'mainstay backend reset' gives them back"), "{output}");
    assert_eq!(backend.lines_of("tokens").len(), 2);
    backend.assert_no_secret_is_kept();
    backend.runtime.stop().await;
}

#[tokio::test]
async fn crash_within_a_request_repeats_only_what_is_safe() {
    let mut backend = PythonBackend::start(&[], "");
    backend.ready().await;
    let (code, output) = backend.request("POST", "/die-once", &["--body", "{}"]).await;
    assert_ne!(code, Some(0), "{output}");
    assert!(output.contains("outcome_unknown"), "{output}");
    backend.ready().await;
    let (code, output) = backend.request("GET", "/die-once", &[]).await;
    assert_eq!(code, Some(0), "{output}");
    backend.ready().await;
    assert_eq!(backend.lines_of("died-POST").len(), 1);
    assert_eq!(backend.lines_of("died-GET").len(), 1);
    let pids = backend.lines_of("pids");
    assert_eq!(pids.len(), 3);
    assert!(output.contains(&pids[2]), "{output} {pids:?}");
    assert_eq!(backend.stop().await["cause"], "normal");
}

#[tokio::test]
async fn blocked_event_loop_ends_the_request_and_a_restart_helps() {
    let mut backend = PythonBackend::start(&[], "[requests]\nretries = 0\n");
    backend.ready().await;
    let (code, output) = backend.request("GET", "/hang", &["--timeout", "500ms"]).await;
    assert_ne!(code, Some(0), "{output}");
    assert!(output.contains("timed_out"), "{output}");
    assert_eq!(backend.lines_of("hanging").len(), 1);
    assert_eq!(run(backend.data.path(), &["backend", "restart"]).await.code, Some(0));
    backend.ready().await;
    let (code, output) = backend.request("GET", "/pid", &[]).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains(&backend.lines_of("pids")[1]), "{output}");
    backend.stop().await;
}

#[tokio::test]
async fn flood_blocks_neither_backend_nor_runtime() {
    let mut backend = PythonBackend::start(&[], "");
    backend.ready().await;
    let (code, output) = backend.request("GET", "/flood?lines=200000", &["--timeout", "60s"]).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("200000"), "{output}");
    let noisy = backend.events.wait_for_event("root/backend", "output_noisy").await;
    assert_eq!(noisy["lines_per_second"], 1000);
    assert_eq!(backend.show().await["status"], "running");
    assert_eq!(backend.stop().await["cause"], "normal");
}

#[tokio::test]
async fn traceback_of_a_request_keeps_no_secret() {
    let mut backend = PythonBackend::start(&[], "[requests]\nretries = 0\n");
    backend.ready().await;
    let (code, output) = backend.request("GET", "/raise", &[]).await;
    assert_ne!(code, Some(0), "{output}");
    // The whole query of an address counts as secret.
    let error = "RuntimeError: no answer from https://model.example/?[redacted]";
    eventually("the log has the traceback", async || {
        backend.log().await.iter().any(|line| line.ends_with(error))
    })
    .await;
    assert!(backend.log().await.iter().any(|line| line.ends_with("err  Traceback (most recent call last):")));
    backend.assert_no_secret_is_kept();
    backend.stop().await;
}

#[tokio::test]
async fn killed_backend_that_ignores_term_is_recorded_so() {
    let mut backend = PythonBackend::start(&["--ignore-term"], "");
    backend.ready().await;
    let exit = backend.stop().await;
    assert_eq!(exit["cause"], "killed", "{exit}");
}

#[tokio::test]
async fn worker_behind_a_bootloader_ends_with_stop_crash_and_kill() {
    let mut backend = PythonBackend::start(&["--bootloader"], "");
    backend.ready().await;
    let pids = |backend: &PythonBackend| backend.lines_of("pids");
    assert_eq!(pids(&backend).len(), 2, "a bootloader and a worker");
    assert_eq!(run(backend.data.path(), &["backend", "stop"]).await.code, Some(0));
    for pid in pids(&backend) {
        assert!(!is_alive(&pid), "{pid}");
    }
    assert_eq!(run(backend.data.path(), &["backend", "start"]).await.code, Some(0));
    backend.ready().await;
    // The bootloader alone is killed: the next start comes after its worker has ended.
    send_signal(pids(&backend)[2].parse().unwrap(), "KILL").await;
    backend.ready().await;
    assert!(!is_alive(&pids(&backend)[3]));
    let (code, output) = backend.request("GET", "/pid", &[]).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains(&pids(&backend)[5]), "{output}");
    // The end of its output is the end of all its descendants.
    backend.runtime.signal("KILL").await;
    backend.runtime.wait().await;
}

fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

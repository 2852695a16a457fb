//! Tests the logs of the backend and of agents with real processes: files, limits, readers, crashes.

#![cfg(unix)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
#[cfg(target_os = "linux")]
use tokio::time::Instant;

use mainstay::bridge::serve;
use mainstay::config::Config;
use mainstay::{LogItem, LogRange, LogStream, Mainstay, Reason};
use serde_json::{Value, json};
use support::{
    EventFollower, MainstayProcess, TEST_TIMEOUT, eventually, is_agent_health, metrics, run, run_json,
    start_runtime,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Returns a configuration whose backend and agents run these scripts. No restart follows by itself.
fn config_text(backend: &str, agents: &[(&str, &str)], more: &str) -> String {
    let command = |script: &str| format!("command = ['sh', '-c', '''{script}''']\n");
    let mut text = String::from(
        "[connection]\nenabled = false\n[agents]\nmin_uptime = \"0s\"\nrestart_delay = \"1h\"\nrestart_delay_max = \"1h\"\n",
    );
    if !backend.is_empty() {
        text += &format!("[backend]\nurl = 'http://127.0.0.1:1'\nready = 'none'\n{}", command(backend));
    }
    for (id, script) in agents {
        text += &format!("[[agent]]\nid = '{id}'\ndriver = 'process'\n{}", command(script));
        text += "env = { API_TOKEN = 's3cret-t0ken-of-mine' }\n";
    }
    text + more
}

struct LoggedRuntime {
    data: tempfile::TempDir,
    runtime: MainstayProcess,
    events: EventFollower,
}

impl LoggedRuntime {
    fn start(backend: &str, agents: &[(&str, &str)], more: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), &config_text(backend, agents, more))
    }

    fn start_in(data: tempfile::TempDir, config: &str) -> Self {
        let file = data.path().join("mainstay.toml");
        fs::write(&file, config).unwrap();
        let runtime = start_runtime(data.path(), &file);
        let events = EventFollower::follow(data.path());
        Self { data, runtime, events }
    }

    fn path(&self) -> &Path {
        self.data.path()
    }

    async fn exit_of(&mut self, actor: &str) -> Value {
        self.events.wait_since(0, |event| event["actor"] == actor && event["kind"] == "process_exited").await
    }

    /// Waits until the log of the backend has a line with this end among its last ones.
    async fn backend_line(&self, end: &str) {
        let is_there = async || {
            let shown = run(self.path(), &["logs", "backend"]).await.stdout;
            shown.lines().any(|line| line.ends_with(end))
        };
        eventually(end, is_there).await;
    }
}

/// Returns the lines of a log's newest file, without their times.
fn log(data: &Path, id: &str) -> Vec<String> {
    let text = fs::read_to_string(data.join(format!("logs/{id}.log"))).unwrap_or_default();
    text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

/// Returns the sizes of the files of a log.
fn file_sizes(data: &Path) -> Vec<u64> {
    fs::read_dir(data.join("logs")).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).collect()
}

/// Returns what `mainstay logs` prints, without the dates above the lines of each day.
async fn cli_log(data: &Path, args: &[&str]) -> Vec<String> {
    let done = run(data, &[&["logs"], args, &["--utc"]].concat()).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    done.stdout.lines().filter(|line| !line.ends_with(", UTC")).map(str::to_owned).collect()
}

// === files and readers ===

#[tokio::test]
async fn output_is_logged_without_protocol_and_secrets() {
    let agent = r#"echo loading $API_TOKEN; echo '{"type":"state","state":7}'; echo "to stderr $API_TOKEN" >&2; printf '\033[31mred\033[0m \033[2Jend\n'; exec sleep 1000"#;
    let backend = "echo one; echo two >&2; echo three; exec sleep 1000";
    let mut fixture = LoggedRuntime::start(backend, &[("planner", agent)], "");
    fixture.events.wait_since(0, is_agent_health("planner", "healthy")).await;
    let data = fixture.path();
    for id in ["planner", "backend"] {
        let lines = async || run(data, &["logs", id]).await.stdout.lines().count();
        eventually("all lines are in the log", async || lines().await >= 4).await;
    }
    let mut lines = log(data, "planner");
    let started = lines.remove(0);
    assert!(started.starts_with("note process ") && started.ends_with(" has started"), "{started}");
    lines.sort();
    let expected = ["err to stderr [redacted]", "out loading [redacted]", "out red \\u{1b}[2Jend"];
    assert_eq!(lines, expected, "the state is protocol");
    let time = fs::read_to_string(data.join("logs/planner.log")).unwrap();
    let time = time.split(' ').next().unwrap();
    assert!(time.ends_with('Z') && time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    let all = fs::read_to_string(data.join("logs/planner.log")).unwrap();
    assert!(!all.contains("s3cret"), "{all}");
    fixture.runtime.stop().await;
    // The files are read without a runtime as well.
    let data = fixture.data.path();
    let backend = cli_log(data, &["backend"]).await;
    assert!(backend.iter().any(|line| line.ends_with(" err  two")), "{backend:?}");
    assert!(backend.last().unwrap().contains(" has ended"), "{backend:?}");
    assert_eq!(run(data, &["backend", "logs"]).await.stdout, run(data, &["logs", "backend"]).await.stdout);
    assert_eq!(cli_log(data, &["backend", "-n", "1"]).await, backend[backend.len() - 1..]);
    assert_eq!(cli_log(data, &["backend", "--since", "1h"]).await, backend);
    assert!(cli_log(data, &["backend", "--since", "0s"]).await.is_empty());
    let json = cli_log(data, &["planner", "-n", "100", "--json"]).await;
    let json: Vec<Value> = json.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        json.iter().any(|line| line["stream"] == "out" && line["text"] == "loading [redacted]"),
        "{json:?}"
    );
    let unknown = run(data, &["logs", "planer"]).await;
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains(r#"there is no log "planer"; did you mean "planner"?"#), "{unknown:?}");
}

#[tokio::test]
async fn line_that_was_seen_survives_a_kill_and_is_followed() {
    let backend = "n=0; while [ $n -lt 300 ]; do n=$((n+1)); echo line $n; done; echo last; exec sleep 1000";
    let fixture = LoggedRuntime::start(backend, &[], "");
    fixture.backend_line("").await;
    let mut follower = MainstayProcess::start(fixture.path(), &["logs", "backend", "-f", "-n", "5"]);
    follower.line_containing("out  last").await;
    fixture.runtime.kill().await;
    let lines = log(fixture.data.path(), "backend");
    let printed: Vec<_> = lines.iter().filter(|line| line.starts_with("out line ")).collect();
    let expected: Vec<String> = (1..=300).map(|n| format!("out line {n}")).collect();
    assert_eq!(printed, expected.iter().collect::<Vec<_>>());
    assert_eq!(lines.last().unwrap(), "out last");
    // The next runtime goes on in the same file, and so does the follower.
    let again = LoggedRuntime::start_in(fixture.data, &config_text("echo again; exec sleep 1000", &[], ""));
    let started = follower.line_containing(" note process ").await;
    assert!(started.ends_with(" has started"), "{started}");
    assert!(follower.line().await.contains(" out  again"));
    again.runtime.stop().await;
}

#[tokio::test]
async fn files_are_bounded_and_follower_reads_to_the_end() {
    let data = tempfile::tempdir().unwrap();
    let backend = format!(
        "until [ -e {}/go ]; do :; done; seq 1 20000; echo end; exec sleep 1000",
        data.path().display()
    );
    let limits =
        "[logs]\nfile_bytes = '64KiB'\nfiles = 4\nlines_per_second = 100000\nbytes_per_second = '64MiB'\n";
    let fixture = LoggedRuntime::start_in(data, &config_text(&backend, &[], limits));
    fixture.backend_line(" has started").await;
    let mut follower = MainstayProcess::start(fixture.path(), &["logs", "backend", "-f", "-n", "1"]);
    follower.line_containing(" has started").await;
    fs::write(fixture.path().join("go"), "").unwrap();
    let mut numbers = Vec::new();
    loop {
        let line = follower.line().await;
        match line.rsplit(' ').next().unwrap() {
            "end" => break,
            number => numbers.push(number.parse::<u32>().unwrap()),
        }
    }
    // One that is slower than three files of 2,000 lines misses those that are deleted meanwhile.
    assert!(numbers.is_sorted() && numbers.first() == Some(&1) && numbers.last() == Some(&20_000));
    let sizes = file_sizes(fixture.path());
    assert!(sizes.len() == 4 && sizes.iter().all(|size| *size <= 64 * 1024), "{sizes:?}");
    fixture.runtime.stop().await;
}

// === floods ===

/// Returns the time that a process has spent on the processor, in hundredths of a second.
#[cfg(target_os = "linux")]
fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[tokio::test]
async fn flood_is_bounded_noted_and_shown_as_noisy() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().display().to_string();
    let flood = format!(
        "until [ -e {folder}/stop ]; do yes flood | head -n 200000; done; echo last words >&2; exit 3"
    );
    let mut fixture = LoggedRuntime::start_in(data, &config_text(&flood, &[], ""));
    let noisy = fixture.events.wait_for_event("root/backend", "output_noisy").await;
    assert_eq!(noisy["lines_per_second"], 1000);
    #[cfg(target_os = "linux")]
    let before = (cpu_ticks(fixture.runtime.pid()), Instant::now());
    for _ in 0..5 {
        let status = run_json(fixture.path(), &["status"]).await;
        assert_eq!(status["backend"]["noisy"], true);
        assert_eq!(status["backend"].get("output"), None);
    }
    assert!(run(fixture.path(), &["status"]).await.stdout.contains("backend     running, noisy since"));
    #[cfg(target_os = "linux")]
    {
        let (ticks, began) = before;
        let share = (cpu_ticks(fixture.runtime.pid()) - ticks) as f64 / 100.0 / began.elapsed().as_secs_f64();
        // Reading as fast as the program prints takes a whole processor.
        assert!(share < 0.7, "{share}");
    }
    fs::write(fixture.path().join("stop"), "").unwrap();
    let quiet = fixture.events.wait_for_event("root/backend", "output_quiet").await;
    let dropped = quiet["dropped_lines"].as_u64().unwrap();
    let exit = fixture.exit_of("root/backend").await;
    // What is on stderr is not lost among the rest.
    assert!(exit["output"].as_array().unwrap().contains(&"last words".into()), "{exit}");
    let failed = fixture.events.wait_since(0, |event| event["kind"] == "actor_exited").await;
    assert!(
        failed["message"]
            .as_str()
            .unwrap()
            .ends_with("it exited with code 3; its last line on stderr: last words")
    );
    let lines = cli_log(fixture.path(), &["backend", "-n", "1000000"]).await;
    let notes: Vec<&String> = lines.iter().filter(|line| line.contains(" note ")).collect();
    assert_eq!(notes.len(), 4, "start, flood, its end, exit: {notes:?}");
    assert!(
        notes[1].contains("more than 1000 lines or")
            && notes[2].contains(&format!("left out {dropped} lines"))
    );
    // The streams are read side by side, so lines of stdout may follow.
    assert!(lines.iter().any(|line| line.ends_with(" err  last words")), "{:?}", lines.last());
    assert!(lines.len() < 100_000 && dropped > 100_000, "{} {dropped}", lines.len());
    assert_eq!(run_json(fixture.path(), &["status"]).await["backend"]["noisy"], false);
    fixture.runtime.stop().await;
}

// === crashes ===

#[tokio::test]
async fn crash_has_its_last_lines_with_a_whole_traceback() {
    let agent = r#"echo starting; {
        echo 'Traceback (most recent call last):'
        n=0; while [ $n -lt 40 ]; do n=$((n+1)); echo "  File \"m.py\", line $n, in f"; echo "    f($n)"; done
        echo "ValueError: bad token $API_TOKEN"
    } >&2; exit 1"#;
    let mut fixture = LoggedRuntime::start("", &[("planner", agent)], "");
    let exit = fixture.exit_of("root/agents/planner").await;
    assert_eq!((&exit["code"], &exit["was_requested"]), (&1.into(), &false.into()));
    let output = exit["output"].as_array().unwrap();
    assert_eq!(output.len(), 20, "{output:?}");
    // The two streams are read side by side, and the traceback is in one piece.
    let is_start = |line: &&Value| **line == "Traceback (most recent call last):";
    let traceback: Vec<&Value> = output.iter().skip_while(|line| !is_start(line)).collect();
    assert_eq!(traceback[1], "  File \"m.py\", line 1, in f");
    assert!(traceback[6].as_str().unwrap().contains("lines are left out"), "{output:?}");
    assert_eq!(traceback[18], "ValueError: bad token [redacted]");
    assert!(output.contains(&"starting".into()), "{output:?}");
    fixture.events.wait_since(0, is_agent_health("planner", "failed")).await;
    let shown = run_json(fixture.path(), &["agent", "show", "planner"]).await;
    assert_eq!(shown["output"], exit["output"]);
    let details = shown["error"]["details"].as_str().unwrap();
    assert_eq!(
        details,
        "its process ended: it exited with code 1; its last line on stderr: ValueError: bad token [redacted]"
    );
    assert_eq!(run_json(fixture.path(), &["agents"]).await[0].get("output"), None);
    // People see them as lines.
    for args in [&["agent", "show", "planner"][..], &["events"]] {
        let text = run(fixture.path(), args).await.stdout;
        let lines: Vec<&str> = text.lines().collect();
        let at =
            lines.iter().position(|line| line.ends_with("| Traceback (most recent call last):")).unwrap();
        assert!(lines[at + 18].ends_with("| ValueError: bad token [redacted]"), "{text}");
    }
    fixture.runtime.stop().await;
}

// === a folder that cannot be used ===

#[tokio::test]
async fn last_lines_say_of_which_process_they_are() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().display().to_string();
    let agent = format!(
        "test -e {folder}/again || {{ touch {folder}/again; echo old; exit 3; }}; \
         until [ -e {folder}/print ]; do sleep 0.05; done; echo new; exec sleep 1000"
    );
    let mut fixture = LoggedRuntime::start_in(data, &config_text("", &[("planner", &agent)], ""));
    fixture.exit_of("root/agents/planner").await;
    fixture.events.wait_since(0, is_agent_health("planner", "failed")).await;
    let show = async || run_json(fixture.path(), &["agent", "show", "planner"]).await;
    let heading = async || {
        let text = run(fixture.path(), &["agent", "show", "planner"]).await.stdout;
        let line = text.lines().find_map(|line| line.strip_prefix("output      ")).map(str::to_owned);
        line.unwrap_or_else(|| panic!("{text}"))
    };
    let shown = show().await;
    assert_eq!((&shown["output"], &shown["output_is_old"]), (&json!(["old"]), &json!(true)));
    assert_eq!(heading().await, "the last lines of the process that has ended:");
    assert_eq!(run(fixture.path(), &["agent", "restart", "planner"]).await.code, Some(0));
    let shown = show().await;
    let pid = &shown["process"]["pid"];
    assert_eq!((&shown["output"], &shown["output_is_old"]), (&json!(["old"]), &json!(true)));
    let expected = format!("the last lines of the process before {pid}, which has printed none yet:");
    assert_eq!(heading().await, expected);
    fs::write(fixture.path().join("print"), "").unwrap();
    eventually("it prints", async || show().await["output"] == json!(["new"])).await;
    assert_eq!(show().await.get("output_is_old"), None);
    assert_eq!(heading().await, format!("the last lines of process {pid}:"));
    fixture.runtime.stop().await;
}

#[tokio::test]
async fn folder_that_cannot_be_used_degrades_and_heals() {
    let data = tempfile::tempdir().unwrap();
    let logs = data.path().join("logs");
    fs::write(&logs, "no folder").unwrap();
    let mut fixture = LoggedRuntime::start_in(data, &config_text("echo one; exec sleep 1000", &[], ""));
    let degraded = fixture.events.wait_for_event("logs", "logs_degraded").await;
    assert!(degraded["message"].as_str().unwrap().contains("logs/backend.log"), "{degraded}");
    let state = run_json(fixture.path(), &["status"]).await["storage"]["logs"].clone();
    assert!(state.as_str().unwrap().contains("logs/backend.log"), "{state}");
    assert!(run(fixture.path(), &["status"]).await.stdout.contains("logs degraded: logs/backend.log"));
    assert!(metrics(fixture.path()).await.contains("mainstay_storage_degraded{part=\"logs\"} 1"));
    fs::remove_file(&logs).unwrap();
    fixture.events.wait_for_event("logs", "logs_degraded").await;
    assert_eq!(run_json(fixture.path(), &["status"]).await["storage"]["logs"], "ok");
    assert!(metrics(fixture.path()).await.contains("mainstay_storage_degraded{part=\"logs\"} 0"));
    fixture.backend_line("out  one").await;
    fixture.runtime.stop().await;
}

// === for an embedder ===

async fn start_embedded(backend: &str, data: Option<PathBuf>) -> Mainstay {
    let config = Config::from_toml(&config_text(backend, &[], "")).unwrap();
    let builder = Mainstay::builder().config(config);
    let builder = match data {
        Some(data) => builder.data_dir(data),
        None => builder,
    };
    builder.start().await.unwrap()
}

#[tokio::test]
async fn stream_has_the_last_lines_then_new_ones_then_ends() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().display().to_string();
    let backend = format!("seq 1 5; until [ -e {folder}/go ]; do :; done; seq 6 8 >&2; exec sleep 1000");
    let mainstay = start_embedded(&backend, Some(data.path().to_owned())).await;
    let logs = mainstay.logs();
    let range = LogRange { lines: Some(2), since: None };
    eventually("five lines are read", async || {
        logs.read("backend", range).await.is_ok_and(|lines| lines.last().unwrap().text == "5")
    })
    .await;
    let mut stream = logs.follow("backend", range).await.unwrap();
    let mut next = async || match timeout(TEST_TIMEOUT, stream.next()).await.unwrap() {
        Some(Ok(LogItem::Line(line))) => Some((line.stream, line.text)),
        Some(other) => panic!("{other:?}"),
        None => None,
    };
    for n in 4..=5 {
        assert_eq!(next().await.unwrap(), (LogStream::Out, n.to_string()));
    }
    fs::write(data.path().join("go"), "").unwrap();
    for n in 6..=8 {
        assert_eq!(next().await.unwrap(), (LogStream::Err, n.to_string()));
    }
    mainstay.shutdown().await;
    let ended = next().await.unwrap();
    assert!(ended.0 == LogStream::Note && ended.1.contains("has ended"), "{ended:?}");
    assert_eq!(next().await, None);
    let unknown = mainstay.logs().read("backed", range).await.unwrap_err();
    assert_eq!(unknown.reason, Reason::NotFound);
    assert!(unknown.log_text().contains("backend"), "{unknown:?}");
}

#[tokio::test]
async fn runtime_without_a_data_folder_shows_last_lines_alone() {
    let mainstay = start_embedded("seq 1 30; exec sleep 1000", None).await;
    let backend = mainstay.backend().unwrap();
    eventually("the last line is shown", async || {
        tokio::task::yield_now().await;
        backend.report().unwrap().output.last().is_some_and(|line| line == "30")
    })
    .await;
    assert_eq!(backend.report().unwrap().output.len(), 20);
    let error = mainstay.logs().read("backend", LogRange::default()).await.unwrap_err();
    assert!(error.message.contains("no data folder"), "{error:?}");
    mainstay.shutdown().await;
}

#[tokio::test]
async fn bridge_reads_and_follows_a_log() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().display().to_string();
    let backend = format!("seq 1 5; until [ -e {folder}/go ]; do :; done; seq 6 8; exec sleep 1000");
    let mainstay = start_embedded(&backend, Some(data.path().to_owned())).await;
    let (send, incoming) = mpsc::channel(8);
    let (outgoing, mut receive) = mpsc::channel(8);
    let mut session = JoinSet::new();
    session.spawn(serve(mainstay.clone(), incoming, outgoing));
    let mut ask = async |command: Value| {
        send.send(command.to_string()).await.unwrap();
        let text = timeout(TEST_TIMEOUT, receive.recv()).await.unwrap().unwrap();
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let texts = |value: &Value| -> Vec<String> {
        let lines = value.as_array().unwrap().iter();
        lines.map(|line| line["text"].as_str().unwrap().to_owned()).collect()
    };
    eventually("five lines are read", async || {
        let read =
            ask(json!({ "id": 1, "type": "logs", "action": "read", "log": "backend", "lines": 3 })).await;
        read["ok"]["lines"].as_array().is_some_and(|_| texts(&read["ok"]["lines"]) == ["3", "4", "5"])
    })
    .await;
    let refused = ask(json!({ "id": 2, "type": "logs", "action": "listen", "log": "backed" })).await;
    assert_eq!(refused["error"]["reason"], "not_found");
    let listening =
        ask(json!({ "id": 3, "type": "logs", "action": "listen", "log": "backend", "lines": 1 })).await;
    assert_eq!(listening, json!({ "id": 3, "ok": null }));
    fs::write(data.path().join("go"), "").unwrap();
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line| line != "8") {
        let text = timeout(TEST_TIMEOUT, receive.recv()).await.unwrap().unwrap();
        let pushed: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(pushed["log"], "backend", "{pushed}");
        lines.extend(texts(&pushed["lines"]));
    }
    assert_eq!(lines, ["5", "6", "7", "8"]);
    mainstay.shutdown().await;
    let mut last = json!(null);
    while last["ended"] != true {
        let text = timeout(TEST_TIMEOUT, receive.recv()).await.unwrap().unwrap();
        last = serde_json::from_str(&text).unwrap();
    }
    assert_eq!(last, json!({ "log": "backend", "ended": true }));
}

//! Tests that the binary works without a reader of what it writes.

mod support;

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use support::{EventFollower, TEST_TIMEOUT, mainstay, run, run_json, send_signal, start_demo};
use tokio::process::Child;
use tokio::time::timeout;

/// Runs a command whose standard streams have lost their readers, and returns its exit code and the rest of stderr.
async fn run_unread(data: &Path, args: &[&str], stdout: Stdio, stderr: Stdio) -> (Option<i32>, String) {
    let child = mainstay(data, args).stdout(stdout).stderr(stderr).spawn().unwrap();
    let output = timeout(TEST_TIMEOUT, child.wait_with_output()).await;
    let output = output.unwrap_or_else(|_| panic!("{args:?} did not end")).unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Returns the writing end of a pipe without a reader.
fn closed_pipe() -> Stdio {
    let (_, writer) = std::io::pipe().unwrap();
    writer.into()
}

async fn ended(mut child: Child) -> Option<i32> {
    timeout(TEST_TIMEOUT, child.wait()).await.expect("it ends").unwrap().code()
}

#[tokio::test]
async fn commands_with_closed_stdout_end_quietly() {
    let data = tempfile::tempdir().unwrap();
    let (demo, _) = start_demo(data.path(), "3").await;
    EventFollower::follow(data.path()).wait_for_agent("planner", "healthy").await;
    let commands: [&[&str]; 12] = [
        &["status"],
        &["status", "--json"],
        &["tree"],
        &["agents"],
        &["agent", "show", "planner"],
        &["connection"],
        &["events"],
        &["events", "--json"],
        &["dead-letters"],
        &["replay"],
        &["config", "default"],
        &["--help"],
    ];
    for args in commands {
        let (code, stderr) = run_unread(data.path(), args, closed_pipe(), Stdio::piped()).await;
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{args:?}");
    }
    demo.kill().await;
}

#[tokio::test]
async fn failures_with_closed_stderr_keep_their_exit_code() {
    let data = tempfile::tempdir().unwrap();
    for (code, args) in
        [(3, &["status"][..]), (2, &["events", "--actor", "["]), (2, &["no-such-command"]), (1, &["events"])]
    {
        let ended = run_unread(data.path(), args, Stdio::piped(), closed_pipe()).await;
        assert_eq!(ended.0, Some(code), "{args:?}");
    }
}

#[tokio::test]
async fn log_to_closed_stderr_does_not_end_the_runtime() {
    let data = tempfile::tempdir().unwrap();
    let args = ["--log", "trace", "demo", "--for", "1s"];
    let (code, _) = run_unread(data.path(), &args, Stdio::null(), closed_pipe()).await;
    assert_eq!(code, Some(0));
    let stopped = run(data.path(), &["events", "--kind", "runtime_stopped", "--json"]).await;
    assert_eq!(stopped.stdout.lines().count(), 1, "{stopped:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn log_to_a_pipe_without_reader_delays_nothing() {
    let data = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut filler = writer.try_clone().unwrap();
    // No pipe takes that much, so this keeps it full until the reader is dropped.
    let filling = std::thread::spawn(move || filler.write_all(&vec![b'\n'; 64 << 20]).is_err());
    let demo = mainstay(data.path(), &["--log", "trace", "demo"])
        .stdout(Stdio::null())
        .stderr(writer)
        .spawn()
        .unwrap();
    let pid = demo.id().unwrap();
    EventFollower::follow(data.path()).wait_for_agent("planner", "healthy").await;
    for _ in 0..3 {
        let answer = run_json(data.path(), &["request", "GET", "/api/agents/planner/health"]).await;
        assert_eq!(answer["status"], 200);
    }
    send_signal(pid.into(), "TERM").await;
    assert_eq!(ended(demo).await, Some(0));
    drop(reader);
    assert!(filling.join().unwrap(), "the pipe was full all the time");
}

/// Returns a line of the journal, with its checksum.
fn journal_line(seq: u64, kind: &str, fields: &str) -> String {
    // An escape sequence, the C1 control that begins one, a reversed text, and a line break, as JSON holds them.
    let hostile = "\\u001b[2J\\u009b31m\\u202eevil\\n";
    let fields = fields.replace("EVIL", hostile);
    let content = format!(
        "{{\"run\":1,\"seq\":{seq},\"at\":\"2026-01-02T03:04:05.678Z\",\"mono_ms\":{seq},\"actor\":\"root/{hostile}\",\
         \"generation\":2,\"kind\":\"{kind}\",{fields}}}"
    );
    let crc = crc32c::crc32c(content.as_bytes());
    format!("{},\"crc\":\"{crc:08x}\"}}\n", content.trim_end_matches('}'))
}

#[tokio::test]
async fn stored_texts_reach_no_terminal_unescaped() {
    let data = tempfile::tempdir().unwrap();
    let journal = data.path().join("journal");
    std::fs::create_dir(&journal).unwrap();
    let lines = [
        journal_line(1, "noted", "\"text\":\"EVIL\""),
        journal_line(2, "actor_exited", "\"cause\":\"panic\",\"message\":\"EVIL\""),
        journal_line(3, "dead_letter", "\"reason\":\"crashed\",\"label\":\"EVIL\""),
        journal_line(4, "gave_up", "\"restarts\":1,\"last_error\":\"EVIL\",\"next_step\":\"EVIL\""),
        journal_line(5, "decision", "\"decision\":\"EVIL\",\"inputs\":\"EVIL\""),
        "{\"run\":1,\"seq\":6,\"at\":\"\u{9b}31m\"}\n".to_owned(),
    ];
    std::fs::write(journal.join("journal-0000000001-0000000000000001.jsonl"), lines.concat()).unwrap();
    for args in [&["events"][..], &["dead-letters", "-o", "wide"], &["replay"]] {
        let ended = run(data.path(), args).await;
        let printed = ended.stdout + &ended.stderr;
        assert!(printed.contains("evil"), "{args:?}: {printed:?}");
        let is_unsafe = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!printed.contains(is_unsafe), "{args:?}: {printed:?}");
    }
}

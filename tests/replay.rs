//! Tests that a journal from the field is a test case: every decision is recomputed, and a changed one is found.
//!
//! Fault injection exists in debug builds only.

#![cfg(debug_assertions)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use support::{CommandOutput, EventFollower, run, start_demo};
use tokio::io::AsyncWriteExt;

/// Makes a run in which the cache crashes twice, and an agent is restarted and reset by hand.
async fn eventful_run(data: &Path) {
    // The control server accepts commands from then on.
    let (demo, _) = start_demo(data, "1").await;
    let mut events = EventFollower::follow(data);
    events.wait_for_agent("planner", "healthy").await;
    for _ in 0..2 {
        assert_eq!(run(data, &["panic", "cache"]).await.code, Some(0));
        events.wait_for_event("root/cache", "actor_restarted").await;
    }
    for action in ["restart", "reset"] {
        let ended = run(data, &["agent", action, "planner"]).await;
        assert_eq!(ended.code, Some(0), "{action}: {ended:?}");
    }
    let (status, _) = demo.stop().await;
    assert!(status.success(), "{status}");
}

fn segment(data: &Path) -> PathBuf {
    let mut files = fs::read_dir(data.join("journal")).unwrap().map(|file| file.unwrap().path());
    files.find(|path| path.extension().is_some_and(|extension| extension == "jsonl")).unwrap()
}

/// Changes the last decision in the file by hand; `seal` repairs its checksum. Returns its cursor.
fn edit_last_decision(file: &Path, from: &str, to: &str, seal: bool) -> String {
    let text = fs::read_to_string(file).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let line = lines.iter_mut().rfind(|line| line.contains(r#""kind":"decision""#)).unwrap();
    assert!(line.contains(from), "{line}");
    *line = line.replacen(from, to, 1);
    if seal {
        let content = format!("{}}}", &line[..line.rfind(r#","crc":""#).unwrap()]);
        let crc = crc32c::crc32c(content.as_bytes());
        *line = format!("{},\"crc\":\"{crc:08x}\"}}", &content[..content.len() - 1]);
    }
    let edited: Value = serde_json::from_str(line).unwrap();
    fs::write(file, lines.join("\n") + "\n").unwrap();
    format!("{}.{}", edited["run"], edited["seq"])
}

/// Asserts that the command found a difference: one line on stderr, and nothing else.
fn difference_line(ended: &CommandOutput) -> &str {
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!((ended.stdout.as_str(), ended.stderr.lines().count()), ("", 1), "{ended:?}");
    ended.stderr.trim_end()
}

#[tokio::test]
async fn replay_of_a_run_agrees_from_every_source() {
    let data = tempfile::tempdir().unwrap();
    eventful_run(data.path()).await;
    let file = segment(data.path());
    let folder = file.parent().unwrap().to_str().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let from_data = run(data.path(), &["replay"]).await;
    assert_eq!((from_data.code, from_data.stderr.as_str()), (Some(0), ""), "{from_data:?}");
    assert!(from_data.stdout.contains("2 decisions, each recomputed with the same result"), "{from_data:?}");
    for source in [data.path().to_str().unwrap(), folder, file.to_str().unwrap()] {
        let ended = run(elsewhere.path(), &["replay", source]).await;
        assert_eq!((ended.code, &ended.stdout), (Some(0), &from_data.stdout), "{source}: {ended:?}");
    }
    let mut command = support::mainstay(elsewhere.path(), &["replay", "-"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&fs::read(&file).unwrap()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), from_data.stdout);

    let report = support::run_json(data.path(), &["replay"]).await;
    assert_eq!((&report["decisions"], &report["replayed"]), (&json!(2), &json!(2)));
    assert_eq!((&report["differences"], &report["missing"]), (&json!([]), &json!(0)));
}

#[tokio::test]
async fn decision_that_was_changed_by_hand_is_found_and_named() {
    let data = tempfile::tempdir().unwrap();
    eventful_run(data.path()).await;
    let file = segment(data.path());
    let original = fs::read(&file).unwrap();
    for (from, to, field) in [
        (r#""attempt":2"#, r#""attempt":1"#, "attempt"),
        (r#""decision":"restart""#, r#""decision":"give_up""#, "decision"),
        (r#""cause":"panic""#, r#""cause":"error""#, "inputs.exit.cause"),
        (r#""attempts":1"#, r#""attempts":0"#, "inputs.history.attempts"),
    ] {
        let event = edit_last_decision(&file, from, to, true);
        let line = run(data.path(), &["replay"]).await;
        let line = difference_line(&line);
        assert!(line.contains(&format!("event {event} at ")) && line.contains("root/cache"), "{line}");
        assert!(line.contains(&format!(": {field} says ")), "{line}");
        let ended = run(data.path(), &["replay", "--json"]).await;
        let report: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(ended.code, Some(1));
        let first = &report["differences"][0];
        assert_eq!((&first["event"], &first["field"]), (&json!(event), &json!(field)));
        fs::write(&file, &original).unwrap();
    }
    let event = edit_last_decision(&file, r#""attempt":2"#, r#""attempt":1"#, false);
    let line = run(data.path(), &["replay"]).await;
    let line = difference_line(&line);
    assert!(line.contains(&format!("event {event}: ")) && line.contains("is damaged at byte"), "{line}");
}

#[tokio::test]
async fn replay_of_missing_source_names_it() {
    let empty = tempfile::tempdir().unwrap();
    let nowhere = empty.path().join("nowhere");
    // A folder without a journal is no wrong usage, as with `events`.
    for (args, code) in [
        (&["replay"][..], 1),
        (&["replay", empty.path().to_str().unwrap()], 1),
        (&["replay", nowhere.to_str().unwrap()], 2),
    ] {
        let ended = run(empty.path(), args).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), ""), "{args:?}: {ended:?}");
        assert!(ended.stderr.contains(empty.path().to_str().unwrap()), "{ended:?}");
    }
}

#[tokio::test]
async fn dead_letters_are_listed_with_reason() {
    let data = tempfile::tempdir().unwrap();
    assert_eq!(run(data.path(), &["dead-letters"]).await.code, Some(1), "there is no journal yet");
    eventful_run(data.path()).await;
    let ended = run(data.path(), &["dead-letters"]).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    let rows: Vec<&str> = ended.stdout.lines().filter(|line| line.contains("root/cache")).collect();
    assert_eq!(rows.len(), 2, "{}", ended.stdout);
    for row in rows {
        assert!(row.ends_with("  the actor crashed on it"), "{row}");
    }
    let wide = run(data.path(), &["dead-letters", "-o", "wide"]).await.stdout;
    assert_eq!(wide.matches("the actor crashed on it  crashed\n").count(), 2, "{wide}");
    let ended = run(data.path(), &["dead-letters", "--json"]).await;
    let messages: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let crashed = messages.iter().filter(|message| message["reason"] == "crashed");
    assert_eq!(crashed.count(), 2, "{messages:?}");
    assert!(messages.iter().all(|message| message["kind"] == "dead_letter" && message["crc"].is_string()));
}

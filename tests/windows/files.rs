//! Tests the files of a data folder while others have them open, and the watcher.

use std::fs;
use std::path::Path;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::support::{MainstayProcess, TEST_TIMEOUT, eventually, run};
use super::{Fixture, GREETING, WATCHED};

/// A session of the bridge with the running runtime.
struct ControlClient(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl ControlClient {
    async fn connect(data: &Path) -> Self {
        let control: Value = serde_json::from_slice(&fs::read(data.join("control.json")).unwrap()).unwrap();
        let (port, token) = (&control["port"], control["token"].as_str().unwrap());
        let url = format!("ws://127.0.0.1:{port}/bridge?token={token}");
        Self(tokio_tungstenite::connect_async(url).await.unwrap().0)
    }

    /// Sends a command, and returns its result.
    async fn call(&mut self, mut command: Value) -> Value {
        command["id"] = json!(1);
        self.0.send(Message::text(command.to_string())).await.unwrap();
        let reply = self.wait_for(|message| message["id"] == 1).await;
        assert!(reply.get("ok").is_some(), "{command}: {reply}");
        reply["ok"].clone()
    }

    async fn wait_for(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut seen = Vec::new();
        loop {
            let next = timeout(TEST_TIMEOUT, self.0.next()).await;
            let next = next.unwrap_or_else(|_| panic!("it did not come: {seen:?}")).unwrap().unwrap();
            let Message::Text(text) = next else { continue };
            let message: Value = serde_json::from_str(&text).unwrap();
            if wanted(&message) {
                return message;
            }
            seen.push(message);
        }
    }

    async fn wait_for_change(&mut self, kind: &str, file: &Path) -> Value {
        let path = file.to_str().unwrap();
        self.wait_for(|message| message["file"]["kind"] == kind && message["file"]["path"] == path).await
    }
}

#[tokio::test]
async fn changes_in_a_watched_folder_reach_a_client() {
    let mut fixture = Fixture::start("[cache]\nwatch = ['WATCHED']\n").await;
    fixture.events.wait_since(0, |event| event["kind"] == "watch_started").await;
    let watched = fixture.folder().join(WATCHED);
    let mut client = ControlClient::connect(&fixture.folder()).await;
    client.call(json!({ "type": "files", "action": "listen" })).await;
    let (file, renamed) = (watched.join("über uns.txt"), watched.join("メモ 2.txt"));
    fs::write(&file, "a").unwrap();
    client.wait_for_change("created", &file).await;
    fs::write(&file, "ab").unwrap();
    client.wait_for_change("modified", &file).await;
    fs::rename(&file, &renamed).unwrap();
    let change = client.wait_for_change("renamed", &renamed).await;
    assert_eq!(change["file"]["from"], file.to_str().unwrap());
    fs::remove_file(&renamed).unwrap();
    client.wait_for_change("removed", &renamed).await;
}

fn file_sizes(folder: &Path) -> Vec<u64> {
    fs::read_dir(folder).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).collect()
}

/// A file that another process has open cannot always be renamed or deleted on Windows.
#[tokio::test]
async fn log_is_rotated_while_it_is_followed() {
    let limits =
        "[logs]\nfile_bytes = '64KiB'\nfiles = 2\nlines_per_second = 100000\nbytes_per_second = '64MiB'\n";
    let fixture = Fixture::start(limits).await;
    let folder = fixture.folder();
    let mut follower = MainstayProcess::start(&folder, &["logs", "planner", "-f", "-n", "1"]);
    follower.line().await;
    assert_eq!(fixture.reply("flood").await, "flooded");
    follower.line_containing("line 19999 ").await;
    let sizes = file_sizes(&folder.join("logs"));
    assert!(sizes.len() == 2 && sizes.iter().all(|size| *size <= 64 * 1024), "{sizes:?}");
}

#[tokio::test]
async fn log_outlives_a_killed_runtime() {
    let fixture = Fixture::start("").await;
    let folder = fixture.folder();
    let mut follower = MainstayProcess::start(&folder, &["logs", "planner", "-f"]);
    assert_eq!(fixture.reply("greet").await, "greeted");
    follower.line_containing(GREETING).await;
    let _fixture = fixture.with_next_runtime().await;
    let started = follower.line_containing(" note process ").await;
    assert!(started.ends_with(" has started"), "{started}");
    let shown = run(&folder, &["logs", "planner", "-n", "100"]).await;
    let greeting = format!(" err  {GREETING}");
    assert!(shown.stdout.lines().any(|line| line.ends_with(&greeting)), "{shown:?}");
}

#[tokio::test]
async fn journal_rotates_while_it_is_followed_and_replays() {
    let mut fixture = Fixture::start("[journal]\nsegment_bytes = '4KiB'\nsegments = 3\n").await;
    let folder = fixture.folder();
    let mut client = ControlClient::connect(&folder).await;
    for _ in 0..50 {
        client.call(json!({ "type": "agent", "agent": "planner", "action": "send", "body": "count" })).await;
    }
    let mut answered = 0;
    while answered < 50 {
        fixture.events.wait_for(|event| event["kind"] == "message_answered").await;
        answered += 1;
    }
    let seqs: Vec<_> = fixture.events.events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seqs:?}");
    let sizes = file_sizes(&folder.join("journal"));
    assert!(sizes.len() <= 4, "{sizes:?}");
    eventually("the first file is deleted", async || {
        let first = run(&folder, &["events", "--json"]).await;
        !first.stdout.contains("\"runtime_started\"")
    })
    .await;
    let mut fixture = fixture.with_next_runtime().await;
    fixture.events.wait_for_event("journal", "run_interrupted").await;
    let replayed = run(&folder, &["replay"]).await;
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
}

//! Reads the journal from outside: while it is written, after a SIGKILL, and across runs.

mod support;

use std::path::Path;

use futures_util::{SinkExt, StreamExt};
use mainstay::DataDir;
use mainstay::journal::{Cursor, Entry, Event, Reader, Record, RunInterrupted};
use serde_json::{Value, json};
use support::{EventFollower, MainstayProcess, TEST_TIMEOUT, post_json, start_demo};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

/// Reads the whole journal. Runs and their numbers have no hole, and the first event of the next run reports each run
/// without a stop once.
fn read_seqs(data: &Path) -> Vec<Record> {
    let mut reader = Reader::after(&DataDir::new(data).journal(), Cursor::START);
    let mut records: Vec<Record> = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let Entry::Event(record, _) = entry else { panic!("the journal is not whole: {entry:?}") };
        match records.last() {
            Some(last) if last.run == record.run => {
                assert_eq!(record.seq, last.seq + 1);
                assert_ne!(record.kind, RunInterrupted::KIND, "it is the first event or none");
            }
            Some(last) => {
                assert_eq!(record.cursor(), Cursor::new(last.run + 1, 1));
                let interrupted = (record.kind == RunInterrupted::KIND).then(|| record.decode().unwrap());
                let expected = RunInterrupted { last_event: last.cursor() };
                assert_eq!(interrupted, (last.kind != "runtime_stopped").then_some(expected));
            }
            None => assert_eq!(record.cursor(), Cursor::new(1, 1)),
        }
        records.push(*record);
    }
    records
}

fn cursors(records: &[Record]) -> Vec<Cursor> {
    records.iter().map(Record::cursor).collect()
}

#[tokio::test]
async fn follower_process_sees_events_live_in_order() {
    let data = tempfile::tempdir().unwrap();
    let mut events = EventFollower::follow(data.path());
    let (demo, backend) = start_demo(data.path(), "1").await;
    events.wait_for_agent("planner", "healthy").await;
    post_json(&format!("{backend}/_fault"), json!({"kind": "crash_agent", "agent": "planner"})).await;
    events.wait_for_agent("planner", "failed").await;
    let (status, _) = demo.stop().await;
    assert!(status.success());
    events.wait_for_event("root", "runtime_stopped").await;
    let seqs: Vec<u64> = events.events.iter().filter_map(|event| event["seq"].as_u64()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "each event once, in order");
}

#[tokio::test]
async fn sigkill_leaves_no_hole_and_next_run_reports_it_quietly() {
    let data = tempfile::tempdir().unwrap();
    let mut before = Vec::new();
    // Each run is killed later than the one before: after its first, second, third … line.
    for lines in 1..=10 {
        let mut demo = MainstayProcess::start(data.path(), &["demo", "--agents", "2"]);
        for _ in 0..lines * 2 {
            demo.line().await;
        }
        demo.kill().await;
        let records = read_seqs(data.path());
        // The output comes from memory; the disk may have any part of it by then.
        assert!(records.starts_with(&before), "run {lines} took something away");
        before = records;
    }
    assert_eq!(support::run(data.path(), &["demo", "--for", "100ms"]).await.code, Some(0));
    let records = read_seqs(data.path());
    assert!(records.len() > before.len() + 10, "the last run records all its events");
    assert!(records.iter().all(|record| record.kind != "journal_degraded"), "a kill is no damage");
    let events = support::run(data.path(), &["events"]).await;
    assert_eq!((events.code, events.stderr.as_str()), (Some(0), ""), "and no warning");
    assert!(
        events.stdout.contains("the previous run ended without notice after event "),
        "{}",
        events.stdout
    );
    assert_eq!(support::run(data.path(), &["replay"]).await.code, Some(0));
}

/// A client of the bridge that follows events.
struct Subscriber {
    socket: tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>,
    /// The cursors of the events and of their last batch.
    seen: Vec<Cursor>,
    boot: String,
}

impl Subscriber {
    async fn connect(data: &Path, after: Cursor) -> Self {
        let control: Value =
            serde_json::from_slice(&std::fs::read(data.join("control.json")).unwrap()).unwrap();
        let url =
            format!("ws://127.0.0.1:{}/bridge?token={}", control["port"], control["token"].as_str().unwrap());
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        let subscribe = json!({"id": 1, "type": "subscribe", "after": after.to_string()});
        socket.send(Message::text(subscribe.to_string())).await.unwrap();
        let mut subscriber = Self { socket, seen: Vec::new(), boot: String::new() };
        let snapshot = subscriber.hear(|message| message.get("snapshot").is_some()).await;
        let runtime = &snapshot["snapshot"]["status"]["runtime"];
        assert_eq!(runtime["boot"], control["boot"]);
        assert_eq!(snapshot["cursor"], format!("{}.{}", runtime["run"], runtime["seq"]));
        subscriber.boot = runtime["boot"].as_str().unwrap().to_owned();
        subscriber
    }

    /// Returns the next message that matches, and keeps the events before it.
    async fn hear(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message =
                timeout(TEST_TIMEOUT, self.socket.next()).await.expect("no message came").unwrap().unwrap();
            let Message::Text(text) = message else { continue };
            let value: Value = serde_json::from_str(text.as_str()).unwrap();
            assert!(value.get("lagged").is_none(), "{value}");
            if let Some(events) = value["events"].as_array() {
                let cursor = |event: &Value| {
                    Cursor::new(event["run"].as_u64().unwrap(), event["seq"].as_u64().unwrap())
                };
                self.seen.extend(events.iter().map(cursor));
                assert_eq!(value["cursor"], self.seen.last().unwrap().to_string());
            }
            if wanted(&value) {
                return value;
            }
        }
    }

    async fn hear_kind(&mut self, kind: &str) {
        let has_kind = |event: &Value| event["kind"] == kind;
        self.hear(|message| message["events"].as_array().is_some_and(|events| events.iter().any(has_kind)))
            .await;
    }
}

#[tokio::test]
async fn bridge_subscriber_resumes_after_kills_without_gap_or_repeat() {
    let data = tempfile::tempdir().unwrap();
    let mut seen: Vec<Cursor> = Vec::new();
    let mut boots = std::collections::BTreeSet::new();
    for run in 1..=4 {
        let (demo, _) = start_demo(data.path(), "1").await;
        let after = seen.last().copied().unwrap_or(Cursor::START);
        let mut subscriber = Subscriber::connect(data.path(), after).await;
        subscriber.hear_kind("agent_health").await;
        if run < 4 {
            demo.kill().await;
        } else {
            let (status, _) = demo.stop().await;
            assert!(status.success());
        }
        seen.extend(subscriber.seen);
        boots.insert(subscriber.boot);
    }
    assert_eq!(boots.len(), 4);
    assert!(seen.is_sorted_by(|before, after| before < after), "nothing comes twice: {seen:?}");
    let durable = cursors(&read_seqs(data.path()));
    let first_of_run = |run: u64| durable.iter().find(|cursor| cursor.run == run);
    assert!((1..=4).all(|run| first_of_run(run).is_some()), "{durable:?}");
    let last = *seen.last().unwrap();
    let expected: Vec<_> = durable.iter().copied().filter(|cursor| *cursor <= last).collect();
    let seen_durable: Vec<_> = seen.into_iter().filter(|cursor| durable.contains(cursor)).collect();
    assert_eq!(seen_durable, expected, "no gap");
}

#[tokio::test]
async fn filters_choose_by_actor_by_kind_and_by_number() {
    let data = tempfile::tempdir().unwrap();
    support::run(data.path(), &["demo", "--agents", "2", "--for", "500ms"]).await;
    let chosen = |args: &'static [&'static str]| {
        let data = data.path().to_owned();
        async move {
            let ended = support::run(&data, &[&["events", "--json"], args].concat()).await;
            assert_eq!(ended.code, Some(0), "{ended:?}");
            let parse = |line: &str| serde_json::from_str::<Value>(line).unwrap();
            ended.stdout.lines().map(parse).collect::<Vec<_>>()
        }
    };
    let agents = chosen(&["--actor", "root/agents/*"]).await;
    assert!(!agents.is_empty());
    assert!(agents.iter().all(|event| event["actor"].as_str().unwrap().starts_with("root/agents/")));
    let ready = chosen(&["--kind", "actor_ready,runtime_started"]).await;
    assert_eq!(ready.len(), 8, "the runtime, root, connection, queue, cache, agents and two agents");
    assert_eq!(chosen(&["--after", "1.3"]).await[0]["seq"], 4);
    assert!(chosen(&["--since", "1h"]).await.len() > 10);
    let ended = support::run(data.path(), &["events", "--after", "3"]).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("RUN.SEQ, such as 3.17"), "{ended:?}");
    assert_eq!(chosen(&["--after", "1.18446744073709551615"]).await, [] as [Value; 0]);
}

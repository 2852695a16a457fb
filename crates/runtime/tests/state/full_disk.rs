//! Tests a full disk: the process may not grow its files beyond a limit.

use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use mainstay_runtime::journal::{Delivery, JournalSubscription};
use mainstay_runtime::state::{Durable, RedbConfig, RedbStore, StateStore};
use mainstay_runtime::{Child, Context, Failure, Message, Reply, Runtime, SupervisorSpec, Worker};
use serde::{Deserialize, Serialize};

use crate::another_process;

/// A state of so many kilobytes.
#[derive(Clone, Serialize, Deserialize)]
struct SizedSnapshot(String);

impl Durable for SizedSnapshot {
    const VERSION: u32 = 1;
}

enum SizedMessage {
    Set(usize),
    Get(Reply<usize>),
}

impl Message for SizedMessage {}

struct SizedWorker;

impl Worker for SizedWorker {
    type Message = SizedMessage;
    type State = usize;
    type Snapshot = SizedSnapshot;

    async fn start(
        &self,
        _: &mut Context<SizedMessage>,
        kept: Option<SizedSnapshot>,
    ) -> Result<usize, Failure> {
        Ok(kept.map_or(0, |heap| heap.0.len() / 1024))
    }

    async fn handle(
        &self,
        _: &mut Context<SizedMessage>,
        message: SizedMessage,
        kilobytes: &mut usize,
    ) -> Result<(), Failure> {
        match message {
            SizedMessage::Set(to) => *kilobytes = to,
            SizedMessage::Get(reply) => reply.send(*kilobytes),
        }
        Ok(())
    }

    fn snapshot(&self, kilobytes: &usize) -> Option<SizedSnapshot> {
        Some(SizedSnapshot("x".repeat(kilobytes * 1024)))
    }
}

/// Runs a test of this binary in a process whose files may not grow beyond `bytes_max`.
fn run_with_file_limit(bytes_max: u64, name: &str, file: &Path) -> (ExitStatus, String) {
    let mut shell = Command::new("sh");
    // The write fails as on a full disk, and no signal ends the process. The limit counts blocks of 512 bytes.
    shell.args(["-c", r#"trap "" XFSZ; ulimit -f "$0"; exec "$@""#]);
    shell.arg((bytes_max / 512).to_string()).arg(another_process::test_binary());
    let output = another_process::with_test(shell, name, file).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status, String::from_utf8_lossy(&said).into_owned())
}

async fn next_degraded_reason(story: &mut JournalSubscription) -> String {
    loop {
        let Delivery::Event(record) = story.next().await else { panic!("events are missing") };
        if record.kind == "state_degraded" {
            return record.fields["reason"].as_str().unwrap().to_owned();
        }
    }
}

#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn process_exceeds_disk_then_shrinks() {
    let Some(file) = another_process::state_file() else { return };
    let store = Arc::new(RedbStore::open(&file, RedbConfig::default()).unwrap());
    let mut root = SupervisorSpec::new("root");
    let worker = root.child(Child::new("worker", SizedWorker).durable()).unwrap();
    let runtime = Runtime::builder().state_store(store.clone()).start(root).await.unwrap();
    let mut story = runtime.journal().subscribe();
    let mut kilobytes = 0;
    loop {
        kilobytes += 256;
        worker.cast(SizedMessage::Set(kilobytes)).await.unwrap();
        assert_eq!(worker.call(SizedMessage::Get).await, Ok(kilobytes));
        if store.flush().await.is_err() {
            break;
        }
        assert!(kilobytes < 8000, "the limit does not hold");
    }
    let refused = next_degraded_reason(&mut story).await;
    assert!(refused.starts_with("the disk refuses states, they wait in memory: "), "{refused}");
    // Nothing else stops, and there is no second event.
    for more in 1..=100 {
        worker.cast(SizedMessage::Set(kilobytes + more)).await.unwrap();
    }
    assert_eq!(worker.call(SizedMessage::Get).await, Ok(kilobytes + 100));
    store.flush().await.unwrap_err();
    worker.cast(SizedMessage::Set(7)).await.unwrap();
    assert_eq!(worker.call(SizedMessage::Get).await, Ok(7));
    assert_eq!(next_degraded_reason(&mut story).await, "the disk takes states again");
    store.flush().await.unwrap();
    runtime.shutdown().await;
    store.close().await;
}

#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn process_opens_file_on_full_disk() {
    let Some(file) = another_process::state_file() else { return };
    let store = Arc::new(RedbStore::open(&file, RedbConfig::default()).unwrap());
    let mut root = SupervisorSpec::new("root");
    let worker = root.child(Child::new("worker", SizedWorker).durable()).unwrap();
    let runtime = Runtime::builder().state_store(store.clone()).start(root).await.unwrap();
    assert_eq!(worker.call(SizedMessage::Get).await, Ok(300));
    worker.cast(SizedMessage::Set(2000)).await.unwrap();
    assert_eq!(worker.call(SizedMessage::Get).await, Ok(2000));
    store.flush().await.unwrap_err();
    next_degraded_reason(&mut runtime.journal().subscribe()).await;
}

#[tokio::test]
async fn full_disk_is_recorded_once_and_writing_resumes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state.redb");
    let name = "full_disk::process_exceeds_disk_then_shrinks";
    let (status, said) = run_with_file_limit(4 * 1024 * 1024, name, &file);
    assert!(status.success() && said.contains("1 passed"), "{said}");
    let store = Arc::new(RedbStore::open(&file, RedbConfig::default()).unwrap());
    let mut root = SupervisorSpec::new("root");
    let worker = root.child(Child::new("worker", SizedWorker).durable()).unwrap();
    let _runtime = Runtime::builder().state_store(store).start(root).await.unwrap();
    assert_eq!(worker.call(SizedMessage::Get).await, Ok(7));
}

#[tokio::test]
async fn full_disk_still_loads_states() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state.redb");
    let store = Arc::new(RedbStore::open(&file, RedbConfig::default()).unwrap());
    let mut root = SupervisorSpec::new("root");
    let worker = root.child(Child::new("worker", SizedWorker).durable()).unwrap();
    let runtime = Runtime::builder().state_store(store.clone()).start(root).await.unwrap();
    worker.cast(SizedMessage::Set(300)).await.unwrap();
    runtime.shutdown().await;
    store.close().await;
    let bytes = std::fs::metadata(&file).unwrap().len();
    let name = "full_disk::process_opens_file_on_full_disk";
    for limit in [0, 512, bytes] {
        let (status, said) = run_with_file_limit(limit, name, &file);
        assert!(status.success() && said.contains("1 passed"), "{limit} of {bytes} bytes: {said}");
    }
}

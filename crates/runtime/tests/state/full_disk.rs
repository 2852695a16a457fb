//! A disk that takes no more: files of a process that may not grow beyond a limit.

use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use mainstay_runtime::journal::{Delivery, Subscription};
use mainstay_runtime::state::{Durable, RedbConfig, RedbStore, StateStore};
use mainstay_runtime::{Child, Context, Failure, Message, Reply, Runtime, SupervisorSpec, Worker};
use serde::{Deserialize, Serialize};

use crate::another_process;

/// A heap of so many kilobytes.
#[derive(Clone, Serialize, Deserialize)]
struct Heap(String);

impl Durable for Heap {
    const VERSION: u32 = 1;
}

enum Pile {
    Set(usize),
    Get(Reply<usize>),
}

impl Message for Pile {}

struct Hoard;

impl Worker for Hoard {
    type Message = Pile;
    type State = usize;
    type Snapshot = Heap;

    async fn start(&self, _: &mut Context<Pile>, kept: Option<Heap>) -> Result<usize, Failure> {
        Ok(kept.map_or(0, |heap| heap.0.len() / 1024))
    }

    async fn handle(&self, _: &mut Context<Pile>, pile: Pile, kilobytes: &mut usize) -> Result<(), Failure> {
        match pile {
            Pile::Set(to) => *kilobytes = to,
            Pile::Get(reply) => reply.send(*kilobytes),
        }
        Ok(())
    }

    fn snapshot(&self, kilobytes: &usize) -> Option<Heap> {
        Some(Heap("x".repeat(kilobytes * 1024)))
    }
}

/// Runs a test of this binary in a process whose files may not grow beyond `bytes_max`.
fn run_within(bytes_max: u64, name: &str, file: &Path) -> (ExitStatus, String) {
    let mut shell = Command::new("sh");
    // Refused like a disk that is full, instead of ended by a signal. The limit counts blocks of 512 bytes.
    shell.args(["-c", r#"trap "" XFSZ; ulimit -f "$0"; exec "$@""#]);
    shell.arg((bytes_max / 512).to_string()).arg(another_process::this_binary());
    let output = another_process::running(shell, name, file).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status, String::from_utf8_lossy(&said).into_owned())
}

async fn until_degraded(story: &mut Subscription) -> String {
    loop {
        let Delivery::Event(record) = story.next().await else { panic!("events are missing") };
        if record.kind == "state_degraded" {
            return record.fields["reason"].as_str().unwrap().to_owned();
        }
    }
}

#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn a_process_piles_up_more_than_the_disk_takes_and_then_less() {
    let Some(file) = another_process::file() else { return };
    let store = Arc::new(RedbStore::open(&file, RedbConfig::default()).unwrap());
    let mut root = SupervisorSpec::new("root");
    let hoard = root.child(Child::new("hoard", Hoard).durable()).unwrap();
    let runtime = Runtime::builder().state_store(store.clone()).start(root).await.unwrap();
    let mut story = runtime.journal().subscribe_after(0);
    let mut kilobytes = 0;
    loop {
        kilobytes += 256;
        hoard.cast(Pile::Set(kilobytes)).await.unwrap();
        assert_eq!(hoard.call(Pile::Get).await, Ok(kilobytes));
        if store.flush().await.is_err() {
            break;
        }
        assert!(kilobytes < 8000, "the limit does not hold");
    }
    let refused = until_degraded(&mut story).await;
    assert!(refused.starts_with("the disk refuses states, they wait in memory: "), "{refused}");
    // Nothing else stops, and it is not told of again.
    for more in 1..=100 {
        hoard.cast(Pile::Set(kilobytes + more)).await.unwrap();
    }
    assert_eq!(hoard.call(Pile::Get).await, Ok(kilobytes + 100));
    store.flush().await.unwrap_err();
    hoard.cast(Pile::Set(7)).await.unwrap();
    assert_eq!(hoard.call(Pile::Get).await, Ok(7));
    assert_eq!(until_degraded(&mut story).await, "the disk takes states again");
    store.flush().await.unwrap();
    runtime.shutdown().await;
    store.close().await;
}

#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn a_process_opens_a_file_on_a_full_disk() {
    let Some(file) = another_process::file() else { return };
    let store = Arc::new(RedbStore::open(&file, RedbConfig::default()).unwrap());
    let mut root = SupervisorSpec::new("root");
    let hoard = root.child(Child::new("hoard", Hoard).durable()).unwrap();
    let runtime = Runtime::builder().state_store(store.clone()).start(root).await.unwrap();
    assert_eq!(hoard.call(Pile::Get).await, Ok(300));
    hoard.cast(Pile::Set(2000)).await.unwrap();
    assert_eq!(hoard.call(Pile::Get).await, Ok(2000));
    store.flush().await.unwrap_err();
    until_degraded(&mut runtime.journal().subscribe_after(0)).await;
}

#[tokio::test]
async fn a_full_disk_is_told_of_once_stops_nothing_and_is_written_to_again_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state.redb");
    let name = "full_disk::a_process_piles_up_more_than_the_disk_takes_and_then_less";
    let (status, said) = run_within(4 * 1024 * 1024, name, &file);
    assert!(status.success() && said.contains("1 passed"), "{said}");
    let store = Arc::new(RedbStore::open(&file, RedbConfig::default()).unwrap());
    let mut root = SupervisorSpec::new("root");
    let hoard = root.child(Child::new("hoard", Hoard).durable()).unwrap();
    let _runtime = Runtime::builder().state_store(store).start(root).await.unwrap();
    assert_eq!(hoard.call(Pile::Get).await, Ok(7));
}

#[tokio::test]
async fn states_are_loaded_from_a_disk_that_takes_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state.redb");
    let store = Arc::new(RedbStore::open(&file, RedbConfig::default()).unwrap());
    let mut root = SupervisorSpec::new("root");
    let hoard = root.child(Child::new("hoard", Hoard).durable()).unwrap();
    let runtime = Runtime::builder().state_store(store.clone()).start(root).await.unwrap();
    hoard.cast(Pile::Set(300)).await.unwrap();
    runtime.shutdown().await;
    store.close().await;
    let bytes = std::fs::metadata(&file).unwrap().len();
    let name = "full_disk::a_process_opens_a_file_on_a_full_disk";
    for limit in [0, 512, bytes] {
        let (status, said) = run_within(limit, name, &file);
        assert!(status.success() && said.contains("1 passed"), "{limit} of {bytes} bytes: {said}");
    }
}

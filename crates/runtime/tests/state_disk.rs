//! Tests durable state on disk: across runs, on a full disk, and when the process is killed at any moment.
//!
//! Some tests run this binary again as another process. The work of that process is a test of its own, which does
//! nothing without a file to use.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

#[path = "state/another_process.rs"]
mod another_process;
#[allow(dead_code, reason = "shared with other tests, which use other parts of it")]
#[path = "state/counter.rs"]
mod counter;
#[cfg(unix)]
#[path = "state/full_disk.rs"]
mod full_disk;
#[path = "state/kill.rs"]
mod kill;
#[path = "state/numbers.rs"]
mod numbers;
#[allow(dead_code, reason = "shared with other tests, which use other parts of it")]
mod probe;
#[path = "../../../tests/tier.rs"]
mod tier;

use std::sync::Arc;

use counter::{DurableCounterMessage, records_of, start, total};
use mainstay_runtime::ActorPath;
use mainstay_runtime::state::{RedbConfig, RedbStore, StateStore};

#[tokio::test]
async fn state_survives_the_process_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state.redb");
    for run in 1..=3 {
        let store = Arc::new(RedbStore::open(&file, RedbConfig::default()).unwrap());
        let (runtime, counter) = start::<1>(store.clone()).await;
        counter.cast(DurableCounterMessage::Up).await.unwrap();
        counter.cast(DurableCounterMessage::Panic).await.unwrap();
        assert_eq!(total(&counter).await, run);
        runtime.shutdown().await;
        store.close().await;
    }
}

#[tokio::test]
async fn damaged_file_is_recorded_and_start_is_fresh() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state.redb");
    std::fs::write(&file, "not a database").unwrap();
    let store = Arc::new(RedbStore::open(&file, RedbConfig::default()).unwrap());
    let (runtime, counter) = start::<1>(store).await;
    assert_eq!(total(&counter).await, 0);
    let degraded = records_of(&runtime, "state_degraded").await;
    assert_eq!((degraded.len(), degraded[0].actor.as_str()), (1, "state"));
    let reason = degraded[0].fields["message"].as_str().unwrap();
    assert!(reason.contains("state.redb.damaged-1, and an empty one begins"), "{reason}");
}

#[tokio::test]
async fn oversized_state_is_recorded_once() {
    let dir = tempfile::tempdir().unwrap();
    let config = RedbConfig { state_bytes_max: 28, ..RedbConfig::default() };
    let store = Arc::new(RedbStore::open(&dir.path().join("state.redb"), config).unwrap());
    let (runtime, counter) = start::<1>(store.clone()).await;
    for _ in 0..12 {
        counter.cast(DurableCounterMessage::Up).await.unwrap();
        assert!(total(&counter).await > 0);
        let _ = store.flush().await;
    }
    let degraded = records_of(&runtime, "state_degraded").await;
    assert_eq!((degraded.len(), degraded[0].actor.as_str()), (1, "root/counter"));
    let path = ActorPath::root("root").unwrap().child("counter").unwrap();
    store.flush().await.unwrap_err();
    assert_eq!(store.load(&path).unwrap().unwrap().content.len(), 28);
}

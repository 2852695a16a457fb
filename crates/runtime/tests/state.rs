//! Tests durable state through the public API, on a paused clock, in a store in memory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

#[path = "state/counter.rs"]
mod counter;
#[allow(dead_code, reason = "shared with other tests, which use other parts of it")]
mod probe;

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use counter::{
    DurableCounter, DurableCounterMessage, durable_child, records_of, restart_often, start, start_with, total,
};
use mainstay_runtime::policy::{Budget, ChildPolicy, Shutdown, SupervisorPolicy};
use mainstay_runtime::state::{MemoryStore, PendingSnapshot, StateStore};
use mainstay_runtime::{ActorPath, AdminError, Child, Runtime, RuntimeStartError, SupervisorSpec};
use parking_lot::Mutex;
use probe::{JournalFollower, start_child};

fn store() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new())
}

fn path() -> ActorPath {
    ActorPath::root("root").unwrap().child("counter").unwrap()
}

/// Returns the path of a counter in a pool.
fn pool_path() -> ActorPath {
    ActorPath::root("root").unwrap().child("pool").unwrap().child("counter").unwrap()
}

async fn start_empty(store: &Arc<MemoryStore>) -> Runtime {
    Runtime::builder().state_store(store.clone()).start(SupervisorSpec::new("root")).await.unwrap()
}

/// Returns the stored content as text.
fn stored(store: &MemoryStore) -> Option<String> {
    let state = store.load(&path()).unwrap()?;
    Some(String::from_utf8(state.content.to_vec()).unwrap())
}

async fn count_to(store: &Arc<MemoryStore>, up: u64) {
    let (runtime, counter) = start::<1>(store.clone()).await;
    for _ in 0..up {
        counter.cast(DurableCounterMessage::Up).await.unwrap();
    }
    assert_eq!(total(&counter).await, up);
    runtime.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn state_survives_the_runtime_and_is_loaded_once() {
    let store = store();
    count_to(&store, 3).await;
    let (runtime, counter) = start::<1>(store).await;
    assert_eq!(total(&counter).await, 3);
    // A crash loads it from memory.
    counter.cast(DurableCounterMessage::Up).await.unwrap();
    counter.cast(DurableCounterMessage::Panic).await.unwrap();
    assert_eq!(total(&counter).await, 4);
    let loaded = records_of(&runtime, "state_loaded").await;
    assert_eq!((loaded.len(), loaded[0].actor.as_str()), (1, "root/counter"));
    assert_eq!(loaded[0].fields["version"], 1);
}

#[tokio::test(start_paused = true)]
async fn state_changed_in_stop_is_kept() {
    let counter = DurableCounter::<1> { added_on_stop: 10, ..DurableCounter::default() };
    let (runtime, closing) = start_child(Child::new("closing", counter)).await;
    for stops in 0..3 {
        assert_eq!(total(&closing).await, 10 * stops);
        runtime.root().stop("closing").await.unwrap();
        runtime.root().start("closing").await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn runtime_drop_keeps_the_last_state() {
    let store = store();
    let (runtime, counter) = start::<1>(store.clone()).await;
    counter.cast(DurableCounterMessage::Up).await.unwrap();
    counter.cast(DurableCounterMessage::Panic).await.unwrap();
    counter.cast(DurableCounterMessage::Up).await.unwrap();
    assert_eq!(total(&counter).await, 2);
    drop(runtime);
    let (_runtime, counter) = start::<1>(store).await;
    assert_eq!(total(&counter).await, 2);
}

#[tokio::test(start_paused = true)]
async fn state_needs_a_durable_child_and_a_store() {
    let store = store();
    let mut root = SupervisorSpec::new("root");
    let plain = root.child(Child::new("counter", DurableCounter::<1>::default())).unwrap();
    let runtime = Runtime::builder().state_store(store.clone()).start(root).await.unwrap();
    plain.cast(DurableCounterMessage::Up).await.unwrap();
    runtime.shutdown().await;
    assert_eq!(stored(&store), None);
    let (_runtime, counter) = start_child(durable_child()).await;
    counter.cast(DurableCounterMessage::Up).await.unwrap();
    counter.cast(DurableCounterMessage::Panic).await.unwrap();
    assert_eq!(total(&counter).await, 1);
}

#[tokio::test(start_paused = true)]
async fn checkpoint_discarded_is_quarantined_in_the_store() {
    let store = store();
    let counter = DurableCounter::rejecting(2);
    let (runtime, counter) = start_with(store.clone(), counter).await.unwrap();
    counter.cast(DurableCounterMessage::Up).await.unwrap();
    counter.cast(DurableCounterMessage::Up).await.unwrap();
    counter.cast(DurableCounterMessage::Panic).await.unwrap();
    assert_eq!(total(&counter).await, 0);
    assert_eq!(records_of(&runtime, "checkpoint_discarded").await.len(), 1);
    runtime.shutdown().await;
    let quarantined = store.quarantined();
    assert_eq!(quarantined.len(), 1);
    assert_eq!(quarantined[0].reason, "it crashed every incarnation that began from it");
    assert_eq!(&*quarantined[0].content.as_ref().unwrap().content, br#"{"total":2,"migrated":false}"#);
    let (_runtime, counter) = start::<1>(store).await;
    assert_eq!(total(&counter).await, 0);
}

#[tokio::test(start_paused = true)]
async fn stored_state_that_fails_starts_is_quarantined() {
    let store = store();
    count_to(&store, 3).await;
    for _ in 0..3 {
        let counter = DurableCounter::rejecting(3);
        let Err(RuntimeStartError::ChildFailed { message, .. }) = start_with(store.clone(), counter).await
        else {
            panic!("it started");
        };
        assert_eq!(message, "not from this");
    }
    let counter = DurableCounter::rejecting(3);
    let (runtime, counter) = start_with(store.clone(), counter).await.unwrap();
    assert_eq!(total(&counter).await, 0);
    let refused = records_of(&runtime, "state_refused").await;
    assert_eq!(refused[0].fields["message"], "3 starts in a row from it failed");
    assert_eq!(store.quarantined().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn start_success_clears_failed_start_count() {
    let store = store();
    count_to(&store, 3).await;
    for _ in 0..4 {
        for _ in 0..2 {
            let counter = DurableCounter::rejecting(3);
            assert!(start_with(store.clone(), counter).await.is_err());
        }
        let (runtime, _) = start::<1>(store.clone()).await;
        runtime.shutdown().await;
    }
    assert_eq!(store.load(&path()).unwrap().unwrap().failed_starts, 0);
}

#[tokio::test(start_paused = true)]
async fn old_state_version_is_migrated() {
    let store = store();
    count_to(&store, 3).await;
    let (runtime, counter) = start::<2>(store.clone()).await;
    assert_eq!(total(&counter).await, 3);
    let migrated = records_of(&runtime, "state_migrated").await;
    assert_eq!((&migrated[0].fields["from"], &migrated[0].fields["to"]), (&1.into(), &2.into()));
    runtime.shutdown().await;
    assert_eq!(store.load(&path()).unwrap().unwrap().version, 2);
}

/// Starts version `V` on the state of version `W`, and returns the reason for the refusal.
async fn refusal_reason<const W: u32, const V: u32>() -> String {
    let store = store();
    let (runtime, counter) = start::<W>(store.clone()).await;
    counter.cast(DurableCounterMessage::Up).await.unwrap();
    runtime.shutdown().await;
    let before = stored(&store);
    let (runtime, counter) = start::<V>(store.clone()).await;
    assert_eq!(total(&counter).await, 0);
    let refused = records_of(&runtime, "state_refused").await.pop().unwrap();
    assert_eq!((&refused.fields["version"], &refused.fields["expected"]), (&W.into(), &V.into()));
    let quarantined = store.quarantined().pop().unwrap();
    let content = quarantined.content.unwrap().content.to_vec();
    assert_eq!(Some(String::from_utf8(content).unwrap()), before);
    let reason = refused.fields["message"].as_str().unwrap().to_owned();
    assert_eq!(quarantined.reason, reason);
    reason
}

#[tokio::test(start_paused = true)]
async fn state_of_unknown_version_is_quarantined() {
    assert_eq!(refusal_reason::<1, 3>().await, "there is no migration from 1 to 3");
    assert_eq!(refusal_reason::<3, 1>().await, "version 3 is newer than 1, the newest one known");
    assert_eq!(refusal_reason::<1, 4>().await, "reading it panicked: on purpose");
}

#[tokio::test(start_paused = true)]
async fn state_that_does_not_decode_is_quarantined() {
    let store = store();
    store.save(&path(), PendingSnapshot::new(1, || Ok(br#"{"sum":"three"}"#.to_vec())));
    let (runtime, counter) = start::<1>(store.clone()).await;
    assert_eq!(total(&counter).await, 0);
    let refused = records_of(&runtime, "state_refused").await.pop().unwrap();
    assert!(refused.fields["message"].as_str().unwrap().contains("missing field `total`"));
    assert_eq!(store.quarantined().len(), 1);
}

/// Runs on the computer's clock: a paused clock does not advance while a thread is blocked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abandoned_incarnation_stores_no_state() {
    let store = store();
    let mut root = SupervisorSpec::new("root");
    let kill_timeout = Duration::from_millis(10);
    let policy = ChildPolicy { shutdown: Shutdown::Kill, kill_timeout, ..restart_often() };
    let counter = root.child(durable_child().policy(policy)).unwrap();
    let runtime = Runtime::builder().state_store(store.clone()).start(root).await.unwrap();
    counter.cast(DurableCounterMessage::Up).await.unwrap();
    assert_eq!(total(&counter).await, 1);
    let mut events = JournalFollower::from_now(&runtime);
    let (release, gate) = sync_channel(1);
    counter.cast(DurableCounterMessage::BlockThread(Mutex::new(gate))).await.unwrap();
    while counter.backlog() > 0 {
        tokio::task::yield_now().await;
    }
    let _ = runtime.root().stop("counter").await;
    drop(release);
    events.next("abandoned_ended").await;
    assert_eq!(stored(&store).as_deref(), Some(r#"{"total":1,"migrated":false}"#));
}

#[tokio::test(start_paused = true)]
async fn delete_drops_state_only_when_it_succeeds() {
    let store = store();
    let (runtime, counter) = start::<1>(store.clone()).await;
    counter.cast(DurableCounterMessage::Up).await.unwrap();
    assert_eq!(total(&counter).await, 1);
    runtime.root().delete("counter").await.unwrap_err();
    assert!(stored(&store).is_some());
    runtime.root().stop("counter").await.unwrap();
    runtime.root().delete("counter").await.unwrap();
    assert_eq!(stored(&store), None);
}

#[tokio::test(start_paused = true)]
async fn unreadable_state_is_refused_without_a_version() {
    let store = store();
    store.save(&path(), PendingSnapshot::new(1, || Err("the disk ate it".into())));
    let (runtime, counter) = start::<1>(store).await;
    assert_eq!(total(&counter).await, 0);
    let refused = records_of(&runtime, "state_refused").await.pop().unwrap();
    assert_eq!(refused.fields["version"], serde_json::Value::Null);
    assert_eq!(refused.fields["message"], "the snapshot cannot be encoded: the disk ate it");
}

#[tokio::test(start_paused = true)]
async fn stop_keeps_state_and_remove_drops_it() {
    let store = store();
    let (runtime, counter) = start::<1>(store.clone()).await;
    counter.cast(DurableCounterMessage::Up).await.unwrap();
    runtime.root().stop("counter").await.unwrap();
    assert!(stored(&store).is_some());
    runtime.root().start("counter").await.unwrap();
    assert_eq!(total(&counter).await, 1);
    runtime.root().remove("counter").await.unwrap();
    assert_eq!(stored(&store), None);
    let counter = runtime.root().add(durable_child()).await.unwrap();
    assert_eq!(total(&counter).await, 0);
}

#[tokio::test(start_paused = true)]
async fn remove_supervisor_drops_descendant_states() {
    let store = store();
    let runtime = start_empty(&store).await;
    let pool = runtime.root().add_supervisor(SupervisorSpec::new("pool")).await.unwrap();
    let counter = pool.add(durable_child()).await.unwrap();
    counter.cast(DurableCounterMessage::Up).await.unwrap();
    assert_eq!(total(&counter).await, 1);
    assert!(store.load(&pool_path()).unwrap().is_some());
    runtime.root().remove("pool").await.unwrap();
    assert_eq!(store.load(&pool_path()), Ok(None));
}

#[tokio::test(start_paused = true)]
async fn add_failure_keeps_the_stored_state() {
    let store = store();
    count_to(&store, 3).await;
    let runtime = start_empty(&store).await;
    let refusing = Child::new("counter", DurableCounter::rejecting(3)).durable();
    let refused = runtime.root().add(refusing).await.unwrap_err();
    assert!(matches!(refused, AdminError::StartFailed { message, .. } if message == "not from this"));
    let counter = runtime.root().add(durable_child()).await.unwrap();
    assert_eq!(total(&counter).await, 3);
}

#[tokio::test(start_paused = true)]
async fn removed_child_restored_by_supervisor_starts_fresh() {
    let store = store();
    let strict = SupervisorPolicy {
        intensity: Some(Budget { restarts_max: 0, window: Duration::from_secs(1) }),
        ..SupervisorPolicy::default()
    };
    let mut root = SupervisorSpec::new("root");
    let mut pool = SupervisorSpec::new("pool").policy(strict).as_child(restart_often());
    let counter = pool.child(durable_child()).unwrap();
    let other =
        pool.child(Child::new("other", DurableCounter::<1>::default()).policy(restart_often())).unwrap();
    let pool = root.supervisor(pool).unwrap();
    let runtime = Runtime::builder().state_store(store.clone()).start(root).await.unwrap();
    counter.cast(DurableCounterMessage::Up).await.unwrap();
    assert_eq!(total(&counter).await, 1);
    pool.remove("counter").await.unwrap();
    let mut events = JournalFollower::from_now(&runtime);
    other.cast(DurableCounterMessage::Panic).await.unwrap();
    while events.next("actor_ready").await.actor != "root/pool" {}
    counter.cast(DurableCounterMessage::Up).await.unwrap();
    assert_eq!(total(&counter).await, 1);
    runtime.shutdown().await;
    assert!(store.load(&pool_path()).unwrap().is_some());
}

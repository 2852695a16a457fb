//! Tests durable state through the public API, on a paused clock, in a store in memory.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets the unexpected should say so at once"
)]

#[path = "state/counter.rs"]
mod counter;

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use counter::{DurableCounter, DurableCounterMessage, records_of, restart_often, start, start_with, total};
use mainstay_runtime::journal::Delivery;
use mainstay_runtime::policy::{Budget, ChildPolicy, Shutdown, SupervisorPolicy};
use mainstay_runtime::state::{MemoryStore, PendingSnapshot, StateStore};
use mainstay_runtime::{
    ActorPath, AdminError, Child, Context, Failure, Runtime, RuntimeStartError, SupervisorSpec, Worker,
};
use parking_lot::Mutex;

fn store() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new())
}

fn path() -> ActorPath {
    ActorPath::root("root").unwrap().child("counter").unwrap()
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
async fn state_survives_the_runtime_and_its_load_is_recorded() {
    let store = store();
    count_to(&store, 3).await;
    let (runtime, counter) = start::<1>(store).await;
    assert_eq!(total(&counter).await, 3);
    let loaded = records_of(&runtime, "state_loaded").await;
    assert_eq!((loaded.len(), loaded[0].actor.as_str()), (1, "root/counter"));
    assert_eq!(loaded[0].fields["version"], 1);
}

/// Adds ten when it stops.
struct AddsOnStop;

impl Worker for AddsOnStop {
    type Message = DurableCounterMessage;
    type State = u64;
    type Snapshot = u64;

    async fn start(&self, _: &mut Context<DurableCounterMessage>, kept: Option<u64>) -> Result<u64, Failure> {
        Ok(kept.unwrap_or(0))
    }

    async fn handle(
        &self,
        _: &mut Context<DurableCounterMessage>,
        message: DurableCounterMessage,
        count: &mut u64,
    ) -> Result<(), Failure> {
        if let DurableCounterMessage::Get(reply) = message {
            reply.send(*count);
        }
        Ok(())
    }

    fn snapshot(&self, count: &u64) -> Option<u64> {
        Some(*count)
    }

    async fn stop(&self, _: &mut Context<DurableCounterMessage>, count: &mut u64) {
        *count += 10;
    }
}

#[tokio::test(start_paused = true)]
async fn state_changed_in_stop_is_kept() {
    let mut root = SupervisorSpec::new("root");
    let closing = root.child(Child::new("closing", AddsOnStop)).unwrap();
    let runtime = Runtime::builder().start(root).await.unwrap();
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
async fn stored_state_is_loaded_once_per_process() {
    let store = store();
    count_to(&store, 3).await;
    let (runtime, counter) = start::<1>(store).await;
    counter.cast(DurableCounterMessage::Up).await.unwrap();
    counter.cast(DurableCounterMessage::Panic).await.unwrap();
    assert_eq!(total(&counter).await, 4);
    assert_eq!(records_of(&runtime, "state_loaded").await.len(), 1);
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
    let mut root = SupervisorSpec::new("root");
    let durable = Child::new("counter", DurableCounter::<1>::default()).policy(restart_often()).durable();
    let counter = root.child(durable).unwrap();
    let _runtime = Runtime::builder().start(root).await.unwrap();
    counter.cast(DurableCounterMessage::Up).await.unwrap();
    counter.cast(DurableCounterMessage::Panic).await.unwrap();
    assert_eq!(total(&counter).await, 1);
}

#[tokio::test(start_paused = true)]
async fn checkpoint_discarded_is_quarantined_in_the_store() {
    let store = store();
    let counter = DurableCounter::<1> { rejected_total: Some(2) };
    let (runtime, counter) = start_with(store.clone(), counter).await.unwrap();
    counter.cast(DurableCounterMessage::Up).await.unwrap();
    counter.cast(DurableCounterMessage::Up).await.unwrap();
    counter.cast(DurableCounterMessage::Panic).await.unwrap();
    assert_eq!(total(&counter).await, 0);
    assert_eq!(records_of(&runtime, "checkpoint_discarded").await.len(), 1);
    runtime.shutdown().await;
    let asides = store.quarantined();
    assert_eq!(asides.len(), 1);
    assert_eq!(asides[0].reason, "it crashed every incarnation that began from it");
    assert_eq!(&*asides[0].content.as_ref().unwrap().content, br#"{"total":2,"migrated":false}"#);
    let (runtime, counter) = start::<1>(store).await;
    assert_eq!(total(&counter).await, 0);
    drop(runtime);
}

#[tokio::test(start_paused = true)]
async fn stored_state_that_fails_starts_is_quarantined() {
    let store = store();
    count_to(&store, 3).await;
    for _ in 0..3 {
        let counter = DurableCounter::<1> { rejected_total: Some(3) };
        let Err(RuntimeStartError::ChildFailed { message, .. }) = start_with(store.clone(), counter).await
        else {
            panic!("it started");
        };
        assert_eq!(message, "not from this");
    }
    let counter = DurableCounter::<1> { rejected_total: Some(3) };
    let (runtime, counter) = start_with(store.clone(), counter).await.unwrap();
    assert_eq!(total(&counter).await, 0);
    let refused = records_of(&runtime, "state_refused").await;
    assert_eq!(refused[0].fields["reason"], "3 starts in a row from it failed");
    assert_eq!(store.quarantined().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn start_success_clears_failed_start_count() {
    let store = store();
    count_to(&store, 3).await;
    for _ in 0..4 {
        for _ in 0..2 {
            let counter = DurableCounter::<1> { rejected_total: Some(3) };
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
    let aside = store.quarantined().pop().unwrap();
    let content = aside.content.unwrap().content.to_vec();
    assert_eq!(Some(String::from_utf8(content).unwrap()), before);
    let reason = refused.fields["reason"].as_str().unwrap().to_owned();
    assert_eq!(aside.reason, reason);
    reason
}

#[tokio::test(start_paused = true)]
async fn state_of_unknown_version_is_quarantined() {
    assert_eq!(refusal_reason::<1, 3>().await, "nobody wrote a way from 1 to 3");
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
    assert!(refused.fields["reason"].as_str().unwrap().contains("missing field `total`"));
    assert_eq!(store.quarantined().len(), 1);
}

/// Runs on the machine's clock: a paused clock does not advance while a thread is blocked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abandoned_incarnation_stores_no_state() {
    let store = store();
    let mut root = SupervisorSpec::new("root");
    let kill_timeout = Duration::from_millis(10);
    let policy = ChildPolicy { shutdown: Shutdown::Kill, kill_timeout, ..restart_often() };
    let child = Child::new("counter", DurableCounter::<1>::default()).policy(policy).durable();
    let counter = root.child(child).unwrap();
    let runtime = Runtime::builder().state_store(store.clone()).start(root).await.unwrap();
    counter.cast(DurableCounterMessage::Up).await.unwrap();
    assert_eq!(total(&counter).await, 1);
    let mut story = runtime.journal().subscribe_after(runtime.journal().cursor());
    let (release, gate) = sync_channel(1);
    counter.cast(DurableCounterMessage::BlockThread(Mutex::new(gate))).await.unwrap();
    while counter.backlog() > 0 {
        tokio::task::yield_now().await;
    }
    let _ = runtime.root().stop("counter").await;
    drop(release);
    loop {
        let Delivery::Event(record) = story.next().await else { panic!("events are missing") };
        if record.kind == "abandoned_ended" {
            break;
        }
    }
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
    assert_eq!(refused.fields["reason"], "the snapshot cannot be encoded: the disk ate it");
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
    let again = Child::new("counter", DurableCounter::<1>::default()).durable();
    let counter = runtime.root().add(again).await.unwrap();
    assert_eq!(total(&counter).await, 0);
}

#[tokio::test(start_paused = true)]
async fn remove_supervisor_drops_descendant_states() {
    let store = store();
    let runtime =
        Runtime::builder().state_store(store.clone()).start(SupervisorSpec::new("root")).await.unwrap();
    let pool = runtime.root().add_supervisor(SupervisorSpec::new("pool")).await.unwrap();
    let counter = pool.add(Child::new("counter", DurableCounter::<1>::default()).durable()).await.unwrap();
    counter.cast(DurableCounterMessage::Up).await.unwrap();
    assert_eq!(total(&counter).await, 1);
    let below = ActorPath::root("root").unwrap().child("pool").unwrap().child("counter").unwrap();
    assert!(store.load(&below).unwrap().is_some());
    runtime.root().remove("pool").await.unwrap();
    assert_eq!(store.load(&below), Ok(None));
}

#[tokio::test(start_paused = true)]
async fn add_failure_keeps_the_stored_state() {
    let store = store();
    count_to(&store, 3).await;
    let runtime =
        Runtime::builder().state_store(store.clone()).start(SupervisorSpec::new("root")).await.unwrap();
    let refusing = Child::new("counter", DurableCounter::<1> { rejected_total: Some(3) }).durable();
    let refused = runtime.root().add(refusing).await.unwrap_err();
    assert!(matches!(refused, AdminError::StartFailed { message, .. } if message == "not from this"));
    let counter =
        runtime.root().add(Child::new("counter", DurableCounter::<1>::default()).durable()).await.unwrap();
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
    let counter = pool
        .child(
            Child::new("counter", DurableCounter::<1> { rejected_total: None })
                .policy(restart_often())
                .durable(),
        )
        .unwrap();
    let other = pool
        .child(Child::new("other", DurableCounter::<1> { rejected_total: None }).policy(restart_often()))
        .unwrap();
    let pool = root.supervisor(pool).unwrap();
    let runtime = Runtime::builder().state_store(store.clone()).start(root).await.unwrap();
    counter.cast(DurableCounterMessage::Up).await.unwrap();
    assert_eq!(total(&counter).await, 1);
    pool.remove("counter").await.unwrap();
    let mut story = runtime.journal().subscribe_after(runtime.journal().cursor());
    other.cast(DurableCounterMessage::Panic).await.unwrap();
    loop {
        let Delivery::Event(record) = story.next().await else { panic!("events are missing") };
        if record.kind == "actor_ready" && record.actor == "root/pool" {
            break;
        }
    }
    counter.cast(DurableCounterMessage::Up).await.unwrap();
    assert_eq!(total(&counter).await, 1);
    runtime.shutdown().await;
    let path =
        ActorPath::root("root").and_then(|root| root.child("pool")).and_then(|pool| pool.child("counter"));
    assert!(store.load(&path.unwrap()).unwrap().is_some());
}

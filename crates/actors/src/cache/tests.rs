//! The cache under its supervisor, on a paused clock; and random traces of it:
//!
//! - `generator` makes their parts.
//! - `interleavings` runs them step by step, beside `oracle`, which says what the answers must be.
//! - `threads` runs the actor on several threads.

mod generator;
mod interleavings;
mod oracle;
mod threads;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use mainstay_runtime::{
    Address, Child, Runtime, RuntimeBuilder, SupervisorSpec,
    clock::Clock,
    journal::{Journal, JournalOptions},
    policy::{ChildPolicy, Delay},
};
use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::{
    sync::oneshot,
    task::{JoinSet, yield_now},
    time::{advance, sleep},
};

use self::{
    generator::{
        InvalidationCase, InvalidationPart, KEYS, KeyIndex, SourceToken, VersionFloors, age_max,
        entry_options, invalidation_case, key, ms, pause,
    },
    oracle::{ObservedLookup, ObservedResult, Oracle, OracleEntry, OracleLoad},
};
use super::*;
use crate::{
    error::{Error, Reason},
    standstill::WallClock,
    tests::{block_on_paused, next_event, next_record, s},
};

const OPTIONS: EntryOptions =
    EntryOptions { ttl: s(60), stale_for: s(0), negative_ttl: s(1), depends_on_connection: false };

/// Options that keep nothing.
const NO_OPTIONS: EntryOptions = EntryOptions { ttl: s(0), negative_ttl: s(0), ..OPTIONS };

struct CacheActorFixture {
    cache: CacheHandle,
    actor: Address<CacheMessage>,
    runtime: Runtime,
}

impl CacheActorFixture {
    async fn new() -> Self {
        Self::with_cache(CacheHandle::new(1 << 20, OPTIONS)).await
    }

    async fn with_cache(cache: CacheHandle) -> Self {
        Self::with(cache, Runtime::builder()).await
    }

    async fn with(cache: CacheHandle, builder: RuntimeBuilder) -> Self {
        let mut root = SupervisorSpec::new("root");
        let upkeep = ChildPolicy { delay: Delay::NONE, budget: None, ..ChildPolicy::default() };
        let child = Child::new("cache", CacheActor { cache: cache.clone() }).policy(upkeep);
        let actor = root.child(child).unwrap();
        let runtime = builder.start(root).await.unwrap();
        Self { cache, actor, runtime }
    }

    fn put(&self, key: &str, text: &'static str) {
        self.cache.put(key, value(text), OPTIONS);
    }

    fn get(&self, key: &str) -> Option<String> {
        self.cache.get(key, None).map(|value| text(&value))
    }

    async fn invalidate(&self, pattern: Pattern) -> u64 {
        self.invalidate_by(Invalidation::from_pattern(&pattern).unwrap()).await
    }

    async fn invalidate_by(&self, invalidation: Invalidation) -> u64 {
        let outcome = self.actor.call(|reply| CacheMessage::Invalidate { invalidation, reply: Some(reply) });
        outcome.await.unwrap()
    }

    /// Loads `key` with a load that returns `text`. Returns the value, and whether the load ran.
    async fn load(
        &self,
        key: &str,
        options: EntryOptions,
        says: &'static str,
    ) -> (Result<String, Error>, bool) {
        let ran = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&ran);
        let load = move || async move {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(Loaded::new(value(says)))
        };
        let answer = self.cache.get_or_load(key, None, options, load).await;
        (answer.map(|answer| text(&answer.value)), ran.load(Ordering::Relaxed) == 1)
    }

    /// Starts a load of `key` that ends with the result that it is sent.
    async fn begin_load(&self, key: &str, options: EntryOptions) -> ControlledLoad {
        let (end, outcome) = oneshot::channel::<Result<&'static str, Error>>();
        let (cache, key) = (self.cache.clone(), key.to_owned());
        let loads = cache.stats().loads;
        let mut waiting = JoinSet::new();
        waiting.spawn({
            let cache = cache.clone();
            async move {
                let load = || async move {
                    let outcome = outcome.await.unwrap_or_else(|_| Err(Error::new(Reason::Internal)));
                    outcome.map(|text| Loaded::new(value(text)))
                };
                cache.get_or_load(&key, None, options, load).await.map(|answer| text(&answer.value))
            }
        });
        while cache.stats().loads == loads {
            yield_now().await;
        }
        ControlledLoad { finish_sender: end, waiting }
    }
}

struct ControlledLoad {
    finish_sender: oneshot::Sender<Result<&'static str, Error>>,
    waiting: JoinSet<Result<String, Error>>,
}

impl ControlledLoad {
    async fn finish(mut self, with: Result<&'static str, Error>) -> Result<String, Error> {
        self.finish_sender.send(with).unwrap();
        self.waiting.join_next().await.unwrap().unwrap()
    }
}

fn value(text: &'static str) -> CacheValue {
    CacheValue::Bytes(Bytes::from_static(text.as_bytes()))
}

fn text(value: &CacheValue) -> String {
    match value {
        CacheValue::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        CacheValue::Response(_) => panic!("not put here"),
    }
}

fn ok(text: &str) -> Result<String, Error> {
    Ok(text.to_owned())
}

#[tokio::test(start_paused = true)]
async fn entries_age_during_sleep() {
    let clock = Arc::new(WallClock(Mutex::new("2026-01-01T00:00:00Z".parse().unwrap())));
    let journal = Journal::in_memory("boot", Arc::clone(&clock) as Arc<dyn Clock>, JournalOptions::default());
    let mut events = journal.subscribe();
    let cache = CacheHandle::new(1 << 20, OPTIONS);
    let fixture = CacheActorFixture::with(cache, Runtime::builder().journal(journal)).await;
    fixture.put("n:a", "old");
    fixture.cache.put("n:b", value("long"), EntryOptions { ttl: s(7200), ..OPTIONS });
    clock.advance(s(3600));
    // Only the sleep moved the wall clock, and the wait for the check moved the other clock.
    let CacheAged { slept_ms, .. } = next_event(&mut events).await;
    assert!((3_597_000..=3_600_000).contains(&slept_ms), "{slept_ms}");
    assert_eq!((fixture.get("n:a"), fixture.get("n:b")), (None, Some("long".to_owned())));
    clock.advance(s(3700));
    sleep(s(5)).await;
    assert_eq!(fixture.get("n:b"), None);
    fixture.runtime.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn invalidation_during_load_discards_its_value() {
    let fixture = CacheActorFixture::new().await;
    let load = fixture.begin_load("n:a", OPTIONS).await;
    assert_eq!(fixture.invalidate(Pattern::Key("n:a".to_owned())).await, 0);
    let (newer, ran) = fixture.load("n:a", OPTIONS, "new").await;
    assert_eq!((newer, ran), (ok("new"), true), "the load from before is not joined");
    assert_eq!(load.finish(Ok("old")).await, ok("old"), "who asked before gets it");
    assert_eq!(fixture.get("n:a").as_deref(), Some("new"));
    assert_eq!(fixture.cache.stats().loads_superseded, 1);
}

#[tokio::test(start_paused = true)]
async fn concurrent_misses_load_once() {
    let fixture = CacheActorFixture::new().await;
    let ran = Arc::new(AtomicU32::new(0));
    let asks = (0..100).map(|_| {
        let ran = Arc::clone(&ran);
        fixture.cache.get_or_load("n:a", None, OPTIONS, move || async move {
            ran.fetch_add(1, Ordering::Relaxed);
            sleep(s(1)).await;
            Ok(Loaded::new(value("v")))
        })
    });
    let answers = join_all(asks).await;
    assert!(answers.iter().all(|answer| text(&answer.as_ref().unwrap().value) == "v"));
    assert_eq!(ran.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn load_continues_until_last_waiter_leaves() {
    let fixture = CacheActorFixture::new().await;
    let mut load = fixture.begin_load("n:a", OPTIONS).await;
    let cache = fixture.cache.clone();
    let mut second = JoinSet::new();
    second.spawn(async move {
        let never = || async { Err(Error::new(Reason::Internal)) };
        cache.get_or_load("n:a", None, OPTIONS, never).await.map(|answer| text(&answer.value))
    });
    yield_now().await;
    load.waiting.shutdown().await;
    load.finish_sender.send(Ok("v")).unwrap();
    assert_eq!(second.join_next().await.unwrap().unwrap(), ok("v"));

    let mut load = fixture.begin_load("n:b", OPTIONS).await;
    load.waiting.shutdown().await;
    assert!(load.finish_sender.is_closed(), "nobody waits, and so nothing is loaded");
    assert_eq!(fixture.load("n:b", OPTIONS, "v").await, (ok("v"), true));
}

#[tokio::test(start_paused = true)]
async fn load_panic_is_error_for_all_waiters() {
    let fixture = CacheActorFixture::new().await;
    let asks = (0..3).map(|_| {
        fixture.cache.get_or_load("n:a", None, OPTIONS, || async { panic!("a loader of the test's") })
    });
    for answer in join_all(asks).await {
        assert_eq!(answer.unwrap_err().reason, Reason::Crashed);
    }
    assert_eq!(fixture.load("n:b", OPTIONS, "v").await, (ok("v"), true));
}

#[tokio::test(start_paused = true)]
async fn actor_crash_empties_cache_and_discards_loads() {
    let fixture = CacheActorFixture::new().await;
    fixture.put("n:a", "v");
    let load = fixture.begin_load("n:b", OPTIONS).await;
    drop(fixture.actor.inject_panic().unwrap());
    assert_eq!(fixture.invalidate(Pattern::All).await, 0, "it is back, and there was nothing left");
    assert_eq!(load.finish(Ok("old")).await, ok("old"));
    assert_eq!((fixture.get("n:a"), fixture.get("n:b")), (None, None));
    assert_eq!(fixture.load("n:a", OPTIONS, "v").await, (ok("v"), true));
    assert!(fixture.get("n:a").is_some());
}

/// On several threads the caller may continue before the actor's state is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn actor_crash_reply_comes_after_cache_is_empty() {
    for _ in 0..20 {
        let fixture = CacheActorFixture::new().await;
        let keys: Vec<String> = (0..1000).map(|n| format!("n:{n}")).collect();
        keys.iter().for_each(|key| fixture.put(key, "v"));
        let invalidation = Invalidation::from_predicate("one that cannot", |_| panic!("a rule that cannot"));
        let message = |reply| CacheMessage::Invalidate { invalidation, reply: Some(reply) };
        assert!(fixture.actor.call(message).await.is_err());
        assert_eq!(keys.iter().filter(|key| fixture.get(key).is_some()).count(), 0);
        fixture.runtime.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn cache_without_actor_stores_nothing_and_still_loads() {
    let fixture = CacheActorFixture::new().await;
    fixture.put("n:a", "v");
    fixture.runtime.shutdown().await;
    assert_eq!(fixture.get("n:a"), None);
    fixture.put("n:a", "v");
    assert_eq!(fixture.get("n:a"), None);
    assert_eq!(fixture.load("n:a", OPTIONS, "v").await, (ok("v"), true));
    assert_eq!(fixture.load("n:a", OPTIONS, "v").await, (ok("v"), true));
}

#[tokio::test(start_paused = true)]
async fn size_is_bounded_and_oversized_value_evicts_nothing() {
    let fixture = CacheActorFixture::new().await;
    let filler: &'static str = Box::leak("x".repeat(10_000).into_boxed_str());
    for n in 0..500 {
        fixture.put(&format!("n:{n}"), filler);
    }
    let before = fixture.cache.stats();
    assert!(before.entries > 50 && before.bytes <= 1 << 20, "{before:?}");
    assert!(before.evictions >= 500 - before.entries, "{before:?}");
    for giant in [900_000, 1 << 20, 3 << 20] {
        let giant: &'static str = Box::leak("x".repeat(giant).into_boxed_str());
        fixture.put("n:giant", giant);
        let after = fixture.cache.stats();
        assert!(after.entries >= before.entries && after.bytes <= 1 << 20, "{after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn predicate_invalidation_records_its_name() {
    let fixture = CacheActorFixture::new().await;
    for key in ["n:1", "n:2", "n:11"] {
        fixture.put(key, "v");
    }
    let mut events = fixture.runtime.journal().subscribe();
    let by = Invalidation::from_predicate("those that end with 1", |key| key.ends_with('1'));
    assert_eq!(fixture.invalidate_by(by).await, 2);
    assert_eq!(fixture.get("n:2").as_deref(), Some("v"));
    let outcome = next_record(&mut events, "cache_invalidated").await.fields;
    let expected = serde_json::json!({"by": "predicate", "pattern": "those that end with 1", "entries": 2});
    assert_eq!(serde_json::Value::Object(outcome), expected);
}

#[tokio::test(start_paused = true)]
async fn file_change_without_entries_records_no_event() {
    let fixture = CacheActorFixture::new().await;
    let changed = |path: &str| Invalidation {
        by: InvalidatedBy::Files,
        pattern: path.to_owned(),
        selections: vec![Selection::key(&format!("{}{path}", key::FILE_PREFIX))],
    };
    fixture.put("file:/kept", "v");
    assert_eq!(fixture.invalidate_by(changed("/other")).await, 0);
    assert_eq!(fixture.invalidate_by(changed("/kept")).await, 1);
    assert_eq!(fixture.invalidate_by(changed("/kept")).await, 0);
    assert_eq!(fixture.invalidate(Pattern::Key("n:none".to_owned())).await, 0);
    let mut events = fixture.runtime.journal().subscribe();
    // The last is a person's, and the journal has to record it though it dropped nothing.
    for pattern in ["/kept", "n:none"] {
        assert_eq!(next_event::<CacheInvalidated>(&mut events).await.pattern, pattern);
    }
}

#[tokio::test(start_paused = true)]
async fn load_with_age_counts_from_its_origin() {
    let fixture = CacheActorFixture::new().await;
    let load = || async { Ok(Loaded::new(value("v")).with_age(s(3600)).with_ttl(s(3610))) };
    fixture.cache.get_or_load("n:a", None, OPTIONS, load).await.unwrap();
    assert_eq!(fixture.cache.stats().oldest_ms, Some(3_600_000));
    advance(s(9)).await;
    assert!(fixture.cache.get("n:a", Some(s(3609))).is_some());
    assert!(fixture.cache.get("n:a", Some(s(3608))).is_none(), "it is older than that");
    advance(s(1)).await;
    assert_eq!(fixture.get("n:a"), None);
}

/// Returns the value that a revalidation of `n:a` gets.
async fn value_for_revalidation(fixture: &CacheActorFixture) -> Option<String> {
    let (sender, outcome) = oneshot::channel();
    let load = |held: Option<CacheValue>| async move {
        sender.send(held.as_ref().map(text)).unwrap();
        Err(Error::new(Reason::ServerError))
    };
    let none_kept = EntryOptions { negative_ttl: s(0), ..OPTIONS };
    fixture.cache.get_or_revalidate("n:a", Some(s(0)), none_kept, load).await.unwrap_err();
    outcome.await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn revalidatable_value_outlives_ttl_for_revalidation_only() {
    let fixture = CacheActorFixture::new().await;
    let load = || async { Ok(Loaded::new(value("v")).with_revalidation()) };
    fixture.cache.get_or_load("n:a", None, OPTIONS, load).await.unwrap();
    advance(s(100_000)).await;
    assert_eq!(fixture.get("n:a"), None);
    assert_eq!(value_for_revalidation(&fixture).await.as_deref(), Some("v"));
    let expected = Some("v");
    assert_eq!(value_for_revalidation(&fixture).await.as_deref(), expected, "a renewal that fails leaves it");
    assert_eq!(fixture.load("n:a", OPTIONS, "new").await, (ok("new"), true));
    assert_eq!(fixture.get("n:a").as_deref(), Some("new"));
    advance(s(60)).await;
    assert_eq!(fixture.get("n:a"), None);
    assert_eq!(
        value_for_revalidation(&fixture).await,
        None,
        "what cannot be renewed goes when its time is over"
    );
}

#[tokio::test(start_paused = true)]
async fn invalidation_ends_revalidation_of_the_entry() {
    let fixture = CacheActorFixture::new().await;
    fixture.put("n:a", "old");
    advance(s(1)).await;
    assert_eq!(value_for_revalidation(&fixture).await.as_deref(), Some("old"));
    let (begun, has_begun) = oneshot::channel();
    let (end, ends) = oneshot::channel::<()>();
    let renew = fixture.cache.get_or_revalidate("n:a", Some(s(0)), OPTIONS, |held| async move {
        begun.send(()).unwrap();
        ends.await.unwrap();
        Ok(Loaded::new(held.unwrap()))
    });
    let invalidate = async {
        has_begun.await.unwrap();
        assert_eq!(fixture.invalidate(Pattern::All).await, 1);
        end.send(()).unwrap();
    };
    let (renewed, ()) = tokio::join!(renew, invalidate);
    assert_eq!(text(&renewed.unwrap().value), "old", "it had asked before");
    assert_eq!(fixture.get("n:a"), None);
    assert_eq!(value_for_revalidation(&fixture).await, None);
}

#[tokio::test(start_paused = true)]
async fn replacing_load_drops_entry_and_is_not_stored() {
    let fixture = CacheActorFixture::new().await;
    fixture.put("n:a", "old");
    advance(s(1)).await;
    let load = |says: &'static str| move || async move { Ok(Loaded::new(value(says)).replacing_stored()) };
    let outcome = fixture.cache.get_or_load("n:a", Some(s(0)), OPTIONS, load("new")).await.unwrap();
    assert_eq!((text(&outcome.value), outcome.is_cached), ("new".to_owned(), false));
    assert_eq!((fixture.get("n:a"), fixture.cache.stats().entries), (None, 0));
    // A superseded load drops nothing.
    fixture.put("n:a", "old");
    advance(s(1)).await;
    let (begun, has_begun) = oneshot::channel();
    let (end, ends) = oneshot::channel::<()>();
    let asks = fixture.cache.get_or_load("n:a", Some(s(0)), OPTIONS, || async move {
        begun.send(()).unwrap();
        ends.await.unwrap();
        Ok(Loaded::new(value("new")).replacing_stored())
    });
    let puts = async {
        has_begun.await.unwrap();
        fixture.put("n:a", "newest");
        end.send(()).unwrap();
    };
    let (outcome, ()) = tokio::join!(asks, puts);
    assert_eq!(text(&outcome.unwrap().value), "new");
    assert_eq!(fixture.get("n:a").as_deref(), Some("newest"));
}

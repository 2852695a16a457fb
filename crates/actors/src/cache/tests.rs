//! The cache under its supervisor, on a paused clock; and random traces of it:
//!
//! - `draws`: what they are made of
//! - `steps`: step by step, beside `oracle`, which says what the answers must be
//! - `traffic`: through the actor, by tasks; `threads`: on several threads

mod draws;
mod oracle;
mod steps;
mod threads;
mod traffic;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use mainstay_runtime::clock::Clock;
use mainstay_runtime::journal::{Delivery, Event, Journal, JournalConfig};
use mainstay_runtime::policy::{ChildPolicy, Delay};
use mainstay_runtime::{Address, Child, Runtime, RuntimeBuilder, SupervisorSpec};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{advance, sleep};

use super::*;
use crate::error::{Error, Reason};
use crate::sleep::WallClock;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const KEEPING: Keeping = Keeping { ttl: s(60), stale_for: s(0), failures_for: s(1), is_of_the_link: false };

struct Scene {
    cache: CacheHandle,
    actor: Address<CacheMessage>,
    runtime: Runtime,
}

impl Scene {
    async fn new() -> Self {
        Self::of(CacheHandle::new(1 << 20, KEEPING)).await
    }

    async fn of(cache: CacheHandle) -> Self {
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
        self.cache.put(key, value(text), KEEPING);
    }

    fn get(&self, key: &str) -> Option<String> {
        self.cache.get(key, None).map(|value| text(&value))
    }

    async fn invalidate(&self, pattern: Pattern) -> u64 {
        self.order(Invalidation::by_pattern(&pattern).unwrap()).await
    }

    async fn order(&self, invalidation: Invalidation) -> u64 {
        let told = self.actor.call(|reply| CacheMessage::Invalidate { invalidation, reply: Some(reply) });
        told.await.unwrap()
    }

    /// What `key` is, by a load that says `text`; and whether the load ran.
    async fn loaded(&self, key: &str, keeping: Keeping, says: &'static str) -> (Result<String, Error>, bool) {
        let ran = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&ran);
        let load = move || async move {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(Loaded::new(value(says)))
        };
        let answer = self.cache.get_or_load(key, None, keeping, load).await;
        (answer.map(|answer| text(&answer.value)), ran.load(Ordering::Relaxed) == 1)
    }

    /// A load of `key` that has begun, and ends with what it is sent.
    async fn begin(&self, key: &str, keeping: Keeping) -> Open {
        let (end, told) = oneshot::channel::<Result<&'static str, Error>>();
        let (cache, key) = (self.cache.clone(), key.to_owned());
        let loads = cache.stats().loads;
        let mut waiting = JoinSet::new();
        waiting.spawn({
            let cache = cache.clone();
            async move {
                let load = || async move {
                    let told = told.await.unwrap_or_else(|_| Err(Error::new(Reason::Internal)));
                    told.map(|text| Loaded::new(value(text)))
                };
                cache.get_or_load(&key, None, keeping, load).await.map(|answer| text(&answer.value))
            }
        });
        while cache.stats().loads == loads {
            tokio::task::yield_now().await;
        }
        Open { end, waiting }
    }
}

struct Open {
    end: oneshot::Sender<Result<&'static str, Error>>,
    waiting: JoinSet<Result<String, Error>>,
}

impl Open {
    async fn ends(mut self, with: Result<&'static str, Error>) -> Result<String, Error> {
        self.end.send(with).unwrap();
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
async fn what_is_kept_grows_old_while_the_machine_sleeps() {
    let clock = Arc::new(WallClock(Mutex::new("2026-01-01T00:00:00Z".parse().unwrap())));
    let journal = Journal::in_memory("boot", Arc::clone(&clock) as Arc<dyn Clock>, JournalConfig::default());
    let mut story = journal.subscribe_after(0);
    let cache = CacheHandle::new(1 << 20, KEEPING);
    let scene = Scene::with(cache, Runtime::builder().journal(journal)).await;
    scene.put("n:a", "old");
    scene.cache.put("n:b", value("long"), Keeping { ttl: s(7200), ..KEEPING });
    clock.pass(s(3600));
    loop {
        let Delivery::Event(event) = story.next().await else { panic!("events are missing") };
        if event.kind == CacheSlept::KIND {
            // Wall time has stood still but for the sleep, and the other clock has gone on by the wait for the look.
            let slept_ms = event.decode::<CacheSlept>().unwrap().slept_ms;
            assert!((3_597_000..=3_600_000).contains(&slept_ms), "{slept_ms}");
            break;
        }
    }
    assert_eq!((scene.get("n:a"), scene.get("n:b")), (None, Some("long".to_owned())));
    clock.pass(s(3700));
    sleep(s(5)).await;
    assert_eq!(scene.get("n:b"), None);
    scene.runtime.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_during_a_load_keeps_the_old_value_out_and_whoever_asks_after_it_loads_anew() {
    let scene = Scene::new().await;
    let load = scene.begin("n:a", KEEPING).await;
    assert_eq!(scene.invalidate(Pattern::Key("n:a".to_owned())).await, 0);
    let (newer, ran) = scene.loaded("n:a", KEEPING, "new").await;
    assert_eq!((newer, ran), (ok("new"), true), "the load from before is not joined");
    assert_eq!(load.ends(Ok("old")).await, ok("old"), "who asked before gets it");
    assert_eq!(scene.get("n:a").as_deref(), Some("new"));
    assert_eq!(scene.cache.stats().loads_overtaken, 1);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_who_miss_at_the_same_time_load_once() {
    let scene = Scene::new().await;
    let ran = Arc::new(AtomicU32::new(0));
    let asks = (0..100).map(|_| {
        let ran = Arc::clone(&ran);
        scene.cache.get_or_load("n:a", None, KEEPING, move || async move {
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
async fn when_the_first_who_asked_goes_the_load_goes_on_for_the_rest_and_with_the_last_it_is_called_off() {
    let scene = Scene::new().await;
    let mut load = scene.begin("n:a", KEEPING).await;
    let cache = scene.cache.clone();
    let mut second = JoinSet::new();
    second.spawn(async move {
        let never = || async { Err(Error::new(Reason::Internal)) };
        cache.get_or_load("n:a", None, KEEPING, never).await.map(|answer| text(&answer.value))
    });
    tokio::task::yield_now().await;
    load.waiting.shutdown().await;
    load.end.send(Ok("v")).unwrap();
    assert_eq!(second.join_next().await.unwrap().unwrap(), ok("v"));

    let mut load = scene.begin("n:b", KEEPING).await;
    load.waiting.shutdown().await;
    assert!(load.end.is_closed(), "nobody waits, and so nothing is loaded");
    assert_eq!(scene.loaded("n:b", KEEPING, "v").await, (ok("v"), true));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_shared_and_kept_for_its_time_and_a_cancellation_is_not_kept_at_all() {
    let scene = Scene::new().await;
    let failed = |reason| Err(Error::new(reason));
    let load = scene.begin("n:a", KEEPING).await;
    assert_eq!(load.ends(failed(Reason::NotFound)).await.unwrap_err().reason, Reason::NotFound);
    advance(Duration::from_millis(999)).await;
    let (told, ran) = scene.loaded("n:a", KEEPING, "v").await;
    assert_eq!((told.unwrap_err().reason, ran), (Reason::NotFound, false));
    advance(Duration::from_millis(1)).await;
    assert_eq!(scene.loaded("n:a", KEEPING, "v").await, (ok("v"), true));

    let load = scene.begin("n:b", KEEPING).await;
    assert!(load.ends(failed(Reason::Cancelled)).await.is_err());
    assert_eq!(scene.loaded("n:b", KEEPING, "v").await, (ok("v"), true));
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_took_longer_than_failures_are_kept_is_kept_from_its_end() {
    let scene = Scene::new().await;
    let load = scene.begin("n:a", KEEPING).await;
    advance(s(30)).await;
    assert!(load.ends(Err(Error::new(Reason::TimedOut))).await.is_err());
    assert!(!scene.loaded("n:a", KEEPING, "v").await.1);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_panics_is_an_error_for_all_who_wait_and_the_cache_goes_on() {
    let scene = Scene::new().await;
    let asks = (0..3).map(|_| {
        scene.cache.get_or_load("n:a", None, KEEPING, || async { panic!("a loader of the test's") })
    });
    for answer in join_all(asks).await {
        assert_eq!(answer.unwrap_err().reason, Reason::Crashed);
    }
    assert_eq!(scene.loaded("n:b", KEEPING, "v").await, (ok("v"), true));
}

#[tokio::test(start_paused = true)]
async fn freshness_obeys_the_runtimes_clock() {
    let scene = Scene::new().await;
    scene.put("n:a", "v");
    advance(Duration::from_millis(59_999)).await;
    assert!(scene.get("n:a").is_some());
    advance(Duration::from_millis(1)).await;
    assert!(scene.get("n:a").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_is_served_at_once_while_one_load_brings_a_new_one() {
    let scene = Scene::new().await;
    let keeping = Keeping { stale_for: s(10), ..KEEPING };
    scene.cache.put("n:a", value("old"), keeping);
    advance(s(60)).await;
    assert_eq!(scene.get("n:a"), None, "who only looks gets nothing stale");
    assert_eq!(scene.loaded("n:a", keeping, "new").await.0, ok("old"));
    assert_eq!(scene.loaded("n:a", keeping, "newer").await.0, ok("old"), "the same load is under way");
    tokio::task::yield_now().await;
    assert_eq!(scene.get("n:a").as_deref(), Some("new"));
    assert_eq!(scene.cache.stats().loads, 1);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_fails_leaves_the_stale_value_for_its_time_and_is_not_repeated_at_once() {
    let scene = Scene::new().await;
    let keeping = Keeping { stale_for: s(10), ..KEEPING };
    scene.cache.put("n:a", value("old"), keeping);
    advance(s(60)).await;
    let fails = || async { Err(Error::new(Reason::ServerError)) };
    let ask = || scene.cache.get_or_load("n:a", None, keeping, fails);
    assert_eq!(text(&ask().await.unwrap().value), "old");
    tokio::task::yield_now().await;
    assert_eq!(text(&ask().await.unwrap().value), "old");
    assert_eq!(scene.cache.stats().loads, 1);
    advance(s(1)).await;
    assert_eq!(text(&ask().await.unwrap().value), "old");
    tokio::task::yield_now().await;
    assert_eq!(scene.cache.stats().loads, 2);
    advance(s(9)).await;
    assert_eq!(ask().await.unwrap_err().reason, Reason::ServerError);
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_that_was_invalidated_is_served_to_nobody() {
    let scene = Scene::new().await;
    let keeping = Keeping { stale_for: s(10), ..KEEPING };
    scene.cache.put("n:a", value("old"), keeping);
    advance(s(60)).await;
    assert_eq!(scene.invalidate(Pattern::Prefix("n:".to_owned())).await, 1);
    assert_eq!(scene.loaded("n:a", keeping, "new").await, (ok("new"), true));
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_the_cache_is_cold_and_what_was_being_loaded_meanwhile_is_not_kept() {
    let scene = Scene::new().await;
    scene.put("n:a", "v");
    let load = scene.begin("n:b", KEEPING).await;
    scene.actor.cast(CacheMessage::Panic).await.unwrap();
    assert_eq!(scene.invalidate(Pattern::All).await, 0, "it is back, and there was nothing left");
    assert_eq!(load.ends(Ok("old")).await, ok("old"));
    assert_eq!((scene.get("n:a"), scene.get("n:b")), (None, None));
    assert_eq!(scene.loaded("n:a", KEEPING, "v").await, (ok("v"), true));
    assert!(scene.get("n:a").is_some());
}

/// On threads of their own, the caller may go on before the actor's state is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_told_that_the_actor_crashed_gets_nothing_from_before() {
    for _ in 0..20 {
        let scene = Scene::new().await;
        let keys: Vec<String> = (0..1000).map(|n| format!("n:{n}")).collect();
        keys.iter().for_each(|key| scene.put(key, "v"));
        let invalidation = Invalidation::by_predicate("one that cannot", |_| panic!("a rule that cannot"));
        let message = |reply| CacheMessage::Invalidate { invalidation, reply: Some(reply) };
        assert!(scene.actor.call(message).await.is_err());
        assert_eq!(keys.iter().filter(|key| scene.get(key).is_some()).count(), 0);
        scene.runtime.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn while_nobody_is_there_who_invalidates_nothing_is_kept_and_loads_still_run() {
    let scene = Scene::new().await;
    scene.put("n:a", "v");
    scene.runtime.shutdown().await;
    assert_eq!(scene.get("n:a"), None);
    scene.put("n:a", "v");
    assert_eq!(scene.get("n:a"), None);
    assert_eq!(scene.loaded("n:a", KEEPING, "v").await, (ok("v"), true));
    assert_eq!(scene.loaded("n:a", KEEPING, "v").await, (ok("v"), true));
}

#[tokio::test(start_paused = true)]
async fn the_size_is_bounded_by_bytes_and_one_giant_value_empties_nothing() {
    let scene = Scene::new().await;
    let filler: &'static str = Box::leak("x".repeat(10_000).into_boxed_str());
    for n in 0..500 {
        scene.put(&format!("n:{n}"), filler);
    }
    let before = scene.cache.stats();
    assert!(before.entries > 50 && before.bytes <= 1 << 20, "{before:?}");
    assert!(before.evictions >= 500 - before.entries, "{before:?}");
    for giant in [900_000, 1 << 20, 3 << 20] {
        let giant: &'static str = Box::leak("x".repeat(giant).into_boxed_str());
        scene.put("n:giant", giant);
        let after = scene.cache.stats();
        assert!(after.entries >= before.entries && after.bytes <= 1 << 20, "{after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_replaced_by_something_of_another_size_and_dropped_at_once_leaves_nothing_behind() {
    let scene = Scene::new().await;
    for (first, second) in [("v", "a longer one"), ("a longer one", "v")] {
        scene.put("n:a", first);
        assert_eq!(scene.cache.stats().entries, 1);
        scene.put("n:a", second);
        assert_eq!(scene.invalidate(Pattern::All).await, 1);
        let stats = scene.cache.stats();
        assert_eq!((stats.entries, stats.bytes), (0, 0));
    }
    scene.put("n:a", "v");
    let of_one = scene.cache.stats().bytes;
    assert!(of_one > 256, "{of_one}");
}

#[tokio::test(start_paused = true)]
async fn what_a_function_chooses_is_dropped_and_the_journal_says_by_which() {
    let scene = Scene::new().await;
    for key in ["n:1", "n:2", "n:11"] {
        scene.put(key, "v");
    }
    let mut events = scene.runtime.journal().subscribe_after(0);
    let by = Invalidation::by_predicate("those that end with 1", |key| key.ends_with('1'));
    assert_eq!(scene.order(by).await, 2);
    assert_eq!(scene.get("n:2").as_deref(), Some("v"));
    let told = loop {
        if let Delivery::Event(record) = events.next().await
            && record.kind == "cache_invalidated"
        {
            break record.fields;
        }
    };
    let expected = serde_json::json!({"by": "predicate", "pattern": "those that end with 1", "entries": 2});
    assert_eq!(serde_json::Value::Object(told), expected);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_files_of_which_nothing_was_kept_is_not_told() {
    let scene = Scene::new().await;
    let changed = |path: &str| Invalidation {
        by: InvalidatedBy::Files,
        pattern: path.to_owned(),
        selections: vec![Selection::key(&format!("{}{path}", key::FILES))],
    };
    scene.put("file:/kept", "v");
    assert_eq!(scene.order(changed("/other")).await, 0);
    assert_eq!(scene.order(changed("/kept")).await, 1);
    assert_eq!(scene.order(changed("/kept")).await, 0);
    assert_eq!(scene.invalidate(Pattern::Key("n:none".to_owned())).await, 0);
    let mut events = scene.runtime.journal().subscribe_after(0);
    let mut told = Vec::new();
    // The last is a person's, of which the journal has to say that there was nothing.
    while told.len() < 2 {
        if let Delivery::Event(record) = events.next().await
            && record.kind == CacheInvalidated::KIND
        {
            told.push(record.decode::<CacheInvalidated>().unwrap().pattern);
        }
    }
    assert_eq!(told, ["/kept", "n:none"]);
}

#[tokio::test(start_paused = true)]
async fn what_may_have_changed_unheard_is_dropped_with_the_link_and_nothing_else() {
    let scene = Scene::new().await;
    let of_the_link = Keeping { is_of_the_link: true, ..KEEPING };
    scene.cache.put("n:a", value("v"), of_the_link);
    scene.put("n:b", "v");
    let load = scene.begin("n:c", of_the_link).await;
    let selections = vec![Selection::of_the_link()];
    let pattern = String::new();
    assert_eq!(scene.order(Invalidation { by: InvalidatedBy::Gap, pattern, selections }).await, 1);
    assert_eq!(load.ends(Ok("old")).await, ok("old"));
    assert_eq!((scene.get("n:a"), scene.get("n:b").as_deref(), scene.get("n:c")), (None, Some("v"), None));
}

#[tokio::test(start_paused = true)]
async fn what_is_for_its_callers_alone_is_not_kept() {
    let scene = Scene::new().await;
    let load = || async { Ok(Loaded::new(value("v")).not_kept()) };
    scene.cache.get_or_load("n:a", None, KEEPING, load).await.unwrap();
    assert_eq!(scene.get("n:a"), None);
    let briefly = || async { Ok(Loaded::new(value("v")).fresh_for(s(1))) };
    scene.cache.get_or_load("n:a", None, KEEPING, briefly).await.unwrap();
    advance(s(1)).await;
    assert_eq!(scene.get("n:a"), None);
}

#[tokio::test(start_paused = true)]
async fn what_is_loaded_at_an_age_has_that_of_its_time_behind_it_even_from_before_the_cache_began() {
    let scene = Scene::new().await;
    let load = || async { Ok(Loaded::new(value("v")).aged(s(3600)).fresh_for(s(3610))) };
    scene.cache.get_or_load("n:a", None, KEEPING, load).await.unwrap();
    assert_eq!(scene.cache.stats().oldest_ms, Some(3_600_000));
    advance(s(9)).await;
    assert!(scene.cache.get("n:a", Some(s(3609))).is_some());
    assert!(scene.cache.get("n:a", Some(s(3608))).is_none(), "it is older than that");
    advance(s(1)).await;
    assert_eq!(scene.get("n:a"), None);
}

/// What a renewal of `n:a` is given.
async fn given(scene: &Scene) -> Option<String> {
    let (tell, told) = oneshot::channel();
    let load = |held: Option<CacheValue>| async move {
        tell.send(held.as_ref().map(text)).unwrap();
        Err(Error::new(Reason::ServerError))
    };
    let none_kept = Keeping { failures_for: s(0), ..KEEPING };
    scene.cache.get_or_renew("n:a", Some(s(0)), none_kept, load).await.unwrap_err();
    told.await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_can_be_renewed_is_held_beyond_its_time_for_whoever_does_and_nobody_else() {
    let scene = Scene::new().await;
    let load = || async { Ok(Loaded::new(value("v")).renewable()) };
    scene.cache.get_or_load("n:a", None, KEEPING, load).await.unwrap();
    advance(s(100_000)).await;
    assert_eq!(scene.get("n:a"), None);
    assert_eq!(given(&scene).await.as_deref(), Some("v"));
    assert_eq!(given(&scene).await.as_deref(), Some("v"), "a renewal that fails leaves it");
    assert_eq!(scene.loaded("n:a", KEEPING, "new").await, (ok("new"), true));
    assert_eq!(scene.get("n:a").as_deref(), Some("new"));
    advance(s(60)).await;
    assert_eq!(scene.get("n:a"), None);
    assert_eq!(given(&scene).await, None, "what cannot be renewed goes when its time is over");
}

#[tokio::test(start_paused = true)]
async fn what_was_invalidated_is_given_to_nobody_for_renewal_and_what_was_renewed_meanwhile_is_not_kept() {
    let scene = Scene::new().await;
    scene.put("n:a", "old");
    advance(s(1)).await;
    assert_eq!(given(&scene).await.as_deref(), Some("old"));
    let (begun, has_begun) = oneshot::channel();
    let (end, ends) = oneshot::channel::<()>();
    let renew = scene.cache.get_or_renew("n:a", Some(s(0)), KEEPING, |held| async move {
        begun.send(()).unwrap();
        ends.await.unwrap();
        Ok(Loaded::new(held.unwrap()))
    });
    let invalidate = async {
        has_begun.await.unwrap();
        assert_eq!(scene.invalidate(Pattern::All).await, 1);
        end.send(()).unwrap();
    };
    let (renewed, ()) = tokio::join!(renew, invalidate);
    assert_eq!(text(&renewed.unwrap().value), "old", "it had asked before");
    assert_eq!(scene.get("n:a"), None);
    assert_eq!(given(&scene).await, None);
}

#[tokio::test(start_paused = true)]
async fn what_takes_the_place_of_all_drops_what_stands_and_is_not_kept_itself() {
    let scene = Scene::new().await;
    scene.put("n:a", "old");
    advance(s(1)).await;
    let load = |says: &'static str| move || async move { Ok(Loaded::new(value(says)).in_place_of_all()) };
    let told = scene.cache.get_or_load("n:a", Some(s(0)), KEEPING, load("new")).await.unwrap();
    assert_eq!((text(&told.value), told.is_kept), ("new".to_owned(), false));
    assert_eq!((scene.get("n:a"), scene.cache.stats().entries), (None, 0));
    // One that was overtaken drops nothing.
    scene.put("n:a", "old");
    advance(s(1)).await;
    let (begun, has_begun) = oneshot::channel();
    let (end, ends) = oneshot::channel::<()>();
    let asks = scene.cache.get_or_load("n:a", Some(s(0)), KEEPING, || async move {
        begun.send(()).unwrap();
        ends.await.unwrap();
        Ok(Loaded::new(value("new")).in_place_of_all())
    });
    let puts = async {
        has_begun.await.unwrap();
        scene.put("n:a", "newest");
        end.send(()).unwrap();
    };
    let (told, ()) = tokio::join!(asks, puts);
    assert_eq!(text(&told.unwrap().value), "new");
    assert_eq!(scene.get("n:a").as_deref(), Some("newest"));
}

//! The cache on several threads at once. The checks hold at any speed and in any order.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::cache::Invalidation;

const KEYS: [&str; 4] = ["n:a/1", "n:a/2", "n:b/1", "n:b/2"];
const CHANGES: u64 = 3_000;
const READERS: usize = 3;

/// The truth: each change of a key makes a new version, which only the key's writer does.
#[derive(Default)]
struct SharedSource {
    versions: [AtomicU64; KEYS.len()],
    /// The versions of which the cache has confirmed the invalidation.
    promised: [AtomicU64; KEYS.len()],
    is_over: AtomicBool,
}

fn value(version: u64) -> CacheValue {
    CacheValue::Bytes(Bytes::copy_from_slice(&version.to_be_bytes()))
}

fn version(value: &CacheValue) -> u64 {
    let CacheValue::Bytes(bytes) = value else { panic!("not put here") };
    u64::from_be_bytes(bytes[..].try_into().unwrap())
}

/// Changes every other key, and invalidates it in each possible way.
async fn write(fixture: Arc<CacheActorFixture>, source: Arc<SharedSource>, first: usize) {
    for change in 0..CHANGES {
        let key = first + 2 * usize::try_from(change / 5 % 2).unwrap();
        let version = source.versions[key].fetch_add(1, Ordering::SeqCst) + 1;
        let pattern = match change % 5 {
            0 => Pattern::Key(KEYS[key].to_owned()),
            1 => Pattern::Prefix(KEYS[key][..4].to_owned()),
            2 => Pattern::Glob("n:*/*".to_owned()),
            3 => Pattern::All,
            _ => {
                // Only this task changes this key, so the value is still true.
                fixture.cache.put(KEYS[key], value(version), OPTIONS);
                source.promised[key].fetch_max(version, Ordering::SeqCst);
                continue;
            }
        };
        if change % 500 == 250 {
            drop(fixture.actor.inject_panic().unwrap());
        }
        let invalidation = Invalidation::from_pattern(&pattern).unwrap();
        let reply =
            fixture.actor.call(|reply| CacheMessage::Invalidate { invalidation, reply: Some(reply) }).await;
        if reply.is_ok() {
            source.promised[key].fetch_max(version, Ordering::SeqCst);
        }
    }
}

/// Reads until nothing changes any more. Returns the number of hits.
async fn read(cache: CacheHandle, source: Arc<SharedSource>, first: usize) -> u64 {
    let mut hits = 0;
    let mut turn = first;
    while !source.is_over.load(Ordering::SeqCst) {
        turn += 1;
        let key = turn % KEYS.len();
        let promised = source.promised[key].load(Ordering::SeqCst);
        let found = if turn.is_multiple_of(3) {
            let load = {
                let source = Arc::clone(&source);
                move || async move {
                    let version = source.versions[key].load(Ordering::SeqCst);
                    yield_now().await;
                    Ok(Loaded::new(value(version)))
                }
            };
            Some(cache.get_or_load(KEYS[key], None, OPTIONS, load).await.unwrap().value)
        } else {
            cache.get(KEYS[key], None).inspect(|_| hits += 1)
        };
        if let Some(found) = found.as_ref().map(version) {
            assert!(found >= promised, "{}: {found} is from before {promised}", KEYS[key]);
        }
        if turn.is_multiple_of(7) {
            yield_now().await;
        }
    }
    hits
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_never_serve_invalidated_values() {
    let fixture = Arc::new(CacheActorFixture::new().await);
    let source = Arc::new(SharedSource::default());
    let mut writers = JoinSet::new();
    for first in 0..2 {
        writers.spawn(write(Arc::clone(&fixture), Arc::clone(&source), first));
    }
    let mut readers = JoinSet::new();
    for first in 0..READERS {
        readers.spawn(read(fixture.cache.clone(), Arc::clone(&source), first));
    }
    let written = writers.join_all().await;
    source.is_over.store(true, Ordering::SeqCst);
    readers.join_all().await;
    assert_eq!(written.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_load_each_stored_key_once() {
    const LOADS: usize = 20_000;
    let cache = CacheHandle::new(64 << 20, OPTIONS);
    let fixture = CacheActorFixture::with_cache(cache.clone()).await;
    let ran: Arc<Vec<AtomicU64>> = Arc::new((0..LOADS).map(|_| AtomicU64::new(0)).collect());
    let mut askers = JoinSet::new();
    for _ in 0..4 {
        let (cache, ran) = (cache.clone(), Arc::clone(&ran));
        askers.spawn(async move {
            for n in 0..LOADS {
                let ran = Arc::clone(&ran);
                let load = move || async move {
                    ran[n].fetch_add(1, Ordering::SeqCst);
                    Ok(Loaded::new(value(n as u64)))
                };
                let options = EntryOptions { ttl: s(3_600), ..OPTIONS };
                let answer = cache.get_or_load(&format!("n:{n}"), None, options, load).await.unwrap();
                assert_eq!(version(&answer.value), n as u64);
            }
        });
    }
    askers.join_all().await;
    let twice = ran.iter().filter(|ran| ran.load(Ordering::SeqCst) != 1).count();
    assert_eq!(twice, 0, "of {LOADS}");
    drop(fixture);
}

//! Measures the cache: a hit beside plain moka's, hits during an invalidation, and the delay after a change of files.

mod files;
mod hits;
mod invalidation;

use std::time::Duration;

pub(crate) use files::measure as measure_files;
pub(crate) use hits::measure as measure_hits;
pub(crate) use invalidation::measure as measure_invalidations;

use bytes::Bytes;
use mainstay_actors::cache::{CacheActor, CacheHandle, CacheMessage, CacheValue, EntryOptions};
use mainstay_runtime::{Address, Child, Runtime, SupervisorSpec};

use crate::contender::BenchError;

/// The cache's capacity, larger than all that it holds.
const BYTES_MAX: u64 = 1 << 30;
/// Entries stay fresh for longer than any round.
const ENTRY_OPTIONS: EntryOptions = EntryOptions {
    ttl: Duration::from_secs(3_600),
    stale_for: Duration::ZERO,
    negative_ttl: Duration::ZERO,
    depends_on_connection: false,
};

/// Holds a cache and the actor that it needs.
struct CacheRuntime {
    cache: CacheHandle,
    actor: Address<CacheMessage>,
    runtime: Runtime,
}

impl CacheRuntime {
    async fn start() -> Result<Self, BenchError> {
        let cache = CacheHandle::new(BYTES_MAX, ENTRY_OPTIONS);
        let mut root = SupervisorSpec::new("root");
        let actor = root.child(Child::new("cache", CacheActor { cache: cache.clone() }))?;
        let runtime = Runtime::builder().start(root).await?;
        Ok(Self { cache, actor, runtime })
    }

    fn put(&self, key: &str, value: &Bytes) {
        self.cache.put(key, CacheValue::Bytes(value.clone()), ENTRY_OPTIONS);
    }
}

/// A xorshift64 generator: its order is the same in each run, and no prefetcher guesses it.
struct XorShift(u64);

impl XorShift {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

//! How the cache is doing, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// How a cache is doing. Counts are since the start of the runtime.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheStats {
    /// Values kept, stale ones included until they are met.
    pub entries: u64,
    /// What they take, keys included.
    pub bytes: u64,
    /// What they may take.
    pub bytes_max: u64,
    /// Lookups that found a fresh value, or a failure that is kept.
    pub hits: u64,
    /// Lookups that were answered with a value that was not fresh any more, while it was loaded anew.
    pub stale_hits: u64,
    /// Lookups that found nothing.
    pub misses: u64,
    /// Loads that have begun.
    pub loads: u64,
    /// Loads that ended with an error.
    pub load_failures: u64,
    /// Loads whose value was not kept, since it was invalidated or put while it was under way.
    pub loads_superseded: u64,
    /// Values that had to make room, or had none.
    pub evictions: u64,
    /// Values that were invalidated.
    pub invalidated: u64,
    /// The age of the oldest value, in milliseconds.
    pub oldest_ms: Option<u64>,
}

/// The counts.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) hits: AtomicCount,
    pub(super) stale_hits: AtomicCount,
    pub(super) misses: AtomicCount,
    pub(super) loads: AtomicCount,
    pub(super) load_failures: AtomicCount,
    pub(super) loads_superseded: AtomicCount,
    pub(super) evictions: AtomicCount,
    pub(super) invalidated: AtomicCount,
}

/// One count. Nothing is decided by it, so its order among other things is of no account.
#[derive(Debug, Default)]
pub(super) struct AtomicCount(AtomicU64);

impl AtomicCount {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

//! The cache's figures.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// The figures of a cache. Counters start with the runtime.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct CacheStats {
    /// The stored values, stale ones included until a read meets them.
    pub entries: u64,
    /// The size of these values in bytes, keys included.
    pub bytes: u64,
    /// The most bytes that they may take.
    pub bytes_max: u64,
    /// The lookups that found a fresh value or a cached failure.
    pub hits: u64,
    /// The lookups that were answered with a stale value while a refresh ran.
    pub stale_hits: u64,
    /// The lookups that found nothing.
    pub misses: u64,
    /// The loads that began.
    pub loads: u64,
    /// The loads that failed.
    pub load_failures: u64,
    /// The loads whose value was not kept, since the key was invalidated or stored meanwhile.
    pub loads_superseded: u64,
    /// The values that were evicted, or did not fit.
    pub evictions: u64,
    /// The values that were invalidated.
    pub invalidated: u64,
    /// The age of the oldest value, in milliseconds.
    pub oldest_ms: Option<u64>,
}

/// The counters.
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

/// A counter. No decision depends on it, so relaxed ordering is enough.
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

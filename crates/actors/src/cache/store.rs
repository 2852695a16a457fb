//! The stored values, and the one order of all their changes.
//!
//! moka holds the values and bounds their size. Reads go to moka directly, from any task. Writes hold the index's
//! lock, so that moka and the index agree: what is in moka is in the index too. Time is passed in.

use parking_lot::{Mutex, MutexGuard};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mainstay_runtime::journal::millis;
use moka::notification::RemovalCause;
use moka::sync::Cache;

use super::freshness::{Freshness, Lifetime};
use super::index::{CacheIndex, IndexEntry, InvalidationScan, PendingLoad, Version};
use super::load::{SharedLoad, WeakLoad};
use super::pattern::Selection;
use super::stats::{CacheStats, Counters};
use super::value::{CacheValue, StoredValue};
use crate::error::Error;

/// The number of keys that an invalidation scans before it releases the index and its thread. moka takes four
/// microseconds to drop one, and over ten times that in one drop of a hundred. Of hits on the same thread, one in a
/// hundred stopped for 8 ms at 256 keys, 1.3 ms at 32, 0.4 ms at 4. The whole invalidation took a tenth longer.
const SCAN_STEP_KEYS: usize = 4;

/// The values of one cache.
pub(super) struct CacheStore {
    entries: Cache<Arc<str>, Arc<CachedEntry>>,
    index: Mutex<IndexState>,
    pending_evictions: PendingEvictions,
    counters: Counters,
    bytes_max: u64,
}

/// The entries that moka has dropped and the index still holds.
type PendingEvictions = Arc<Mutex<Vec<(Arc<str>, Version)>>>;

struct IndexState {
    index: CacheIndex<WeakLoad>,
    epoch: Epoch,
    /// True if values are stored; false while no actor invalidates.
    is_open: bool,
}

/// The number of times the store was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Epoch(u64);

#[derive(Debug)]
struct CachedEntry {
    value: StoredValue,
    lifetime: Lifetime,
    version: Version,
}

/// The result of a lookup.
#[derive(Debug)]
pub(super) enum LookupResult {
    Fresh(CacheValue),
    /// The value is stale and needs a refresh.
    Stale(CacheValue),
    /// A recent load failed.
    Failed(Arc<Error>),
}

/// The terms under which a value is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct EntryTerms {
    pub(super) lifetime: Lifetime,
    pub(super) depends_on_connection: bool,
}

/// A load as it is registered.
#[derive(Debug, Clone, Copy)]
pub(super) struct LoadTerms {
    pub(super) started_at: Duration,
    pub(super) depends_on_connection: bool,
}

/// Says what a caller does after a miss.
pub(super) enum LoadSlot<T> {
    /// Join the load in flight.
    Join(SharedLoad),
    /// Start this load, which is registered.
    Start(SharedLoad),
    /// Use this value, which arrived meanwhile.
    Ready(StoredValue),
    /// Load without storing: no actor invalidates.
    Bypass(T),
}

impl CacheStore {
    pub(super) fn new(bytes_max: u64) -> Self {
        let evicted = PendingEvictions::default();
        let removed = Arc::clone(&evicted);
        // moka calls this at any time, also within an insertion that holds the index.
        let listener = move |key: Arc<Arc<str>>, entry: Arc<CachedEntry>, cause: RemovalCause| {
            if cause.was_evicted() {
                lock(&removed).push(((*key).clone(), entry.version));
            }
        };
        let entries = Cache::builder()
            .weigher(|key: &Arc<str>, entry: &Arc<CachedEntry>| {
                u32::try_from(entry.value.weight(key)).unwrap_or(u32::MAX)
            })
            .max_capacity(bytes_max)
            .eviction_listener(listener)
            .build();
        let inner =
            Mutex::new(IndexState { index: CacheIndex::new(), epoch: Epoch::default(), is_open: false });
        Self { entries, index: inner, pending_evictions: evicted, counters: Counters::default(), bytes_max }
    }

    // === reads ===

    /// Returns the entry of `key` if it is no older than `age_max`. Takes no lock, unless the entry has expired.
    pub(super) fn find(&self, key: &str, age_max: Option<Duration>, now: Duration) -> Option<LookupResult> {
        let entry = self.entries.get(key);
        let freshness = entry.as_ref().map(|entry| entry.lifetime.freshness(age_max, now));
        let (Some(entry), Some(freshness)) = (entry, freshness) else {
            self.counters.misses.add(1);
            return None;
        };
        let found = match (freshness, &entry.value) {
            (Freshness::Fresh, StoredValue::Value(value)) => Some(LookupResult::Fresh(value.clone())),
            (Freshness::Fresh, StoredValue::Failure(error)) => Some(LookupResult::Failed(Arc::clone(error))),
            (Freshness::Stale, StoredValue::Value(value)) => Some(LookupResult::Stale(value.clone())),
            (Freshness::Expired, _) => {
                self.remove_if(key, entry.version);
                None
            }
            (Freshness::TooOld | Freshness::NeedsRevalidation, _)
            | (Freshness::Stale, StoredValue::Failure(_)) => None,
        };
        let count = match &found {
            Some(LookupResult::Fresh(_) | LookupResult::Failed(_)) => &self.counters.hits,
            Some(LookupResult::Stale(_)) => &self.counters.stale_hits,
            None => &self.counters.misses,
        };
        count.add(1);
        found
    }

    /// Returns whether `key` has an entry, even an expired one. Takes no lock.
    pub(super) fn contains(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Returns the value of `key`, however old it is, for revalidation. Does not count as a lookup.
    pub(super) fn peek(&self, key: &str) -> Option<CacheValue> {
        match &self.entries.get(key)?.value {
            StoredValue::Value(value) => Some(value.clone()),
            StoredValue::Failure(_) => None,
        }
    }

    fn remove_if(&self, key: &str, version: Version) {
        let mut inner = self.lock_inner();
        if inner.index.remove_if(key, version) {
            self.entries.invalidate(key);
        }
    }

    // === writes ===

    /// Stores a value. A load of the key in flight is older.
    pub(super) fn put(&self, key: &Arc<str>, value: CacheValue, terms: EntryTerms) {
        let mut inner = self.lock_inner();
        if inner.is_open {
            self.store(&mut inner.index, key, StoredValue::Value(value), terms);
        }
    }

    /// Decides whether the caller joins, starts or skips a load of `key`. `start` makes the shared load from `load`
    /// and its version.
    pub(super) fn acquire_load<T>(
        &self,
        key: &Arc<str>,
        age_max: Option<Duration>,
        terms: LoadTerms,
        load: T,
        start: impl FnOnce(T, Version) -> SharedLoad,
    ) -> LoadSlot<T> {
        let LoadTerms { started_at, depends_on_connection } = terms;
        let mut inner = self.lock_inner();
        if !inner.is_open {
            return LoadSlot::Bypass(load);
        }
        let in_flight = inner.index.find_load(key, age_max, started_at);
        // A load without callers is being cancelled.
        if let Some(shared) = in_flight.and_then(|load| load.shared.upgrade()) {
            return LoadSlot::Join(shared);
        }
        // A load may have finished since the lookup, and is not repeated.
        if let Some(value) = self.find_fresh(&inner.index, key, age_max, started_at) {
            return LoadSlot::Ready(value);
        }
        let version = inner.index.next_version();
        let shared = start(load, version);
        if let Some(weak) = shared.downgrade() {
            let load = PendingLoad { version, started_at, depends_on_connection, shared: weak };
            inner.index.start_load(Arc::clone(key), load);
        }
        self.counters.loads.add(1);
        LoadSlot::Start(shared)
    }

    fn find_fresh(
        &self,
        index: &CacheIndex<WeakLoad>,
        key: &str,
        age_max: Option<Duration>,
        now: Duration,
    ) -> Option<StoredValue> {
        index.entry(key)?;
        let entry = self.entries.get(key)?;
        (entry.lifetime.freshness(age_max, now) == Freshness::Fresh).then(|| entry.value.clone())
    }

    /// Works as [`acquire_load`](Self::acquire_load), for a value that is still served. `None` if the last refresh
    /// failed recently.
    pub(super) fn acquire_refresh<T>(
        &self,
        key: &Arc<str>,
        terms: LoadTerms,
        load: T,
        start: impl FnOnce(T, Version) -> SharedLoad,
    ) -> Option<LoadSlot<T>> {
        let waits =
            self.lock_inner().index.entry(key).is_some_and(|entry| terms.started_at < entry.refresh_after);
        (!waits).then(|| self.acquire_load(key, None, terms, load, start))
    }

    /// Stores a loaded value, unless the load was superseded.
    pub(super) fn complete(&self, key: &Arc<str>, version: Version, value: CacheValue, terms: EntryTerms) {
        let mut inner = self.lock_inner();
        if inner.index.finish_load(key, version) {
            self.store(&mut inner.index, key, StoredValue::Value(value), terms);
        } else {
            self.counters.loads_superseded.add(1);
        }
    }

    /// Drops the stored entry, which is older than a load whose value is for its callers only.
    pub(super) fn replace(&self, key: &str, version: Version) {
        let mut inner = self.lock_inner();
        if inner.index.finish_load(key, version) {
            inner.index.evict(key);
            self.entries.invalidate(key);
        }
    }

    /// Stores a load's error under `terms`. An entry that may still be served stays.
    pub(super) fn fail(
        &self,
        key: &Arc<str>,
        version: Version,
        error: &Error,
        terms: Option<EntryTerms>,
        now: Duration,
    ) {
        self.counters.load_failures.add(1);
        let mut inner = self.lock_inner();
        let index = &mut inner.index;
        if !index.finish_load(key, version) {
            return;
        }
        let Some(terms) = terms else { return };
        let is_of_use = |entry: &Arc<CachedEntry>| {
            let freshness = entry.lifetime.freshness(None, now);
            matches!(entry.value, StoredValue::Value(_))
                && matches!(freshness, Freshness::Fresh | Freshness::Stale)
        };
        if self.entries.get(&**key).as_ref().is_some_and(is_of_use) {
            index.delay_refresh(key, terms.lifetime.fresh_until);
        } else {
            self.store(index, key, StoredValue::Failure(Arc::new(error.clone())), terms);
        }
    }

    /// Ends a load that stores nothing: it was cancelled, or its value is for its callers only.
    pub(super) fn abandon(&self, key: &str, version: Version) {
        self.lock_inner().index.finish_load(key, version);
    }

    fn store(&self, index: &mut CacheIndex<WeakLoad>, key: &Arc<str>, kept: StoredValue, terms: EntryTerms) {
        let EntryTerms { lifetime, depends_on_connection } = terms;
        self.apply_evictions(index);
        let version = index.next_version();
        if kept.weight(key) > self.bytes_max.min(u64::from(u32::MAX)) {
            // moka would keep it until it gets to rejecting it.
            self.counters.evictions.add(1);
            self.entries.invalidate(&**key);
            index.evict(key);
            return;
        }
        // moka miscounts its weight if an entry is updated to another weight and dropped before its maintenance ran.
        // So an entry is never updated in that case. A reader finds nothing meanwhile, and looks again under the
        // lock.
        let is_of_another_weight = |old: &Arc<CachedEntry>| old.value.weight(key) != kept.weight(key);
        if index.entry(key).is_some() && self.entries.get(&**key).as_ref().is_some_and(is_of_another_weight) {
            self.entries.invalidate(&**key);
        }
        let refresh_after = Duration::ZERO;
        index.insert(
            Arc::clone(key),
            IndexEntry { version, as_of: lifetime.as_of, depends_on_connection, refresh_after },
        );
        self.entries.insert(Arc::clone(key), Arc::new(CachedEntry { value: kept, lifetime, version }));
    }

    fn apply_evictions(&self, index: &mut CacheIndex<WeakLoad>) {
        let evicted = std::mem::take(&mut *lock(&self.pending_evictions));
        self.counters.evictions.add(evicted.len() as u64);
        for (key, version) in evicted {
            index.remove_if(&key, version);
        }
    }

    // === invalidations ===

    /// Returns whether one of these would remove an entry. May return true needlessly.
    pub(super) fn would_invalidate(&self, selections: &[Selection]) -> bool {
        let inner = self.lock_inner();
        selections.iter().any(|selection| inner.index.would_invalidate(selection))
    }

    /// Begins an invalidation: matching loads in flight are not kept. [`advance_scan`](Self::advance_scan) removes
    /// the entries.
    pub(super) fn begin_invalidation(&self, selection: Selection) -> InvalidationScan {
        self.lock_inner().index.begin_invalidation(selection)
    }

    /// Advances an invalidation by one step. Returns the number of dropped values.
    pub(super) fn advance_scan(&self, scan: &mut InvalidationScan) -> u64 {
        self.advance_scan_by(scan, SCAN_STEP_KEYS)
    }

    /// Advances an invalidation by at most this many keys.
    pub(super) fn advance_scan_by(&self, scan: &mut InvalidationScan, visits: usize) -> u64 {
        let mut dropped = 0;
        self.lock_inner().index.advance_scan(scan, visits, |key| {
            self.entries.invalidate(key);
            dropped += 1;
        });
        self.counters.invalidated.add(dropped);
        dropped
    }

    /// Opens the store: values are stored until this epoch is closed.
    pub(super) fn open(&self) -> Epoch {
        let mut inner = self.lock_inner();
        self.clear(&mut inner.index);
        inner.is_open = true;
        inner.epoch.0 += 1;
        inner.epoch
    }

    /// Empties the store, and stores nothing until it is opened again. Returns whether it was open in that epoch: a
    /// late close does not affect a later epoch.
    pub(super) fn close(&self, epoch: Epoch) -> bool {
        let mut inner = self.lock_inner();
        let is_current = inner.is_open && inner.epoch == epoch;
        if is_current {
            inner.is_open = false;
            self.clear(&mut inner.index);
        }
        is_current
    }

    fn clear(&self, index: &mut CacheIndex<WeakLoad>) {
        index.clear(|key| self.entries.invalidate(key));
    }

    pub(super) fn stats(&self, now: Duration) -> CacheStats {
        self.entries.run_pending_tasks();
        let oldest = {
            let mut inner = self.lock_inner();
            self.apply_evictions(&mut inner.index);
            inner.index.oldest_as_of()
        };
        CacheStats {
            entries: self.entries.entry_count(),
            bytes: self.entries.weighted_size(),
            bytes_max: self.bytes_max,
            hits: self.counters.hits.get(),
            stale_hits: self.counters.stale_hits.get(),
            misses: self.counters.misses.get(),
            loads: self.counters.loads.get(),
            load_failures: self.counters.load_failures.get(),
            loads_superseded: self.counters.loads_superseded.get(),
            evictions: self.counters.evictions.get(),
            invalidated: self.counters.invalidated.get(),
            oldest_ms: oldest.map(|true_at| millis(now.saturating_sub(true_at))),
        }
    }

    fn lock_inner(&self) -> MutexGuard<'_, IndexState> {
        lock(&self.index)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

impl fmt::Debug for CacheStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheStore").field("entries", &self.entries.entry_count()).finish_non_exhaustive()
    }
}

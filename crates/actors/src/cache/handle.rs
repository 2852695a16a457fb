//! The cache's handle, which reads on the caller's task without a message.

use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinSet, yield_now};

use super::clock::CacheClock;
use super::entry_options::EntryOptions;
use super::freshness::Lifetime;
use super::index::InvalidationScan;
use super::load::{Loaded, SharedLoad, catch_panic};
use super::load_guard::LoadGuard;
use super::pattern::Selection;
use super::stats::CacheStats;
use super::store::{CacheStore, EntryTerms, Epoch, LoadSlot, LoadTerms, LookupResult};
use super::value::{CacheValue, StoredValue};
use crate::error::Error;

/// Reads and writes a cache. Cheap to clone; all clones share the same values.
///
/// The cache stores nothing until a [`CacheActor`](super::CacheActor) has started with it, and is emptied when that
/// actor ends.
#[derive(Debug, Clone)]
pub struct CacheHandle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<CacheStore>,
    clock: CacheClock,
    default_options: EntryOptions,
    /// The loads that refresh values still being served, for which no caller waits.
    refreshes: Mutex<JoinSet<()>>,
}

/// Decides when an invalidation yields to other tasks on its thread. A look-up without a hit costs less than a drop.
#[derive(Debug, Default)]
struct YieldPolicy {
    dropped: u64,
    visited: u32,
}

impl YieldPolicy {
    /// The number of values that are dropped before it yields.
    const DROPPED_MAX: u64 = 4;
    /// The number of selections that are scanned before it yields if nothing is dropped.
    const VISITED_MAX: u32 = 64;

    fn should_yield(&mut self, dropped: u64, is_done: bool) -> bool {
        self.dropped += dropped;
        self.visited += 1;
        let is_over = !is_done || self.dropped >= Self::DROPPED_MAX || self.visited >= Self::VISITED_MAX;
        if is_over {
            *self = Self::default();
        }
        is_over
    }
}

/// A value and where it came from.
#[derive(Debug, Clone)]
pub struct CacheLookup {
    /// The value.
    pub value: CacheValue,
    /// True if the value was cached; else it was loaded for this call.
    pub is_cached: bool,
}

impl CacheHandle {
    /// Creates an empty cache of `bytes_max` bytes, keys included. `options` are those of entries that name none.
    #[must_use]
    pub fn new(bytes_max: u64, options: EntryOptions) -> Self {
        Self(Arc::new(Inner {
            store: Arc::new(CacheStore::new(bytes_max)),
            clock: CacheClock::new(),
            default_options: options,
            refreshes: Mutex::default(),
        }))
    }

    /// Returns the options of entries that name none.
    #[must_use]
    pub fn default_options(&self) -> EntryOptions {
        self.0.default_options
    }

    /// Returns the value of `key` if it is fresh and no older than `age_max`.
    #[must_use]
    pub fn get(&self, key: &str, age_max: Option<Duration>) -> Option<CacheValue> {
        match self.0.store.find(key, age_max, self.now())? {
            LookupResult::Fresh(value) => Some(value),
            LookupResult::Stale(_) | LookupResult::Failed(_) => None,
        }
    }

    /// Returns whether `key` has an entry: a value, even a stale one, or a failure. Does not count as a lookup.
    pub(super) fn contains(&self, key: &str) -> bool {
        self.0.store.contains(key)
    }

    /// Stores a value. The result of a load of the same key that is in flight is older, and is not kept.
    ///
    /// A value that was read before an invalidation and stored after it is stale, and the cache cannot notice. If
    /// that can happen, use [`get_or_load`](Self::get_or_load).
    pub fn put(&self, key: &str, value: CacheValue, options: EntryOptions) {
        let lifetime = Lifetime::new(self.now(), options.ttl, options.stale_for);
        let terms = EntryTerms { lifetime, depends_on_connection: options.depends_on_connection };
        self.0.store.put(&Arc::from(key), value, terms);
    }

    /// Returns the value of `key`, or the result of `load`. Concurrent callers share one load, which runs as long as
    /// one of them waits. A caller that comes after an invalidation never joins a load from before it, whose result
    /// is not kept.
    ///
    /// A stale value that may still be served is returned at once, and a refresh starts.
    ///
    /// # Errors
    /// Fails with the error of the load. It is cached for as long as the options say, unless the load was cancelled.
    pub async fn get_or_load<F>(
        &self,
        key: &str,
        age_max: Option<Duration>,
        options: EntryOptions,
        load: impl FnOnce() -> F + Send + 'static,
    ) -> Result<CacheLookup, Error>
    where
        F: Future<Output = Result<Loaded, Error>> + Send + 'static,
    {
        self.get_or_revalidate(key, age_max, options, |_| load()).await
    }

    /// Works as [`get_or_load`](Self::get_or_load); the load gets the stored value, however old it is, for
    /// revalidation. It never gets a value from before an invalidation that had returned when the load began.
    ///
    /// # Errors
    /// Fails as [`get_or_load`](Self::get_or_load) does.
    pub(crate) async fn get_or_revalidate<F>(
        &self,
        key: &str,
        age_max: Option<Duration>,
        options: EntryOptions,
        load: impl FnOnce(Option<CacheValue>) -> F + Send + 'static,
    ) -> Result<CacheLookup, Error>
    where
        F: Future<Output = Result<Loaded, Error>> + Send + 'static,
    {
        let now = self.now();
        let stale = match self.0.store.find(key, age_max, now) {
            Some(LookupResult::Fresh(value)) => return Ok(CacheLookup { value, is_cached: true }),
            Some(LookupResult::Failed(error)) => return Err((*error).clone()),
            Some(LookupResult::Stale(value)) => Some(value),
            None => None,
        };
        let key: Arc<str> = Arc::from(key);
        let (store, clock) = (&self.0.store, &self.0.clock);
        // The load begins when it is polled: no caller's code runs under the store's lock.
        let load = {
            let (store, key) = (Arc::clone(store), Arc::clone(&key));
            async move { load(store.peek(&key)).await }
        };
        let shared = |load, version| {
            let (store, key, clock) = (Arc::clone(store), Arc::clone(&key), clock.clone());
            LoadGuard { store, key, version, started_at: now, options }.into_shared(load, move || clock.now())
        };
        let terms = LoadTerms { started_at: now, depends_on_connection: options.depends_on_connection };
        if let Some(value) = stale {
            if let Some(LoadSlot::Start(shared)) = store.acquire_refresh(&key, terms, load, shared) {
                self.spawn_refresh(shared);
            }
            return Ok(CacheLookup { value, is_cached: true });
        }
        let value = match store.acquire_load(&key, age_max, terms, load, shared) {
            LoadSlot::Join(shared) | LoadSlot::Start(shared) => shared.await?,
            LoadSlot::Ready(StoredValue::Value(value)) => return Ok(CacheLookup { value, is_cached: true }),
            LoadSlot::Ready(StoredValue::Failure(error)) => return Err((*error).clone()),
            LoadSlot::Bypass(load) => catch_panic(load).await?.value,
        };
        Ok(CacheLookup { value, is_cached: false })
    }

    /// Drives a load for which no caller waits.
    fn spawn_refresh(&self, shared: SharedLoad) {
        let mut refreshes = self.refreshes();
        while refreshes.try_join_next().is_some() {}
        refreshes.spawn(async move {
            // A failure is counted and delays the next refresh; the old value is served until its time ends.
            let _ = shared.await;
        });
    }

    /// Returns the cache's figures. Visits every key, and blocks writes meanwhile.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.0.store.stats(self.now())
    }

    /// Returns whether one of these would drop an entry or discard a load in flight. May return true needlessly.
    #[must_use]
    pub(crate) fn would_invalidate(&self, selections: &[Selection]) -> bool {
        self.0.store.would_invalidate(selections)
    }

    /// Drops the selected entries and returns their number. When it returns, none of them can be found. It advances
    /// only while polled, and yields to other tasks on its thread.
    pub(crate) async fn invalidate_all(&self, selections: Vec<Selection>) -> u64 {
        let (mut entries, mut turn) = (0, YieldPolicy::default());
        for mut scan in self.begin_invalidations(selections) {
            while !scan.is_done() {
                let dropped = self.advance_scan(&mut scan);
                entries += dropped;
                if turn.should_yield(dropped, scan.is_done()) {
                    yield_now().await;
                }
            }
        }
        entries
    }

    /// Works as `invalidate_all` without yielding, for callers that cannot wait.
    pub(crate) fn invalidate_now(&self, selections: Vec<Selection>) {
        for mut scan in self.begin_invalidations(selections) {
            while !scan.is_done() {
                self.advance_scan(&mut scan);
            }
        }
    }

    /// Marks matching loads of all selections at once, so that their results are not kept.
    fn begin_invalidations(&self, selections: Vec<Selection>) -> Vec<InvalidationScan> {
        selections.into_iter().map(|selection| self.begin_invalidation(selection)).collect()
    }

    pub(super) fn begin_invalidation(&self, selection: Selection) -> InvalidationScan {
        self.0.store.begin_invalidation(selection)
    }

    pub(super) fn advance_scan(&self, scan: &mut InvalidationScan) -> u64 {
        self.0.store.advance_scan(scan)
    }

    #[cfg(test)]
    pub(super) fn advance_scan_by(&self, scan: &mut InvalidationScan, visits: usize) -> u64 {
        self.0.store.advance_scan_by(scan, visits)
    }

    pub(super) fn open(&self) -> Epoch {
        self.0.store.open()
    }

    pub(super) fn close(&self, epoch: Epoch) {
        if self.0.store.close(epoch) {
            self.refreshes().abort_all();
        }
    }

    /// Returns the time by which entries age.
    pub(crate) fn now(&self) -> Duration {
        self.0.clock.now()
    }

    /// Ages all entries by the length of the computer's sleep.
    pub(super) fn add_sleep(&self, slept: Duration) {
        self.0.clock.add_sleep(slept);
    }

    fn refreshes(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.refreshes.lock()
    }
}

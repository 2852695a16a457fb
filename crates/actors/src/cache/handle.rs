//! The cache, as others use it: reading from their own task, without a message.

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

/// A cache: the values, and how to get at them. Cheap to clone; all clones share the same values.
///
/// It keeps nothing until a [`CacheActor`](super::CacheActor) has been started with it, and forgets everything when that
/// ends, in whatever way.
#[derive(Debug, Clone)]
pub struct CacheHandle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<CacheStore>,
    clock: CacheClock,
    default_options: EntryOptions,
    /// Loads that nobody waits for: of values that are still of use meanwhile.
    refreshes: Mutex<JoinSet<()>>,
}

/// When an invalidation lets other tasks at its thread: to look for what is not there takes less than that.
#[derive(Debug, Default)]
struct YieldPolicy {
    dropped: u64,
    visited: u32,
}

impl YieldPolicy {
    /// How many values are dropped in one turn.
    const DROPPED_MAX: u64 = 4;
    /// How many selections are looked after in one turn where nothing is dropped.
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

/// A value, and where it came from.
#[derive(Debug, Clone)]
pub struct CacheLookup {
    /// The value.
    pub value: CacheValue,
    /// Whether it had been kept; else it was loaded just now.
    pub is_cached: bool,
}

impl CacheHandle {
    /// An empty cache that takes `bytes_max` with its keys, and keeps values as `keeping` says where nothing else is said.
    #[must_use]
    pub fn new(bytes_max: u64, keeping: EntryOptions) -> Self {
        Self(Arc::new(Inner {
            store: Arc::new(CacheStore::new(bytes_max)),
            clock: CacheClock::new(),
            default_options: keeping,
            refreshes: Mutex::default(),
        }))
    }

    /// How values are kept where nothing else is said.
    #[must_use]
    pub fn default_options(&self) -> EntryOptions {
        self.0.default_options
    }

    /// The value of `key`, while it is fresh and no older than `age_max`.
    #[must_use]
    pub fn get(&self, key: &str, age_max: Option<Duration>) -> Option<CacheValue> {
        match self.0.store.find(key, age_max, self.now())? {
            LookupResult::Fresh(value) => Some(value),
            LookupResult::Stale(_) | LookupResult::Failed(_) => None,
        }
    }

    /// Whether anything is kept under `key`: a value, be it stale, or a failure. No lookup, for the numbers.
    pub(super) fn contains(&self, key: &str) -> bool {
        self.0.store.contains(key)
    }

    /// Keeps a value. What is being loaded for the same key meanwhile is older, and is not kept.
    ///
    /// A value that was read before an invalidation and is put after it is a stale one, and nobody can tell: where that
    /// may be, use [`get_or_load`](Self::get_or_load).
    pub fn put(&self, key: &str, value: CacheValue, keeping: EntryOptions) {
        let lease = Lifetime::new(self.now(), keeping.ttl, keeping.stale_for);
        let terms = EntryTerms { lifetime: lease, depends_on_connection: keeping.depends_on_connection };
        self.0.store.put(&Arc::from(key), value, terms);
    }

    /// The value of `key`, or what `load` brings. However many ask at the same time, one load runs; it goes on as long as
    /// one of them waits. One that began before an invalidation is joined by nobody who asks after it, and what it brings
    /// is not kept.
    ///
    /// A value that is stale and still of use is returned at once, and loaded anew meanwhile.
    ///
    /// # Errors
    /// What the load failed with; it is kept for as long as `keeping` says, unless it was called off.
    pub async fn get_or_load<F>(
        &self,
        key: &str,
        age_max: Option<Duration>,
        keeping: EntryOptions,
        load: impl FnOnce() -> F + Send + 'static,
    ) -> Result<CacheLookup, Error>
    where
        F: Future<Output = Result<Loaded, Error>> + Send + 'static,
    {
        self.get_or_revalidate(key, age_max, keeping, |_| load()).await
    }

    /// As [`get_or_load`](Self::get_or_load); the load gets the value that stands there, however old it is, to find out
    /// whether it still holds. It gets none from before an invalidation that had returned when it began.
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load).
    pub async fn get_or_revalidate<F>(
        &self,
        key: &str,
        age_max: Option<Duration>,
        keeping: EntryOptions,
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
        let (shelf, clock) = (&self.0.store, &self.0.clock);
        // It begins when it is driven: nothing of the caller's runs under the shelf's lock.
        let load = {
            let (shelf, key) = (Arc::clone(shelf), Arc::clone(&key));
            async move { load(shelf.peek(&key)).await }
        };
        let line = |load, stamp| {
            let (shelf, key, clock) = (Arc::clone(shelf), Arc::clone(&key), clock.clone());
            LoadGuard { store: shelf, key, version: stamp, started_at: now, options: keeping }
                .into_shared(load, move || clock.now())
        };
        let terms = LoadTerms { started_at: now, depends_on_connection: keeping.depends_on_connection };
        if let Some(value) = stale {
            if let Some(LoadSlot::Start(line)) = shelf.acquire_refresh(&key, terms, load, line) {
                self.spawn_refresh(line);
            }
            return Ok(CacheLookup { value, is_cached: true });
        }
        let value = match shelf.acquire_load(&key, age_max, terms, load, line) {
            LoadSlot::Join(line) | LoadSlot::Start(line) => line.await?,
            LoadSlot::Ready(StoredValue::Value(value)) => return Ok(CacheLookup { value, is_cached: true }),
            LoadSlot::Ready(StoredValue::Failure(error)) => return Err((*error).clone()),
            LoadSlot::Bypass(load) => catch_panic(load).await?.value,
        };
        Ok(CacheLookup { value, is_cached: false })
    }

    /// Drives a load that nobody waits for.
    fn spawn_refresh(&self, line: SharedLoad) {
        let mut refreshes = self.refreshes();
        while refreshes.try_join_next().is_some() {}
        refreshes.spawn(async move {
            // A failure is counted, and puts the next one off; the value that is there stays as long as it is of use.
            let _ = line.await;
        });
    }

    /// How it is doing. Looks at every key, and lets nothing be kept meanwhile.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.0.store.stats(self.now())
    }

    /// Whether one of these would drop something, or keep something out that is being loaded. It may say so needlessly.
    #[must_use]
    pub fn would_invalidate(&self, selections: &[Selection]) -> bool {
        self.0.store.would_invalidate(selections)
    }

    /// Drops what is meant, and says how many entries that were. When it returns, none of them is found any more. It goes
    /// on as long as it is polled, and lets other tasks at its thread.
    pub(crate) async fn invalidate_all(&self, selections: Vec<Selection>) -> u64 {
        let (mut entries, mut turn) = (0, YieldPolicy::default());
        for mut sweep in self.begin_invalidations(selections) {
            while !sweep.is_done() {
                let dropped = self.advance_scan(&mut sweep);
                entries += dropped;
                if turn.should_yield(dropped, sweep.is_done()) {
                    yield_now().await;
                }
            }
        }
        entries
    }

    /// Like `drop_all`, without a turn for anybody else: for those who cannot wait.
    pub fn invalidate_now(&self, selections: Vec<Selection>) {
        for mut sweep in self.begin_invalidations(selections) {
            while !sweep.is_done() {
                self.advance_scan(&mut sweep);
            }
        }
    }

    /// What is being loaded is kept out at once, of all of them.
    fn begin_invalidations(&self, selections: Vec<Selection>) -> Vec<InvalidationScan> {
        selections.into_iter().map(|selection| self.begin_invalidation(selection)).collect()
    }

    pub(super) fn begin_invalidation(&self, selection: Selection) -> InvalidationScan {
        self.0.store.begin_invalidation(selection)
    }

    pub(super) fn advance_scan(&self, sweep: &mut InvalidationScan) -> u64 {
        self.0.store.advance_scan(sweep)
    }

    #[cfg(test)]
    pub(super) fn advance_scan_by(&self, sweep: &mut InvalidationScan, visits: usize) -> u64 {
        self.0.store.advance_scan_by(sweep, visits)
    }

    pub(super) fn open(&self) -> Epoch {
        self.0.store.open()
    }

    pub(super) fn close(&self, term: Epoch) {
        if self.0.store.close(term) {
            self.refreshes().abort_all();
        }
    }

    /// The time by which values grow old.
    pub(super) fn now(&self) -> Duration {
        self.0.clock.now()
    }

    /// The machine slept for so long: everything is older by that.
    pub(super) fn add_suspend(&self, slept: Duration) {
        self.0.clock.add_suspend(slept);
    }

    fn refreshes(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.refreshes.lock()
    }
}

//! The cache, as others use it: reading from their own task, without a message.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::{JoinSet, yield_now};

use super::clock::CacheClock;
use super::freshness::Lease;
use super::keeping::Keeping;
use super::ledger::Sweep;
use super::load::{Line, Loaded, caught};
use super::pattern::Selection;
use super::shelf::{Found, LoadTerms, Shelf, Term, Terms, Turn};
use super::stats::CacheStats;
use super::ticket::Ticket;
use super::value::{CacheValue, Kept};
use crate::error::Error;

/// A cache: the values, and how to get at them. Cheap to clone; all clones share the same values.
///
/// It keeps nothing until a [`CacheActor`](super::CacheActor) has been started with it, and forgets everything when that
/// ends, in whatever way.
#[derive(Debug, Clone)]
pub struct CacheHandle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shelf: Arc<Shelf>,
    clock: CacheClock,
    keeping: Keeping,
    /// Loads that nobody waits for: of values that are still of use meanwhile.
    refreshes: Mutex<JoinSet<()>>,
}

/// When an invalidation lets other tasks at its thread: to look for what is not there takes less than that.
#[derive(Debug, Default)]
struct Turns {
    dropped: u64,
    looked: u32,
}

impl Turns {
    /// How many values are dropped in one turn.
    const DROPPED_MAX: u64 = 4;
    /// How many selections are looked after in one turn where nothing is dropped.
    const LOOKED_MAX: u32 = 64;

    fn is_over_after(&mut self, dropped: u64, is_done: bool) -> bool {
        self.dropped += dropped;
        self.looked += 1;
        let is_over = !is_done || self.dropped >= Self::DROPPED_MAX || self.looked >= Self::LOOKED_MAX;
        if is_over {
            *self = Self::default();
        }
        is_over
    }
}

/// A value, and where it came from.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The value.
    pub value: CacheValue,
    /// Whether it had been kept; else it was loaded just now.
    pub is_kept: bool,
}

impl CacheHandle {
    /// An empty cache that takes `bytes_max` with its keys, and keeps values as `keeping` says where nothing else is said.
    #[must_use]
    pub fn new(bytes_max: u64, keeping: Keeping) -> Self {
        Self(Arc::new(Inner {
            shelf: Arc::new(Shelf::new(bytes_max)),
            clock: CacheClock::new(),
            keeping,
            refreshes: Mutex::default(),
        }))
    }

    /// How values are kept where nothing else is said.
    #[must_use]
    pub fn keeping(&self) -> Keeping {
        self.0.keeping
    }

    /// The value of `key`, while it is fresh and no older than `age_max`.
    #[must_use]
    pub fn get(&self, key: &str, age_max: Option<Duration>) -> Option<CacheValue> {
        match self.0.shelf.find(key, age_max, self.now())? {
            Found::Fresh(value) => Some(value),
            Found::Stale(_) | Found::Failed(_) => None,
        }
    }

    /// Whether anything is kept under `key`: a value, be it stale, or a failure. No lookup, for the numbers.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.shelf.has(key)
    }

    /// Keeps a value. What is being loaded for the same key meanwhile is older, and is not kept.
    ///
    /// A value that was read before an invalidation and is put after it is a stale one, and nobody can tell: where that
    /// may be, use [`get_or_load`](Self::get_or_load).
    pub fn put(&self, key: &str, value: CacheValue, keeping: Keeping) {
        let lease = Lease::new(self.now(), keeping.ttl, keeping.stale_for);
        let terms = Terms { lease, is_of_the_link: keeping.is_of_the_link };
        self.0.shelf.put(&Arc::from(key), value, terms);
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
        keeping: Keeping,
        load: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Answer, Error>
    where
        F: Future<Output = Result<Loaded, Error>> + Send + 'static,
    {
        self.get_or_renew(key, age_max, keeping, |_| load()).await
    }

    /// As [`get_or_load`](Self::get_or_load); the load gets the value that stands there, however old it is, to find out
    /// whether it still holds. It gets none from before an invalidation that had returned when it began.
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load).
    pub async fn get_or_renew<F>(
        &self,
        key: &str,
        age_max: Option<Duration>,
        keeping: Keeping,
        load: impl FnOnce(Option<CacheValue>) -> F + Send + 'static,
    ) -> Result<Answer, Error>
    where
        F: Future<Output = Result<Loaded, Error>> + Send + 'static,
    {
        let now = self.now();
        let stale = match self.0.shelf.find(key, age_max, now) {
            Some(Found::Fresh(value)) => return Ok(Answer { value, is_kept: true }),
            Some(Found::Failed(error)) => return Err((*error).clone()),
            Some(Found::Stale(value)) => Some(value),
            None => None,
        };
        let key: Arc<str> = Arc::from(key);
        let (shelf, clock) = (&self.0.shelf, &self.0.clock);
        // It begins when it is driven: nothing of the caller's runs under the shelf's lock.
        let load = {
            let (shelf, key) = (Arc::clone(shelf), Arc::clone(&key));
            async move { load(shelf.held(&key)).await }
        };
        let line = |load, stamp| {
            let (shelf, key, clock) = (Arc::clone(shelf), Arc::clone(&key), clock.clone());
            Ticket { shelf, key, stamp, begun_at: now, keeping }.line(load, move || clock.now())
        };
        let terms = LoadTerms { begun_at: now, is_of_the_link: keeping.is_of_the_link };
        if let Some(value) = stale {
            if let Some(Turn::Begin(line)) = shelf.turn_to_refresh(&key, terms, load, line) {
                self.refresh(line);
            }
            return Ok(Answer { value, is_kept: true });
        }
        let value = match shelf.turn(&key, age_max, terms, load, line) {
            Turn::Join(line) | Turn::Begin(line) => line.await?,
            Turn::Take(Kept::Value(value)) => return Ok(Answer { value, is_kept: true }),
            Turn::Take(Kept::Failure(error)) => return Err((*error).clone()),
            Turn::Pass(load) => caught(load).await?.value,
        };
        Ok(Answer { value, is_kept: false })
    }

    /// Drives a load that nobody waits for.
    fn refresh(&self, line: Line) {
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
        self.0.shelf.stats(self.now())
    }

    /// Whether one of these would drop something, or keep something out that is being loaded. It may say so needlessly.
    #[must_use]
    pub fn concerns(&self, selections: &[Selection]) -> bool {
        self.0.shelf.concerns(selections)
    }

    /// Drops what is meant, and says how many entries that were. When it returns, none of them is found any more. It goes
    /// on as long as it is polled, and lets other tasks at its thread.
    pub(crate) async fn drop_all(&self, selections: Vec<Selection>) -> u64 {
        let (mut entries, mut turn) = (0, Turns::default());
        for mut sweep in self.begin_drop(selections) {
            while !sweep.is_done() {
                let dropped = self.sweep(&mut sweep);
                entries += dropped;
                if turn.is_over_after(dropped, sweep.is_done()) {
                    yield_now().await;
                }
            }
        }
        entries
    }

    /// Like `drop_all`, without a turn for anybody else: for those who cannot wait.
    pub fn drop_at_once(&self, selections: Vec<Selection>) {
        for mut sweep in self.begin_drop(selections) {
            while !sweep.is_done() {
                self.sweep(&mut sweep);
            }
        }
    }

    /// What is being loaded is kept out at once, of all of them.
    fn begin_drop(&self, selections: Vec<Selection>) -> Vec<Sweep> {
        selections.into_iter().map(|selection| self.invalidate(selection)).collect()
    }

    pub(super) fn invalidate(&self, selection: Selection) -> Sweep {
        self.0.shelf.invalidate(selection)
    }

    pub(super) fn sweep(&self, sweep: &mut Sweep) -> u64 {
        self.0.shelf.sweep(sweep)
    }

    #[cfg(test)]
    pub(super) fn sweep_by(&self, sweep: &mut Sweep, visits: usize) -> u64 {
        self.0.shelf.sweep_by(sweep, visits)
    }

    pub(super) fn open(&self) -> Term {
        self.0.shelf.open()
    }

    pub(super) fn close(&self, term: Term) {
        if self.0.shelf.close(term) {
            self.refreshes().abort_all();
        }
    }

    /// The time by which values grow old.
    pub(super) fn now(&self) -> Duration {
        self.0.clock.now()
    }

    /// The machine slept for so long: everything is older by that.
    pub(super) fn note_sleep(&self, slept: Duration) {
        self.0.clock.note_sleep(slept);
    }

    fn refreshes(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.refreshes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The values, and the one order of all changes to them.
//!
//! moka holds the values and bounds their size. Whoever reads goes straight to it, from whatever task; whoever changes
//! something does so under the lock of the ledger, so that the two agree: what is in moka is in the ledger too. Time is
//! passed in.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_runtime::journal::millis;
use moka::notification::RemovalCause;
use moka::sync::Cache;

use super::freshness::{Freshness, Lease};
use super::ledger::{Ledger, Load, Mark, Stamp, Sweep};
use super::load::{Line, WeakLine};
use super::pattern::Selection;
use super::stats::{CacheStats, Tally};
use super::value::{CacheValue, Kept};
use crate::error::Error;

/// An invalidation looks at so many keys before it lets others at the ledger, and other tasks at its thread. moka takes
/// four microseconds to drop one, and in one step of a hundred more than ten times that: of hits on the same thread, one in
/// a hundred stopped for 8 ms with 256 at a time, for 1.3 ms with 32 and for 0.4 ms with 4. The whole took a tenth longer.
const SWEEP_VISITS: usize = 4;

/// The values of one cache.
pub(super) struct Shelf {
    entries: Cache<Arc<str>, Arc<Entry>>,
    inner: Mutex<Inner>,
    evicted: Evicted,
    tally: Tally,
    bytes_max: u64,
}

/// What moka has dropped and the ledger does not know of yet.
type Evicted = Arc<Mutex<Vec<(Arc<str>, Stamp)>>>;

struct Inner {
    ledger: Ledger<WeakLine>,
    term: Term,
    /// While nobody is there who invalidates, nothing is kept.
    is_open: bool,
}

/// How often the shelf was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Term(u64);

#[derive(Debug)]
struct Entry {
    kept: Kept,
    lease: Lease,
    stamp: Stamp,
}

/// What a lookup found.
#[derive(Debug)]
pub(super) enum Found {
    Fresh(CacheValue),
    /// It has to be loaded anew.
    Stale(CacheValue),
    /// It could not be had a moment ago.
    Failed(Arc<Error>),
}

/// How a value is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) lease: Lease,
    pub(super) is_of_the_link: bool,
}

/// A load, as it is entered.
#[derive(Debug, Clone, Copy)]
pub(super) struct LoadTerms {
    pub(super) begun_at: Duration,
    pub(super) is_of_the_link: bool,
}

/// What is to be done by one who found nothing fresh.
pub(super) enum Turn<T> {
    /// Join the load that is under way.
    Join(Line),
    /// Begin this one: it has been entered.
    Begin(Line),
    /// Nothing: it came while one was looking.
    Take(Kept),
    /// Load it, and keep nothing: there is nobody who invalidates.
    Pass(T),
}

impl Shelf {
    pub(super) fn new(bytes_max: u64) -> Self {
        let evicted = Evicted::default();
        let told = Arc::clone(&evicted);
        // moka calls this where it likes, also within an insertion, which holds the ledger.
        let listener = move |key: Arc<Arc<str>>, entry: Arc<Entry>, cause: RemovalCause| {
            if cause.was_evicted() {
                lock(&told).push(((*key).clone(), entry.stamp));
            }
        };
        let entries = Cache::builder()
            .weigher(|key: &Arc<str>, entry: &Arc<Entry>| {
                u32::try_from(entry.kept.weight(key)).unwrap_or(u32::MAX)
            })
            .max_capacity(bytes_max)
            .eviction_listener(listener)
            .build();
        let inner = Mutex::new(Inner { ledger: Ledger::new(), term: Term::default(), is_open: false });
        Self { entries, inner, evicted, tally: Tally::default(), bytes_max }
    }

    // === reading ===

    /// What stands under `key`, if it is no older than `age_max`. Takes no lock, unless what it finds is spent.
    pub(super) fn find(&self, key: &str, age_max: Option<Duration>, now: Duration) -> Option<Found> {
        let entry = self.entries.get(key);
        let freshness = entry.as_ref().map(|entry| entry.lease.freshness(age_max, now));
        let (Some(entry), Some(freshness)) = (entry, freshness) else {
            self.tally.misses.add(1);
            return None;
        };
        let found = match (freshness, &entry.kept) {
            (Freshness::Fresh, Kept::Value(value)) => Some(Found::Fresh(value.clone())),
            (Freshness::Fresh, Kept::Failure(error)) => Some(Found::Failed(Arc::clone(error))),
            (Freshness::Stale, Kept::Value(value)) => Some(Found::Stale(value.clone())),
            (Freshness::Spent, _) => {
                self.remove(key, entry.stamp);
                None
            }
            (Freshness::TooOld | Freshness::Lapsed, _) | (Freshness::Stale, Kept::Failure(_)) => None,
        };
        let count = match &found {
            Some(Found::Fresh(_) | Found::Failed(_)) => &self.tally.hits,
            Some(Found::Stale(_)) => &self.tally.stale_hits,
            None => &self.tally.misses,
        };
        count.add(1);
        found
    }

    /// Whether anything stands under `key`, be it spent. Takes no lock.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// The value that stands under `key`, however old it is: for whoever asks whether it still holds. No lookup, for the
    /// numbers.
    pub(super) fn held(&self, key: &str) -> Option<CacheValue> {
        match &self.entries.get(key)?.kept {
            Kept::Value(value) => Some(value.clone()),
            Kept::Failure(_) => None,
        }
    }

    fn remove(&self, key: &str, stamp: Stamp) {
        let mut inner = self.inner();
        if inner.ledger.strike(key, stamp) {
            self.entries.invalidate(key);
        }
    }

    // === writing ===

    /// Keeps a value. A load of it that is under way is older.
    pub(super) fn put(&self, key: &Arc<str>, value: CacheValue, terms: Terms) {
        let mut inner = self.inner();
        if inner.is_open {
            self.keep(&mut inner.ledger, key, Kept::Value(value), terms);
        }
    }

    /// Whose turn it is to load `key`: `line` makes one of `load` and its stamp, where it begins.
    pub(super) fn turn<T>(
        &self,
        key: &Arc<str>,
        age_max: Option<Duration>,
        terms: LoadTerms,
        load: T,
        line: impl FnOnce(T, Stamp) -> Line,
    ) -> Turn<T> {
        let LoadTerms { begun_at, is_of_the_link } = terms;
        let mut inner = self.inner();
        if !inner.is_open {
            return Turn::Pass(load);
        }
        let under_way = inner.ledger.load(key, age_max, begun_at);
        // One that nobody waits for any more is being called off.
        if let Some(line) = under_way.and_then(|load| load.line.upgrade()) {
            return Turn::Join(line);
        }
        // A load may have landed since one looked, and it is not made twice.
        if let Some(kept) = self.fresh(&inner.ledger, key, age_max, begun_at) {
            return Turn::Take(kept);
        }
        let stamp = inner.ledger.next_stamp();
        let line = line(load, stamp);
        if let Some(weak) = line.downgrade() {
            let load = Load { stamp, begun_at, is_of_the_link, line: weak };
            inner.ledger.begin(Arc::clone(key), load);
        }
        self.tally.loads.add(1);
        Turn::Begin(line)
    }

    fn fresh(
        &self,
        ledger: &Ledger<WeakLine>,
        key: &str,
        age_max: Option<Duration>,
        now: Duration,
    ) -> Option<Kept> {
        ledger.mark(key)?;
        let entry = self.entries.get(key)?;
        (entry.lease.freshness(age_max, now) == Freshness::Fresh).then(|| entry.kept.clone())
    }

    /// As [`turn`](Self::turn), for a value that is still of use. `None` where the last refresh failed a moment ago.
    pub(super) fn turn_to_refresh<T>(
        &self,
        key: &Arc<str>,
        terms: LoadTerms,
        load: T,
        line: impl FnOnce(T, Stamp) -> Line,
    ) -> Option<Turn<T>> {
        let waits = self.inner().ledger.mark(key).is_some_and(|mark| terms.begun_at < mark.refresh_after);
        (!waits).then(|| self.turn(key, None, terms, load, line))
    }

    /// A load brought a value that may be kept, unless it was overtaken.
    pub(super) fn land(&self, key: &Arc<str>, stamp: Stamp, value: CacheValue, terms: Terms) {
        let mut inner = self.inner();
        if inner.ledger.end(key, stamp) {
            self.keep(&mut inner.ledger, key, Kept::Value(value), terms);
        } else {
            self.tally.loads_overtaken.add(1);
        }
    }

    /// A load brought what is for its callers alone, and what stands there is older.
    pub(super) fn supersede(&self, key: &str, stamp: Stamp) {
        let mut inner = self.inner();
        if inner.ledger.end(key, stamp) {
            inner.ledger.refuse(key);
            self.entries.invalidate(key);
        }
    }

    /// A load ended with an error that is kept as `terms` say. What stands there and is still of use stays.
    pub(super) fn fail(
        &self,
        key: &Arc<str>,
        stamp: Stamp,
        error: &Error,
        terms: Option<Terms>,
        now: Duration,
    ) {
        self.tally.load_failures.add(1);
        let mut inner = self.inner();
        let ledger = &mut inner.ledger;
        if !ledger.end(key, stamp) {
            return;
        }
        let Some(terms) = terms else { return };
        let is_of_use = |entry: &Arc<Entry>| {
            let freshness = entry.lease.freshness(None, now);
            matches!(entry.kept, Kept::Value(_)) && matches!(freshness, Freshness::Fresh | Freshness::Stale)
        };
        if self.entries.get(&**key).as_ref().is_some_and(is_of_use) {
            ledger.put_off(key, terms.lease.fresh_until);
        } else {
            self.keep(ledger, key, Kept::Failure(Arc::new(error.clone())), terms);
        }
    }

    /// A load ended, and there is nothing to keep: it was called off, or what it brought is for its callers alone.
    pub(super) fn abandon(&self, key: &str, stamp: Stamp) {
        self.inner().ledger.end(key, stamp);
    }

    fn keep(&self, ledger: &mut Ledger<WeakLine>, key: &Arc<str>, kept: Kept, terms: Terms) {
        let Terms { lease, is_of_the_link } = terms;
        self.note_evicted(ledger);
        let stamp = ledger.next_stamp();
        if kept.weight(key) > self.bytes_max.min(u64::from(u32::MAX)) {
            // It would be there until moka finds the time to refuse it.
            self.tally.evictions.add(1);
            self.entries.invalidate(&**key);
            ledger.refuse(key);
            return;
        }
        // moka loses count of its weight where an entry is updated with one of another weight and dropped before it has
        // tidied up: it never updates one, then. Who looks meanwhile finds nothing, and looks again under the lock.
        let is_of_another_weight = |old: &Arc<Entry>| old.kept.weight(key) != kept.weight(key);
        if ledger.mark(key).is_some() && self.entries.get(&**key).as_ref().is_some_and(is_of_another_weight) {
            self.entries.invalidate(&**key);
        }
        let refresh_after = Duration::ZERO;
        ledger.enter(Arc::clone(key), Mark { stamp, true_at: lease.true_at, is_of_the_link, refresh_after });
        self.entries.insert(Arc::clone(key), Arc::new(Entry { kept, lease, stamp }));
    }

    fn note_evicted(&self, ledger: &mut Ledger<WeakLine>) {
        let evicted = std::mem::take(&mut *lock(&self.evicted));
        self.tally.evictions.add(evicted.len() as u64);
        for (key, stamp) in evicted {
            ledger.strike(&key, stamp);
        }
    }

    // === invalidating ===

    /// Whether one of these would take something away. It may say so needlessly.
    pub(super) fn concerns(&self, selections: &[Selection]) -> bool {
        let inner = self.inner();
        selections.iter().any(|selection| inner.ledger.concerns(selection))
    }

    /// Begins an invalidation: what is being loaded and matches is not kept. What is there goes with
    /// [`sweep`](Self::sweep).
    pub(super) fn invalidate(&self, selection: Selection) -> Sweep {
        self.inner().ledger.invalidate(selection)
    }

    /// Goes on with an invalidation for a moment. How many values it has dropped.
    pub(super) fn sweep(&self, sweep: &mut Sweep) -> u64 {
        self.sweep_by(sweep, SWEEP_VISITS)
    }

    /// … by so many keys at most.
    pub(super) fn sweep_by(&self, sweep: &mut Sweep, visits: usize) -> u64 {
        let mut dropped = 0;
        self.inner().ledger.sweep(sweep, visits, |key| {
            self.entries.invalidate(key);
            dropped += 1;
        });
        self.tally.invalidated.add(dropped);
        dropped
    }

    /// From now on values are kept, until this term is closed.
    pub(super) fn open(&self) -> Term {
        let mut inner = self.inner();
        self.clear(&mut inner.ledger);
        inner.is_open = true;
        inner.term.0 += 1;
        inner.term
    }

    /// Forgets everything, and keeps nothing until it is opened again. Whether it was open in that term: who comes late
    /// closes nothing that another has opened.
    pub(super) fn close(&self, term: Term) -> bool {
        let mut inner = self.inner();
        let is_current = inner.is_open && inner.term == term;
        if is_current {
            inner.is_open = false;
            self.clear(&mut inner.ledger);
        }
        is_current
    }

    fn clear(&self, ledger: &mut Ledger<WeakLine>) {
        ledger.clear(|key| self.entries.invalidate(key));
    }

    pub(super) fn stats(&self, now: Duration) -> CacheStats {
        self.entries.run_pending_tasks();
        let oldest = {
            let mut inner = self.inner();
            self.note_evicted(&mut inner.ledger);
            inner.ledger.oldest()
        };
        CacheStats {
            entries: self.entries.entry_count(),
            bytes: self.entries.weighted_size(),
            bytes_max: self.bytes_max,
            hits: self.tally.hits.get(),
            stale_hits: self.tally.stale_hits.get(),
            misses: self.tally.misses.get(),
            loads: self.tally.loads.get(),
            load_failures: self.tally.load_failures.get(),
            loads_overtaken: self.tally.loads_overtaken.get(),
            evictions: self.tally.evictions.get(),
            invalidated: self.tally.invalidated.get(),
            oldest_ms: oldest.map(|true_at| millis(now.saturating_sub(true_at))),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").field("entries", &self.entries.entry_count()).finish_non_exhaustive()
    }
}

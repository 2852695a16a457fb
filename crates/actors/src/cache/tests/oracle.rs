//! The answers that a cache must give: a simple model, without locks, versions or steps.
//!
//! The cache is free in when a scan meets an entry, and in what it evicts. There the model holds each possibility,
//! and each answer rules out those that it contradicts. An answer that contradicts all of them is a bug of the cache.

use super::*;

/// An answer of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ObservedResult {
    /// A cached value.
    Cached(SourceToken),
    /// A cached failure.
    Failed(SourceToken),
    /// No entry: the caller waits for a load.
    Nothing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OracleEntry {
    pub(super) token: SourceToken,
    pub(super) is_failure: bool,
    pub(super) fresh_until: u64,
    pub(super) refresh_after: u64,
    /// The scans that will remove it.
    pub(super) scans: Vec<usize>,
}

impl OracleEntry {
    pub(super) fn new(token: SourceToken, is_failure: bool, fresh_until: u64) -> Self {
        Self { token, is_failure, fresh_until, refresh_after: 0, scans: Vec::new() }
    }

    fn is_expired(&self, now: u64) -> bool {
        now >= self.token.expires_at
    }

    fn is_too_old(&self, age_max: Option<Duration>, now: u64) -> bool {
        age_max.is_some_and(|max| u128::from(now - self.token.as_of) > max.as_millis())
    }
}

/// A load, as far as it affects entries.
#[derive(Debug, Clone, Copy)]
pub(super) struct OracleLoad {
    pub(super) id: usize,
    pub(super) started_at: u64,
    pub(super) depends_on_connection: bool,
}

#[derive(Debug, Clone, Default)]
struct KeyState {
    /// The possible entries of the key.
    possible: Vec<Option<OracleEntry>>,
    /// The load whose value will be kept, and which callers can join.
    load: Option<OracleLoad>,
}

/// The model of one cache.
#[derive(Debug)]
pub(super) struct Oracle {
    is_open: bool,
    /// True if any entry may be evicted at any time.
    is_tight: bool,
    keys: Vec<KeyState>,
}

/// The outcome of a call of `get_or_load`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ObservedLookup {
    pub(super) seen: ObservedResult,
    /// True if a load began for it.
    pub(super) has_begun: bool,
}

impl Oracle {
    pub(super) fn new(is_tight: bool) -> Self {
        let place = KeyState { possible: vec![None], load: None };
        Self { is_open: true, is_tight, keys: vec![place; KEYS.len()] }
    }

    pub(super) fn load(&self, key: KeyIndex) -> Option<OracleLoad> {
        self.keys[key].load
    }

    pub(super) const fn is_open(&self) -> bool {
        self.is_open
    }

    // === changes ===

    /// Stores an entry; `None` for one that is too large.
    pub(super) fn store(&mut self, key: KeyIndex, entry: Option<OracleEntry>) {
        if self.is_open {
            self.keys[key] = KeyState { possible: vec![entry], load: None };
        }
    }

    pub(super) fn begin_load(&mut self, key: KeyIndex, load: OracleLoad) {
        self.keys[key].load = Some(load);
    }

    /// Ends a load. Returns whether its value is still to be kept.
    pub(super) fn end_load(&mut self, key: KeyIndex, id: usize) -> bool {
        self.keys[key].load.take_if(|load| load.id == id).is_some()
    }

    /// Fails a load; `failure` is the entry that it leaves.
    pub(super) fn fail_load(&mut self, key: KeyIndex, failure: &OracleEntry, now: u64) {
        for maybe in &mut self.keys[key].possible {
            match maybe {
                Some(entry) if !entry.is_failure && !entry.is_expired(now) => {
                    entry.refresh_after = failure.fresh_until
                }
                _ => *maybe = Some(failure.clone()),
            }
        }
    }

    pub(super) fn begin_scan(&mut self, id: usize, part: &InvalidationPart) {
        for (key, place) in KEYS.iter().zip(&mut self.keys) {
            place.load.take_if(|load| (part.matches)(key, load.depends_on_connection));
            for entry in place.possible.iter_mut().flatten() {
                if (part.matches)(key, entry.token.depends_on_connection) {
                    entry.scans.push(id);
                }
            }
            // Each step of the scan may be the one that meets it.
            if place.possible.iter().flatten().any(|entry| entry.scans.contains(&id)) {
                place.possible.push(None);
            }
        }
    }

    pub(super) fn end_scan(&mut self, id: usize) {
        for place in &mut self.keys {
            for maybe in &mut place.possible {
                maybe.take_if(|entry| entry.scans.contains(&id));
            }
        }
    }

    pub(super) fn close(&mut self) {
        self.is_open = false;
        self.keys.fill(KeyState { possible: vec![None], load: None });
    }

    pub(super) const fn open(&mut self) {
        self.is_open = true;
    }

    // === answers ===

    /// Checks the answer of a lookup.
    pub(super) fn get(
        &mut self,
        key: KeyIndex,
        age_max: Option<Duration>,
        now: u64,
        seen: Option<SourceToken>,
    ) -> Result<(), String> {
        let expected = |entry: &OracleEntry| {
            let is_fresh =
                now < entry.fresh_until && !entry.is_expired(now) && !entry.is_too_old(age_max, now);
            (is_fresh && !entry.is_failure).then_some(entry.token)
        };
        self.eliminate(key, now, &seen, |entry| entry.and_then(expected))
    }

    /// Checks the answer of `get_or_load`.
    pub(super) fn ask(
        &mut self,
        key: KeyIndex,
        age_max: Option<Duration>,
        now: u64,
        asked: ObservedLookup,
        is_joinable: impl Fn(OracleLoad, Option<Duration>) -> bool,
    ) -> Result<(), String> {
        let (is_open, load) = (self.is_open, self.keys[key].load);
        let begins = |age_max| is_open && !load.is_some_and(|load| is_joinable(load, age_max));
        self.eliminate(key, now, &asked, |entry| match entry {
            Some(entry) if entry.is_expired(now) || entry.is_too_old(age_max, now) => {
                ObservedLookup { seen: ObservedResult::Nothing, has_begun: begins(age_max) }
            }
            Some(entry) if now < entry.fresh_until => {
                let seen = if entry.is_failure {
                    ObservedResult::Failed(entry.token)
                } else {
                    ObservedResult::Cached(entry.token)
                };
                ObservedLookup { seen, has_begun: false }
            }
            Some(entry) if !entry.is_failure => ObservedLookup {
                seen: ObservedResult::Cached(entry.token),
                has_begun: now >= entry.refresh_after && begins(None),
            },
            _ => ObservedLookup { seen: ObservedResult::Nothing, has_begun: begins(age_max) },
        })
    }

    fn eliminate<T: PartialEq + std::fmt::Debug>(
        &mut self,
        key: KeyIndex,
        now: u64,
        seen: &T,
        expected: impl Fn(Option<&OracleEntry>) -> T,
    ) -> Result<(), String> {
        let place = &mut self.keys[key];
        if self.is_tight {
            place.possible.push(None);
        }
        let (fit, unfit): (Vec<_>, Vec<_>) = std::mem::take(&mut place.possible)
            .into_iter()
            .partition(|maybe| expected(maybe.as_ref()) == *seen);
        place.possible = fit;
        if place.possible.is_empty() {
            let wanted: Vec<_> = unfit.iter().map(|maybe| expected(maybe.as_ref())).collect();
            return Err(format!("{} at {now} ms: {seen:?}, and not one of {wanted:?}: {unfit:?}", KEYS[key]));
        }
        for maybe in &mut place.possible {
            // A read that meets it removes it.
            maybe.take_if(|entry| entry.is_expired(now));
        }
        // An entry that a scan has yet to meet may be removed at any moment.
        if place.possible.iter().flatten().any(|entry| !entry.scans.is_empty())
            && !place.possible.contains(&None)
        {
            place.possible.push(None);
        }
        place.possible.dedup();
        Ok(())
    }

    // === figures ===

    /// Returns the number of entries and the oldest one's time, if they are certain.
    pub(super) fn expected_stats(&self) -> Option<(u64, Option<u64>)> {
        let certain = |place: &KeyState| {
            let first =
                place.possible.first().filter(|first| place.possible.iter().all(|maybe| maybe == *first));
            first.cloned()
        };
        let entries: Vec<OracleEntry> =
            self.keys.iter().map(certain).collect::<Option<Vec<_>>>()?.into_iter().flatten().collect();
        let oldest = entries.iter().map(|entry| entry.token.as_of).min();
        (!self.is_tight).then_some((entries.len() as u64, oldest))
    }
}

//! What a cache must answer: a simple model, without locks, stamps or steps.
//!
//! Where the cache is free, as it is in when a sweep meets an entry and in what it evicts, the model holds each possibility,
//! and each answer of the cache rules out those that it does not fit. An answer that fits none is a fault of the cache.

use std::time::Duration;

use super::draws::{KEYS, Key, Part, Token};

/// What an answer was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// A value that was there.
    Kept(Token),
    /// A failure that was there.
    Failed(Token),
    /// Nothing: whoever wants it waits for a load.
    Nothing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) token: Token,
    pub(super) is_failure: bool,
    pub(super) fresh_until: u64,
    pub(super) refresh_after: u64,
    /// The sweeps that will take it away.
    pub(super) sweeps: Vec<usize>,
}

impl Entry {
    pub(super) fn new(token: Token, is_failure: bool, fresh_until: u64) -> Self {
        Self { token, is_failure, fresh_until, refresh_after: 0, sweeps: Vec::new() }
    }

    fn is_spent(&self, now: u64) -> bool {
        now >= self.token.useless_from
    }

    fn is_too_old(&self, age_max: Option<Duration>, now: u64) -> bool {
        age_max.is_some_and(|max| u128::from(now - self.token.true_at) > max.as_millis())
    }
}

/// A load, as far as it matters for what is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) id: usize,
    pub(super) begun_at: u64,
    pub(super) is_of_the_link: bool,
}

#[derive(Debug, Clone, Default)]
struct Place {
    /// What may stand here.
    maybe: Vec<Option<Entry>>,
    /// The load whose value will be kept, and that can be joined.
    load: Option<Load>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Oracle {
    is_open: bool,
    /// Whether anything can be evicted at any time.
    is_tight: bool,
    places: Vec<Place>,
}

/// What one who asked to get or load has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) seen: Seen,
    /// Whether a load began for it.
    pub(super) has_begun: bool,
}

impl Oracle {
    pub(super) fn new(is_tight: bool) -> Self {
        let place = Place { maybe: vec![None], load: None };
        Self { is_open: true, is_tight, places: vec![place; KEYS.len()] }
    }

    pub(super) fn load(&self, key: Key) -> Option<Load> {
        self.places[key].load
    }

    pub(super) const fn is_open(&self) -> bool {
        self.is_open
    }

    // === what changes it ===

    /// `None`: something that is too large to be kept.
    pub(super) fn keep(&mut self, key: Key, entry: Option<Entry>) {
        if self.is_open {
            self.places[key] = Place { maybe: vec![entry], load: None };
        }
    }

    pub(super) fn begin(&mut self, key: Key, load: Load) {
        self.places[key].load = Some(load);
    }

    /// Whether the load was still the one whose value is kept. It is so no more.
    pub(super) fn end(&mut self, key: Key, id: usize) -> bool {
        self.places[key].load.take_if(|load| load.id == id).is_some()
    }

    /// A load has failed; `failure` is what is kept of it.
    pub(super) fn fail(&mut self, key: Key, failure: &Entry, now: u64) {
        for maybe in &mut self.places[key].maybe {
            match maybe {
                Some(entry) if !entry.is_failure && !entry.is_spent(now) => {
                    entry.refresh_after = failure.fresh_until
                }
                _ => *maybe = Some(failure.clone()),
            }
        }
    }

    pub(super) fn begin_sweep(&mut self, id: usize, part: &Part) {
        for (key, place) in KEYS.iter().zip(&mut self.places) {
            place.load.take_if(|load| (part.concerns)(key, load.is_of_the_link));
            for entry in place.maybe.iter_mut().flatten() {
                if (part.concerns)(key, entry.token.is_of_the_link) {
                    entry.sweeps.push(id);
                }
            }
            // Each of its steps may be the one that meets it.
            if place.maybe.iter().flatten().any(|entry| entry.sweeps.contains(&id)) {
                place.maybe.push(None);
            }
        }
    }

    pub(super) fn end_sweep(&mut self, id: usize) {
        for place in &mut self.places {
            for maybe in &mut place.maybe {
                maybe.take_if(|entry| entry.sweeps.contains(&id));
            }
        }
    }

    pub(super) fn close(&mut self) {
        self.is_open = false;
        self.places.fill(Place { maybe: vec![None], load: None });
    }

    pub(super) const fn open(&mut self) {
        self.is_open = true;
    }

    // === what it answers ===

    /// One looked, and got a value or nothing.
    pub(super) fn get(
        &mut self,
        key: Key,
        age_max: Option<Duration>,
        now: u64,
        seen: Option<Token>,
    ) -> Result<(), String> {
        let expected = |entry: &Entry| {
            let is_fresh = now < entry.fresh_until && !entry.is_spent(now) && !entry.is_too_old(age_max, now);
            (is_fresh && !entry.is_failure).then_some(entry.token)
        };
        self.rule_out(key, now, &seen, |entry| entry.and_then(expected))
    }

    /// One asked to get or load.
    pub(super) fn ask(
        &mut self,
        key: Key,
        age_max: Option<Duration>,
        now: u64,
        asked: Asked,
        is_joinable: impl Fn(Load, Option<Duration>) -> bool,
    ) -> Result<(), String> {
        let (is_open, load) = (self.is_open, self.places[key].load);
        let begins = |age_max| is_open && !load.is_some_and(|load| is_joinable(load, age_max));
        self.rule_out(key, now, &asked, |entry| match entry {
            Some(entry) if entry.is_spent(now) || entry.is_too_old(age_max, now) => {
                Asked { seen: Seen::Nothing, has_begun: begins(age_max) }
            }
            Some(entry) if now < entry.fresh_until => {
                let seen = if entry.is_failure { Seen::Failed(entry.token) } else { Seen::Kept(entry.token) };
                Asked { seen, has_begun: false }
            }
            Some(entry) if !entry.is_failure => {
                Asked { seen: Seen::Kept(entry.token), has_begun: now >= entry.refresh_after && begins(None) }
            }
            _ => Asked { seen: Seen::Nothing, has_begun: begins(age_max) },
        })
    }

    fn rule_out<T: PartialEq + std::fmt::Debug>(
        &mut self,
        key: Key,
        now: u64,
        seen: &T,
        expected: impl Fn(Option<&Entry>) -> T,
    ) -> Result<(), String> {
        let place = &mut self.places[key];
        if self.is_tight {
            place.maybe.push(None);
        }
        let (fit, unfit): (Vec<_>, Vec<_>) =
            std::mem::take(&mut place.maybe).into_iter().partition(|maybe| expected(maybe.as_ref()) == *seen);
        place.maybe = fit;
        if place.maybe.is_empty() {
            let wanted: Vec<_> = unfit.iter().map(|maybe| expected(maybe.as_ref())).collect();
            return Err(format!("{} at {now} ms: {seen:?}, and not one of {wanted:?}: {unfit:?}", KEYS[key]));
        }
        for maybe in &mut place.maybe {
            // Whoever meets it takes it away.
            maybe.take_if(|entry| entry.is_spent(now));
        }
        // What a sweep has yet to meet may go at any moment.
        if place.maybe.iter().flatten().any(|entry| !entry.sweeps.is_empty()) && !place.maybe.contains(&None)
        {
            place.maybe.push(None);
        }
        place.maybe.dedup();
        Ok(())
    }

    // === how it is doing ===

    /// How many entries there are and when the oldest was true, where that is certain.
    pub(super) fn census(&self) -> Option<(u64, Option<u64>)> {
        let certain = |place: &Place| {
            let first = place.maybe.first().filter(|first| place.maybe.iter().all(|maybe| maybe == *first));
            first.cloned()
        };
        let entries: Vec<Entry> =
            self.places.iter().map(certain).collect::<Option<Vec<_>>>()?.into_iter().flatten().collect();
        let oldest = entries.iter().map(|entry| entry.token.true_at).min();
        (!self.is_tight).then_some((entries.len() as u64, oldest))
    }
}

//! Which keys there are, what is being loaded, and what an invalidation takes away: pure.
//!
//! Each change of a key has a stamp, and stamps only grow. A load is entered in the ledger when it begins; an invalidation
//! strikes out the loads that it concerns, and so does a value that is put meanwhile. What was loaded is kept only while
//! its load is still in the ledger. So nothing that began before an invalidation is kept after it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::pattern::{Candidate, Selection};

/// The keys and the loads of one cache; `L` is how a load is joined.
#[derive(Debug)]
pub(super) struct Ledger<L> {
    marks: BTreeMap<Arc<str>, Mark>,
    loads: HashMap<Arc<str>, Load<L>>,
    newest: Stamp,
}

/// When something was done, in the order of all changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp(u64);

/// What is known of an entry beside its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) stamp: Stamp,
    pub(super) true_at: Duration,
    pub(super) is_of_the_link: bool,
    /// Before then it is not refreshed again: the last attempt failed.
    pub(super) refresh_after: Duration,
}

/// A load that is under way.
#[derive(Debug)]
pub(super) struct Load<L> {
    pub(super) stamp: Stamp,
    pub(super) begun_at: Duration,
    pub(super) is_of_the_link: bool,
    pub(super) line: L,
}

/// An invalidation on its way through the keys.
#[derive(Debug)]
pub(super) struct Sweep {
    selection: Selection,
    /// What was kept after the invalidation had begun is none of its business.
    up_to: Stamp,
    from: Option<Arc<str>>,
    is_done: bool,
}

impl Sweep {
    pub(super) const fn is_done(&self) -> bool {
        self.is_done
    }
}

impl<L> Ledger<L> {
    pub(super) fn new() -> Self {
        Self { marks: BTreeMap::new(), loads: HashMap::new(), newest: Stamp::default() }
    }

    pub(super) const fn next_stamp(&mut self) -> Stamp {
        self.newest.0 += 1;
        self.newest
    }

    pub(super) fn mark(&self, key: &str) -> Option<&Mark> {
        self.marks.get(key)
    }

    /// Whether the entry of that stamp is the one that stands under the key.
    pub(super) fn stands(&self, key: &str, stamp: Stamp) -> bool {
        self.marks.get(key).is_some_and(|mark| mark.stamp == stamp)
    }

    /// Something is kept under `key` from now on. A load of it that is under way is older.
    pub(super) fn enter(&mut self, key: Arc<str>, mark: Mark) {
        self.loads.remove(&key);
        self.marks.insert(key, mark);
    }

    /// Something was to be kept under `key` and is not: what was there, or is being loaded, is older.
    pub(super) fn refuse(&mut self, key: &str) {
        self.loads.remove(key);
        self.marks.remove(key);
    }

    /// The entry of that stamp is no longer there.
    pub(super) fn strike(&mut self, key: &str, stamp: Stamp) -> bool {
        self.stands(key, stamp) && self.marks.remove(key).is_some()
    }

    /// Puts off the next refresh of the entry.
    pub(super) fn put_off(&mut self, key: &str, until: Duration) {
        if let Some(mark) = self.marks.get_mut(key) {
            mark.refresh_after = until;
        }
    }

    /// The load of `key` that is under way, if it will be young enough.
    pub(super) fn load(&self, key: &str, age_max: Option<Duration>, now: Duration) -> Option<&Load<L>> {
        let is_young = |load: &&Load<L>| age_max.is_none_or(|max| now.saturating_sub(load.begun_at) <= max);
        self.loads.get(key).filter(is_young)
    }

    /// A load begins. One that was under way goes on for those who wait for it, and its value is not kept.
    pub(super) fn begin(&mut self, key: Arc<str>, load: Load<L>) {
        self.loads.insert(key, load);
    }

    /// A load has ended. Whether what it brought may be kept.
    pub(super) fn end(&mut self, key: &str, stamp: Stamp) -> bool {
        let is_current = self.loads.get(key).is_some_and(|load| load.stamp == stamp);
        is_current && self.loads.remove(key).is_some()
    }

    /// Whether something may be there, or is being loaded, that an invalidation would take away. It may say so needlessly.
    pub(super) fn concerns(&self, selection: &Selection) -> bool {
        if let Some(key) = selection.only_key() {
            return self.marks.contains_key(key) || self.loads.contains_key(key);
        }
        let beginning = selection.beginning();
        let next = self.marks.range::<str, _>((Bound::Included(beginning), Bound::Unbounded)).next();
        next.is_some_and(|(key, _)| key.starts_with(beginning))
            || self.loads.keys().any(|key| key.starts_with(beginning))
    }

    /// Begins an invalidation: from now on nothing that is being loaded and matches is kept.
    pub(super) fn invalidate(&mut self, selection: Selection) -> Sweep {
        match selection.only_key() {
            Some(key) => drop(self.loads.remove(key)),
            None => self.loads.retain(|key, load| {
                !selection.matches(Candidate { key, is_of_the_link: load.is_of_the_link })
            }),
        }
        Sweep { selection, up_to: self.next_stamp(), from: None, is_done: false }
    }

    /// Goes on with an invalidation, by `visits` keys at most. Calls `removed` with each key that it takes away.
    pub(super) fn sweep(&mut self, sweep: &mut Sweep, visits: usize, mut removed: impl FnMut(&str)) {
        let Sweep { selection, up_to, from, is_done } = sweep;
        if let Some(key) = selection.only_key() {
            if self.marks.get(key).is_some_and(|mark| mark.stamp < *up_to) {
                self.marks.remove(key);
                removed(key);
            }
            *is_done = true;
            return;
        }
        let beginning = selection.beginning();
        let start = from.as_deref().map_or(Bound::Included(beginning), Bound::Excluded);
        let mut keys = self.marks.range::<str, _>((start, Bound::Unbounded));
        let mut doomed = Vec::new();
        *is_done = true;
        for _ in 0..visits {
            let Some((key, mark)) = keys.next().filter(|(key, _)| key.starts_with(beginning)) else { break };
            *from = Some(Arc::clone(key));
            *is_done = false;
            let is_meant = selection.matches(Candidate { key, is_of_the_link: mark.is_of_the_link });
            if is_meant && mark.stamp < *up_to {
                doomed.push(Arc::clone(key));
            }
        }
        if !*is_done {
            *is_done = keys.next().is_none_or(|(key, _)| !key.starts_with(beginning));
        }
        for key in doomed {
            self.marks.remove(&key);
            removed(&key);
        }
    }

    /// Forgets everything, and strikes out every load. Calls `removed` with each key.
    pub(super) fn clear(&mut self, mut removed: impl FnMut(&str)) {
        self.loads.clear();
        for key in std::mem::take(&mut self.marks).into_keys() {
            removed(&key);
        }
    }

    pub(super) fn oldest(&self) -> Option<Duration> {
        self.marks.values().map(|mark| mark.true_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::pattern::Pattern;

    fn ledger_with(keys: &[&str]) -> Ledger<()> {
        let mut ledger = Ledger::new();
        for key in keys {
            enter(&mut ledger, key);
        }
        ledger
    }

    fn enter(ledger: &mut Ledger<()>, key: &str) -> Stamp {
        let stamp = ledger.next_stamp();
        let zero = Duration::ZERO;
        ledger.enter(key.into(), Mark { stamp, true_at: zero, is_of_the_link: false, refresh_after: zero });
        stamp
    }

    fn begin(ledger: &mut Ledger<()>, key: &str) -> Stamp {
        let stamp = ledger.next_stamp();
        let load = Load { stamp, begun_at: Duration::ZERO, is_of_the_link: false, line: () };
        ledger.begin(key.into(), load);
        stamp
    }

    fn swept(ledger: &mut Ledger<()>, pattern: &Pattern, visits: usize) -> Vec<String> {
        let mut sweep = ledger.invalidate(Selection::try_from(pattern).unwrap());
        let mut keys = Vec::new();
        while !sweep.is_done() {
            ledger.sweep(&mut sweep, visits, |key| keys.push(key.to_owned()));
        }
        keys
    }

    #[test]
    fn a_sweep_takes_what_matches_and_nothing_else_however_small_its_steps() {
        let keys = ["a:1", "b:1", "b:2", "b:3", "c:1"];
        for visits in 1..=6 {
            let by = |pattern: Pattern| swept(&mut ledger_with(&keys), &pattern, visits);
            assert_eq!(by(Pattern::Prefix("b:".to_owned())), ["b:1", "b:2", "b:3"]);
            assert_eq!(by(Pattern::Glob("*:1".to_owned())), ["a:1", "b:1", "c:1"]);
            assert_eq!(by(Pattern::Key("b:2".to_owned())), ["b:2"]);
            assert_eq!(by(Pattern::Prefix("d:".to_owned())), [""; 0]);
            assert_eq!(by(Pattern::All), keys);
        }
    }

    #[test]
    fn what_an_invalidation_would_take_away_is_known_before() {
        let mut ledger = ledger_with(&["a:1"]);
        begin(&mut ledger, "b:1");
        for concerned in
            [Selection::key("a:1"), Selection::key("b:1"), Selection::prefix("b:"), Selection::all()]
        {
            assert!(ledger.concerns(&concerned), "{concerned:?}");
        }
        for other in [Selection::key("a:"), Selection::prefix("a:2"), Selection::glob("c:*").unwrap()] {
            assert!(!ledger.concerns(&other), "{other:?}");
        }
    }

    #[test]
    fn a_sweep_spares_what_was_kept_after_it_had_begun() {
        let mut ledger = ledger_with(&["a:1", "a:2", "a:3"]);
        let mut sweep = ledger.invalidate(Selection::prefix("a:"));
        let mut keys = Vec::new();
        ledger.sweep(&mut sweep, 1, |key| keys.push(key.to_owned()));
        enter(&mut ledger, "a:1");
        enter(&mut ledger, "a:3");
        enter(&mut ledger, "a:4");
        while !sweep.is_done() {
            ledger.sweep(&mut sweep, 1, |key| keys.push(key.to_owned()));
        }
        assert_eq!(keys, ["a:1", "a:2"]);
        assert!(["a:1", "a:3", "a:4"].iter().all(|key| ledger.mark(key).is_some()));
    }

    #[test]
    fn what_was_being_loaded_when_an_invalidation_came_is_not_kept() {
        let mut ledger = ledger_with(&[]);
        let (meant, other) = (begin(&mut ledger, "a:1"), begin(&mut ledger, "b:1"));
        assert_eq!(swept(&mut ledger, &Pattern::Prefix("a:".to_owned()), 9), [""; 0]);
        assert!(ledger.load("a:1", None, Duration::ZERO).is_none(), "nobody joins it any more");
        let later = begin(&mut ledger, "a:1");
        assert!(!ledger.end("a:1", meant));
        assert!(ledger.end("a:1", later));
        assert!(ledger.end("b:1", other));
    }

    #[test]
    fn what_was_put_while_it_was_being_loaded_is_newer() {
        let mut ledger = ledger_with(&[]);
        let load = begin(&mut ledger, "a:1");
        enter(&mut ledger, "a:1");
        assert!(!ledger.end("a:1", load));
    }

    #[test]
    fn one_who_wants_it_younger_than_a_load_under_way_does_not_join_that() {
        let s = Duration::from_secs;
        let mut ledger = ledger_with(&[]);
        begin(&mut ledger, "a:1");
        assert!(ledger.load("a:1", Some(s(2)), s(2)).is_some());
        assert!(ledger.load("a:1", Some(s(1)), s(2)).is_none());
    }

    #[test]
    fn what_was_being_loaded_or_kept_when_something_newer_was_refused_is_older() {
        let mut ledger = ledger_with(&["a:1"]);
        let load = begin(&mut ledger, "a:1");
        ledger.refuse("a:1");
        assert!(ledger.mark("a:1").is_none());
        assert!(!ledger.end("a:1", load));
    }

    #[test]
    fn the_sweep_of_one_key_spares_what_was_kept_after_it_had_begun() {
        let mut ledger = ledger_with(&["a:1"]);
        let mut sweep = ledger.invalidate(Selection::key("a:1"));
        enter(&mut ledger, "a:1");
        ledger.sweep(&mut sweep, 1, |key| panic!("{key}"));
        assert!(sweep.is_done() && ledger.mark("a:1").is_some());
    }

    #[test]
    fn only_the_entry_of_the_same_stamp_is_struck() {
        let mut ledger = ledger_with(&[]);
        let first = enter(&mut ledger, "a:1");
        let second = enter(&mut ledger, "a:1");
        assert!(!ledger.strike("a:1", first));
        assert!(ledger.strike("a:1", second));
        assert!(ledger.mark("a:1").is_none());
    }
}

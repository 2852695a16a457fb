//! The index of keys, of loads in flight and of invalidations: pure.
//!
//! Each change of a key has a version, and versions only grow. A load is registered when it begins. An invalidation
//! removes the loads that it matches, and so does a value that is stored meanwhile. A loaded value is kept only if
//! its load is still registered. So nothing that began before an invalidation is kept after it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::pattern::{Candidate, Selection};

/// The keys and the loads of one cache; a caller joins a load through `L`.
#[derive(Debug)]
pub(super) struct CacheIndex<L> {
    entries: BTreeMap<Arc<str>, IndexEntry>,
    loads: HashMap<Arc<str>, PendingLoad<L>>,
    latest_version: Version,
}

/// The position of a change in the order of all changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(u64);

/// Describes an entry beside its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct IndexEntry {
    pub(super) version: Version,
    pub(super) as_of: Duration,
    pub(super) depends_on_connection: bool,
    /// No refresh starts before this time, since the last one failed.
    pub(super) refresh_after: Duration,
}

/// A load in flight.
#[derive(Debug)]
pub(super) struct PendingLoad<L> {
    pub(super) version: Version,
    pub(super) started_at: Duration,
    pub(super) depends_on_connection: bool,
    pub(super) shared: L,
}

/// An invalidation that is scanning the keys.
#[derive(Debug)]
pub(super) struct InvalidationScan {
    selection: Selection,
    /// Entries stored after the invalidation began are left alone.
    before_version: Version,
    cursor: Option<Arc<str>>,
    is_done: bool,
}

impl InvalidationScan {
    pub(super) const fn is_done(&self) -> bool {
        self.is_done
    }
}

impl<L> CacheIndex<L> {
    pub(super) fn new() -> Self {
        Self { entries: BTreeMap::new(), loads: HashMap::new(), latest_version: Version::default() }
    }

    pub(super) const fn next_version(&mut self) -> Version {
        self.latest_version.0 += 1;
        self.latest_version
    }

    pub(super) fn entry(&self, key: &str) -> Option<&IndexEntry> {
        self.entries.get(key)
    }

    /// Returns whether the entry of that version is the current one of the key.
    pub(super) fn is_current(&self, key: &str, version: Version) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.version == version)
    }

    /// Registers an entry under `key`. A load of the key in flight is older.
    pub(super) fn insert(&mut self, key: Arc<str>, entry: IndexEntry) {
        self.loads.remove(&key);
        self.entries.insert(key, entry);
    }

    /// Removes `key`, whose new value was not stored: its entry and its load in flight are older.
    pub(super) fn evict(&mut self, key: &str) {
        self.loads.remove(key);
        self.entries.remove(key);
    }

    /// Removes the entry of that version.
    pub(super) fn remove_if(&mut self, key: &str, version: Version) -> bool {
        self.is_current(key, version) && self.entries.remove(key).is_some()
    }

    /// Delays the next refresh of the entry.
    pub(super) fn delay_refresh(&mut self, key: &str, until: Duration) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.refresh_after = until;
        }
    }

    /// Returns the load of `key` in flight, if its value will be young enough.
    pub(super) fn find_load(
        &self,
        key: &str,
        age_max: Option<Duration>,
        now: Duration,
    ) -> Option<&PendingLoad<L>> {
        let is_young =
            |load: &&PendingLoad<L>| age_max.is_none_or(|max| now.saturating_sub(load.started_at) <= max);
        self.loads.get(key).filter(is_young)
    }

    /// Registers a load. One already in flight continues for its callers, and its value is not kept.
    pub(super) fn start_load(&mut self, key: Arc<str>, load: PendingLoad<L>) {
        self.loads.insert(key, load);
    }

    /// Finishes a load. Returns whether its value may be kept.
    pub(super) fn finish_load(&mut self, key: &str, version: Version) -> bool {
        let is_current = self.loads.get(key).is_some_and(|load| load.version == version);
        is_current && self.loads.remove(key).is_some()
    }

    /// Returns whether an entry or a load in flight may match an invalidation. May return true needlessly.
    pub(super) fn would_invalidate(&self, selection: &Selection) -> bool {
        if let Some(key) = selection.exact_key() {
            return self.entries.contains_key(key) || self.loads.contains_key(key);
        }
        let beginning = selection.literal_prefix();
        let next = self.entries.range::<str, _>((Bound::Included(beginning), Bound::Unbounded)).next();
        next.is_some_and(|(key, _)| key.starts_with(beginning))
            || self.loads.keys().any(|key| key.starts_with(beginning))
    }

    /// Begins an invalidation: matching loads in flight are no longer kept.
    pub(super) fn begin_invalidation(&mut self, selection: Selection) -> InvalidationScan {
        match selection.exact_key() {
            Some(key) => drop(self.loads.remove(key)),
            None => self.loads.retain(|key, load| {
                !selection.matches(Candidate { key, depends_on_connection: load.depends_on_connection })
            }),
        }
        InvalidationScan { selection, before_version: self.next_version(), cursor: None, is_done: false }
    }

    /// Advances an invalidation by at most `visits` keys. Calls `removed` with each removed key.
    pub(super) fn advance_scan(
        &mut self,
        scan: &mut InvalidationScan,
        visits: usize,
        mut removed: impl FnMut(&str),
    ) {
        let InvalidationScan { selection, before_version: up_to, cursor: from, is_done } = scan;
        if let Some(key) = selection.exact_key() {
            if self.entries.get(key).is_some_and(|entry| entry.version < *up_to) {
                self.entries.remove(key);
                removed(key);
            }
            *is_done = true;
            return;
        }
        let beginning = selection.literal_prefix();
        let start = from.as_deref().map_or(Bound::Included(beginning), Bound::Excluded);
        let mut keys = self.entries.range::<str, _>((start, Bound::Unbounded));
        let mut removed_keys = Vec::new();
        *is_done = true;
        for _ in 0..visits {
            let Some((key, entry)) = keys.next().filter(|(key, _)| key.starts_with(beginning)) else { break };
            *from = Some(Arc::clone(key));
            *is_done = false;
            let is_meant =
                selection.matches(Candidate { key, depends_on_connection: entry.depends_on_connection });
            if is_meant && entry.version < *up_to {
                removed_keys.push(Arc::clone(key));
            }
        }
        if !*is_done {
            *is_done = keys.next().is_none_or(|(key, _)| !key.starts_with(beginning));
        }
        for key in removed_keys {
            self.entries.remove(&key);
            removed(&key);
        }
    }

    /// Removes everything, all loads included. Calls `removed` with each key.
    pub(super) fn clear(&mut self, mut removed: impl FnMut(&str)) {
        self.loads.clear();
        for key in std::mem::take(&mut self.entries).into_keys() {
            removed(&key);
        }
    }

    pub(super) fn oldest_as_of(&self) -> Option<Duration> {
        self.entries.values().map(|entry| entry.as_of).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index_with(keys: &[&str]) -> CacheIndex<()> {
        let mut index = CacheIndex::new();
        for key in keys {
            insert_entry(&mut index, key);
        }
        index
    }

    fn insert_entry(index: &mut CacheIndex<()>, key: &str) -> Version {
        let version = index.next_version();
        let zero = Duration::ZERO;
        index.insert(
            key.into(),
            IndexEntry { version, as_of: zero, depends_on_connection: false, refresh_after: zero },
        );
        version
    }

    fn start_load(index: &mut CacheIndex<()>, key: &str) -> Version {
        let version = index.next_version();
        let load =
            PendingLoad { version, started_at: Duration::ZERO, depends_on_connection: false, shared: () };
        index.start_load(key.into(), load);
        version
    }

    #[test]
    fn would_invalidate_sees_entries_and_pending_loads() {
        let mut index = index_with(&["a:1"]);
        start_load(&mut index, "b:1");
        for concerned in
            [Selection::key("a:1"), Selection::key("b:1"), Selection::prefix("b:"), Selection::all()]
        {
            assert!(index.would_invalidate(&concerned), "{concerned:?}");
        }
        for other in [Selection::key("a:"), Selection::prefix("a:2"), Selection::glob("c:*").unwrap()] {
            assert!(!index.would_invalidate(&other), "{other:?}");
        }
    }

    #[test]
    fn insert_during_load_supersedes_the_load() {
        let mut index = index_with(&[]);
        let load = start_load(&mut index, "a:1");
        insert_entry(&mut index, "a:1");
        assert!(!index.finish_load("a:1", load));
    }

    #[test]
    fn remove_if_other_version_keeps_entry() {
        let mut index = index_with(&[]);
        let first = insert_entry(&mut index, "a:1");
        let second = insert_entry(&mut index, "a:1");
        assert!(!index.remove_if("a:1", first));
        assert!(index.remove_if("a:1", second));
        assert!(index.entry("a:1").is_none());
    }
}

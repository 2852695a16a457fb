//! A store in memory.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::{DamagedState, FlushFuture, PendingSnapshot, QuarantinedState, StateStore, StoredState};
use crate::path::ActorPath;

/// The most quarantined states that are kept for one path; the oldest goes first.
pub(super) const QUARANTINED_PER_PATH_MAX: usize = 4;

/// A store in memory: states survive a runtime, not the process. It serves tests, and runtimes that follow each other
/// in one process.
///
/// It holds one state a path until that is removed, and the last four quarantined states of each path.
#[derive(Default)]
pub struct MemoryStore(Mutex<StoredStates>);

#[derive(Default)]
struct StoredStates {
    states: HashMap<ActorPath, Arc<PendingSnapshot>>,
    quarantined: Vec<QuarantinedState>,
}

impl MemoryStore {
    /// Returns an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the quarantined states, oldest first.
    #[must_use]
    pub fn quarantined(&self) -> Vec<QuarantinedState> {
        self.lock().quarantined.clone()
    }

    fn lock(&self) -> MutexGuard<'_, StoredStates> {
        self.0.lock()
    }
}

impl StoredStates {
    fn quarantine(&mut self, aside: QuarantinedState) {
        let of_this_path = |(at, one): (usize, &QuarantinedState)| (one.path == aside.path).then_some(at);
        let earlier: Vec<usize> = self.quarantined.iter().enumerate().filter_map(of_this_path).collect();
        if let (Some(oldest), QUARANTINED_PER_PATH_MAX..) = (earlier.first(), earlier.len()) {
            self.quarantined.remove(*oldest);
        }
        self.quarantined.push(aside);
    }
}

impl StateStore for MemoryStore {
    fn load(&self, path: &ActorPath) -> Result<Option<StoredState>, DamagedState> {
        let pending = self.lock().states.get(path).cloned();
        match pending.map(|pending| pending.encode()) {
            None => Ok(None),
            Some(Ok(state)) => Ok(Some(state)),
            Some(Err(reason)) => {
                self.lock().states.remove(path);
                Err(DamagedState(reason))
            }
        }
    }

    fn save(&self, path: &ActorPath, pending: PendingSnapshot) {
        let replaced = self.lock().states.insert(path.clone(), Arc::new(pending));
        // This is outside the lock, because a snapshot's drop may do anything.
        drop(replaced);
    }

    fn quarantine(&self, path: &ActorPath, why: &str) {
        let Some(pending) = self.lock().states.remove(path) else { return };
        let remains = pending.encode().map_err(String::into_bytes);
        let aside = QuarantinedState { path: path.to_string(), reason: why.to_owned(), content: remains };
        self.lock().quarantine(aside);
    }

    fn remove(&self, path: &ActorPath) {
        let removed = self.lock().states.remove(path);
        drop(removed);
    }

    fn flush(&self) -> FlushFuture {
        Box::pin(std::future::ready(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(content: &'static str) -> PendingSnapshot {
        PendingSnapshot::new(1, move || Ok(content.into()))
    }

    #[test]
    fn newest_state_is_loaded_until_removed() {
        let (store, path) = (MemoryStore::new(), ActorPath::root("one").unwrap());
        store.save(&path, snapshot("1"));
        store.save(&path, snapshot("2"));
        assert_eq!(&*store.load(&path).unwrap().unwrap().content, b"2");
        store.remove(&path);
        assert_eq!(store.load(&path), Ok(None));
    }

    #[test]
    fn only_four_quarantined_states_are_kept_per_path() {
        let store = MemoryStore::new();
        let (one, two) = (ActorPath::root("one").unwrap(), ActorPath::root("two").unwrap());
        store.save(&two, snapshot("0"));
        store.quarantine(&two, "first of all");
        for content in ["1", "2", "3", "4", "5"] {
            store.save(&one, snapshot(content));
            store.quarantine(&one, content);
        }
        let why: Vec<String> = store.quarantined().into_iter().map(|aside| aside.reason).collect();
        assert_eq!(why, ["first of all", "2", "3", "4", "5"]);
    }
}

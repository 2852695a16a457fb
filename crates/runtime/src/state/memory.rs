//! States in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Damaged, Draft, Flushed, SetAside, StateStore, StoredState};
use crate::path::ActorPath;

/// States set aside that are kept for one path; the oldest goes first.
pub(super) const ASIDES_PER_PATH_MAX: usize = 4;

/// A store in memory: states survive a runtime, not the process. For tests, and to share states between runtimes that
/// follow each other in one process.
///
/// It holds one state a path until that is removed, and the last four that were set aside for each path.
#[derive(Default)]
pub struct MemoryStore(Mutex<Shelves>);

#[derive(Default)]
struct Shelves {
    states: HashMap<ActorPath, Arc<Draft>>,
    asides: Vec<SetAside>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The states that were set aside, oldest first.
    #[must_use]
    pub fn asides(&self) -> Vec<SetAside> {
        self.lock().asides.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelves {
    fn put_aside(&mut self, aside: SetAside) {
        let of_this_path = |(at, one): (usize, &SetAside)| (one.path == aside.path).then_some(at);
        let earlier: Vec<usize> = self.asides.iter().enumerate().filter_map(of_this_path).collect();
        if let (Some(oldest), ASIDES_PER_PATH_MAX..) = (earlier.first(), earlier.len()) {
            self.asides.remove(*oldest);
        }
        self.asides.push(aside);
    }
}

impl StateStore for MemoryStore {
    fn load(&self, path: &ActorPath) -> Result<Option<StoredState>, Damaged> {
        let draft = self.lock().states.get(path).cloned();
        match draft.map(|draft| draft.encode()) {
            None => Ok(None),
            Some(Ok(state)) => Ok(Some(state)),
            Some(Err(reason)) => {
                self.lock().states.remove(path);
                Err(Damaged(reason))
            }
        }
    }

    fn save(&self, path: &ActorPath, draft: Draft) {
        let replaced = self.lock().states.insert(path.clone(), Arc::new(draft));
        // Outside the lock: what a snapshot does when it is dropped is its own affair.
        drop(replaced);
    }

    fn set_aside(&self, path: &ActorPath, why: &str) {
        let Some(draft) = self.lock().states.remove(path) else { return };
        let remains = draft.encode().map_err(String::into_bytes);
        let aside = SetAside { path: path.to_string(), why: why.to_owned(), remains };
        self.lock().put_aside(aside);
    }

    fn remove(&self, path: &ActorPath) {
        let removed = self.lock().states.remove(path);
        drop(removed);
    }

    fn flush(&self) -> Flushed {
        Box::pin(std::future::ready(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(content: &'static str) -> Draft {
        Draft::new(1, move || Ok(content.into()))
    }

    #[test]
    fn the_newest_state_is_the_one_that_is_loaded_until_it_is_removed() {
        let (store, path) = (MemoryStore::new(), ActorPath::root("one").unwrap());
        store.save(&path, draft("1"));
        store.save(&path, draft("2"));
        assert_eq!(&*store.load(&path).unwrap().unwrap().content, b"2");
        store.remove(&path);
        assert_eq!(store.load(&path), Ok(None));
    }

    #[test]
    fn only_the_last_four_states_set_aside_are_kept_for_each_path() {
        let store = MemoryStore::new();
        let (one, two) = (ActorPath::root("one").unwrap(), ActorPath::root("two").unwrap());
        store.save(&two, draft("0"));
        store.set_aside(&two, "first of all");
        for content in ["1", "2", "3", "4", "5"] {
            store.save(&one, draft(content));
            store.set_aside(&one, content);
        }
        let why: Vec<String> = store.asides().into_iter().map(|aside| aside.why).collect();
        assert_eq!(why, ["first of all", "2", "3", "4", "5"]);
    }
}

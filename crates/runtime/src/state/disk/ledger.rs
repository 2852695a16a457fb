//! What a store on disk has in memory: the newest state of every path, and what is still on its way.
//!
//! What is handed in replaces what waits for the same path, so a disk that is slow or refuses makes nothing grow but
//! the time until things are safe.

use std::collections::HashMap;
use std::sync::Arc;

use crate::path::ActorPath;
use crate::state::memory::ASIDES_PER_PATH_MAX;
use crate::state::{Damaged, Draft, StoredState};

/// Paths whose changes may wait at a time. A tree is far smaller; what goes beyond is refused.
pub(super) const CHANGES_MAX: usize = 65_536;

/// What counts for each state beside its content and its path, as a rough measure of what it takes in memory.
const OVERHEAD_BYTES: usize = 128;

/// What is to become of one path.
#[derive(Default)]
pub(super) struct Change {
    pub(super) asides: Vec<Aside>,
    pub(super) then: Option<Then>,
}

/// A state to be set aside: `draft`, or what is stored where there is none.
pub(super) struct Aside {
    pub(super) why: String,
    pub(super) draft: Option<Arc<Draft>>,
}

/// What follows the setting aside, if there is any.
pub(super) enum Then {
    Save(Arc<Draft>),
    Remove,
}

/// The changes of one group.
pub(super) type Group = HashMap<ActorPath, Change>;

/// See the module.
pub(super) struct Ledger {
    stored: HashMap<ActorPath, StoredState>,
    bytes: usize,
    damaged: HashMap<ActorPath, String>,
    waiting: Group,
    /// What the writer has taken and not yet brought into `stored`.
    taken: Arc<Group>,
    /// Paths that the writer holds back because the disk refuses them.
    pub(super) held_back: usize,
    /// Changes handed in so far.
    pub(super) handed: u64,
    /// The writer sleeps until there is something to do. While it writes, or pauses between two groups, nobody need
    /// wake it.
    pub(super) asleep: bool,
    /// Somebody waits for the disk.
    pub(super) urgent: bool,
    pub(super) closing: bool,
}

impl Ledger {
    pub(super) fn new(stored: HashMap<ActorPath, StoredState>, damaged: HashMap<ActorPath, String>) -> Self {
        let bytes = stored.iter().map(|(path, state)| footprint(path, state)).sum();
        Self {
            stored,
            bytes,
            // What is damaged is to be set aside: there is something to write already.
            urgent: !damaged.is_empty(),
            handed: u64::from(!damaged.is_empty()),
            damaged,
            waiting: Group::new(),
            taken: Arc::default(),
            held_back: 0,
            asleep: false,
            closing: false,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    // === what the store is asked ===

    /// Takes a draft in. It comes back where there is no room, else the one that it replaces.
    pub(super) fn save(&mut self, path: &ActorPath, draft: Draft) -> Result<Option<Then>, Draft> {
        match self.change(path) {
            Some(change) => Ok(change.then.replace(Then::Save(Arc::new(draft)))),
            None => Err(draft),
        }
    }

    /// Whether there was room for it.
    pub(super) fn remove(&mut self, path: &ActorPath) -> bool {
        self.damaged.remove(path);
        self.change(path).map(|change| change.then.replace(Then::Remove)).is_some()
    }

    /// Whether there was room for it.
    pub(super) fn set_aside(&mut self, path: &ActorPath, why: &str) -> bool {
        let Some(change) = self.change(path) else { return false };
        let why = why.to_owned();
        match change.then.take() {
            Some(Then::Save(draft)) => change.asides.push(Aside { why, draft: Some(draft) }),
            Some(Then::Remove) => change.then = Some(Then::Remove),
            None if change.asides.is_empty() => change.asides.push(Aside { why, draft: None }),
            None => {}
        }
        if change.asides.len() > ASIDES_PER_PATH_MAX {
            change.asides.remove(0);
        }
        true
    }

    fn change(&mut self, path: &ActorPath) -> Option<&mut Change> {
        let is_known = self.waiting.contains_key(path);
        if !is_known && self.waiting.len() + self.held_back >= CHANGES_MAX {
            return None;
        }
        self.handed += 1;
        Some(self.waiting.entry(path.clone()).or_default())
    }

    /// The drafts that stand above what is stored, newest first; what holds when none of them can be used.
    pub(super) fn drafts(&self, path: &ActorPath) -> (Vec<Arc<Draft>>, Option<StoredState>) {
        let mut drafts = Vec::new();
        for change in [self.waiting.get(path), self.taken.get(path)].into_iter().flatten() {
            if let Some(Then::Save(draft)) = &change.then {
                drafts.push(Arc::clone(draft));
            }
            if !change.asides.is_empty() || matches!(change.then, Some(Then::Remove)) {
                return (drafts, None);
            }
        }
        (drafts, self.stored.get(path).cloned())
    }

    /// Says once that what stood under `path` is damaged.
    pub(super) fn damage(&mut self, path: &ActorPath) -> Result<(), Damaged> {
        self.damaged.remove(path).map_or(Ok(()), |reason| Err(Damaged(reason)))
    }

    // === what the writer does ===

    /// Hands the waiting changes to the writer.
    pub(super) fn take(&mut self) -> Arc<Group> {
        self.urgent = false;
        self.taken = Arc::new(std::mem::take(&mut self.waiting));
        Arc::clone(&self.taken)
    }

    /// The writer has brought what it took into `stored`.
    pub(super) fn taken_in(&mut self) -> Arc<Group> {
        std::mem::take(&mut self.taken)
    }

    pub(super) fn stored(&self, path: &ActorPath) -> Option<&StoredState> {
        self.stored.get(path)
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &ActorPath> {
        self.stored.keys()
    }

    /// What all states would take if `state` were stored under `path`.
    pub(super) fn bytes_with(&self, path: &ActorPath, state: &StoredState) -> usize {
        let replaced = self.stored.get(path).map_or(0, |old| footprint(path, old));
        self.bytes - replaced + footprint(path, state)
    }

    pub(super) fn store(&mut self, path: &ActorPath, state: StoredState) {
        self.bytes = self.bytes_with(path, &state);
        self.stored.insert(path.clone(), state);
    }

    pub(super) fn drop_stored(&mut self, path: &ActorPath) {
        if let Some(old) = self.stored.remove(path) {
            self.bytes -= footprint(path, &old);
        }
    }
}

fn footprint(path: &ActorPath, state: &StoredState) -> usize {
    path.as_str().len() + state.content.len() + OVERHEAD_BYTES
}

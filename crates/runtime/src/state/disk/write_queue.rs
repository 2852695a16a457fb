//! What a store on disk has in memory: the newest state of every path, and what is still on its way.
//!
//! What is handed in replaces what waits for the same path, so a disk that is slow or refuses makes nothing grow but
//! the time until things are safe.

use std::collections::HashMap;
use std::sync::Arc;

use crate::path::ActorPath;
use crate::state::memory::QUARANTINED_PER_PATH_MAX;
use crate::state::{DamagedState, PendingSnapshot, StoredState};

/// Paths whose changes may wait at a time. A tree is far smaller; what goes beyond is refused.
pub(super) const PENDING_PATHS_MAX: usize = 65_536;

/// What counts for each state beside its content and its path, as a rough measure of what it takes in memory.
const ENTRY_OVERHEAD_BYTES: usize = 128;

/// What is to become of one path.
#[derive(Default)]
pub(super) struct PendingWrite {
    pub(super) quarantines: Vec<PendingQuarantine>,
    pub(super) op: Option<WriteOp>,
}

/// A state to be set aside: `draft`, or what is stored where there is none.
pub(super) struct PendingQuarantine {
    pub(super) reason: String,
    pub(super) snapshot: Option<Arc<PendingSnapshot>>,
}

/// What follows the setting aside, if there is any.
pub(super) enum WriteOp {
    Save(Arc<PendingSnapshot>),
    Remove,
}

/// The changes of one group.
pub(super) type WriteBatch = HashMap<ActorPath, PendingWrite>;

/// See the module.
pub(super) struct WriteQueue {
    states: HashMap<ActorPath, StoredState>,
    bytes: usize,
    damaged: HashMap<ActorPath, String>,
    pending: WriteBatch,
    /// What the writer has taken and not yet brought into `stored`.
    in_flight: Arc<WriteBatch>,
    /// Paths that the writer holds back because the disk refuses them.
    pub(super) unwritten_paths: usize,
    /// Changes handed in so far.
    pub(super) accepted: u64,
    /// The writer sleeps until there is something to do. While it writes, or pauses between two groups, nobody need
    /// wake it.
    pub(super) is_writer_idle: bool,
    /// Somebody waits for the disk.
    pub(super) is_flush_requested: bool,
    pub(super) is_closing: bool,
}

impl WriteQueue {
    pub(super) fn new(stored: HashMap<ActorPath, StoredState>, damaged: HashMap<ActorPath, String>) -> Self {
        let bytes = stored.iter().map(|(path, state)| stored_bytes(path, state)).sum();
        Self {
            states: stored,
            bytes,
            // What is damaged is to be set aside: there is something to write already.
            is_flush_requested: !damaged.is_empty(),
            accepted: u64::from(!damaged.is_empty()),
            damaged,
            pending: WriteBatch::new(),
            in_flight: Arc::default(),
            unwritten_paths: 0,
            is_writer_idle: false,
            is_closing: false,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    // === what the store is asked ===

    /// Takes a draft in. It comes back where there is no room, else the one that it replaces.
    pub(super) fn save(
        &mut self,
        path: &ActorPath,
        draft: PendingSnapshot,
    ) -> Result<Option<WriteOp>, PendingSnapshot> {
        match self.pending_write(path) {
            Some(change) => Ok(change.op.replace(WriteOp::Save(Arc::new(draft)))),
            None => Err(draft),
        }
    }

    /// Whether there was room for it.
    pub(super) fn remove(&mut self, path: &ActorPath) -> bool {
        self.damaged.remove(path);
        self.pending_write(path).map(|change| change.op.replace(WriteOp::Remove)).is_some()
    }

    /// Whether there was room for it.
    pub(super) fn quarantine(&mut self, path: &ActorPath, why: &str) -> bool {
        let Some(change) = self.pending_write(path) else { return false };
        let why = why.to_owned();
        match change.op.take() {
            Some(WriteOp::Save(draft)) => {
                change.quarantines.push(PendingQuarantine { reason: why, snapshot: Some(draft) })
            }
            Some(WriteOp::Remove) => change.op = Some(WriteOp::Remove),
            None if change.quarantines.is_empty() => {
                change.quarantines.push(PendingQuarantine { reason: why, snapshot: None })
            }
            None => {}
        }
        if change.quarantines.len() > QUARANTINED_PER_PATH_MAX {
            change.quarantines.remove(0);
        }
        true
    }

    fn pending_write(&mut self, path: &ActorPath) -> Option<&mut PendingWrite> {
        let is_known = self.pending.contains_key(path);
        if !is_known && self.pending.len() + self.unwritten_paths >= PENDING_PATHS_MAX {
            return None;
        }
        self.accepted += 1;
        Some(self.pending.entry(path.clone()).or_default())
    }

    /// The drafts that stand above what is stored, newest first; what holds when none of them can be used.
    pub(super) fn newest_snapshots(
        &self,
        path: &ActorPath,
    ) -> (Vec<Arc<PendingSnapshot>>, Option<StoredState>) {
        let mut drafts = Vec::new();
        for change in [self.pending.get(path), self.in_flight.get(path)].into_iter().flatten() {
            if let Some(WriteOp::Save(draft)) = &change.op {
                drafts.push(Arc::clone(draft));
            }
            if !change.quarantines.is_empty() || matches!(change.op, Some(WriteOp::Remove)) {
                return (drafts, None);
            }
        }
        (drafts, self.states.get(path).cloned())
    }

    /// Says once that what stood under `path` is damaged.
    pub(super) fn take_damage(&mut self, path: &ActorPath) -> Result<(), DamagedState> {
        self.damaged.remove(path).map_or(Ok(()), |reason| Err(DamagedState(reason)))
    }

    // === what the writer does ===

    /// Hands the waiting changes to the writer.
    pub(super) fn take_batch(&mut self) -> Arc<WriteBatch> {
        self.is_flush_requested = false;
        self.in_flight = Arc::new(std::mem::take(&mut self.pending));
        Arc::clone(&self.in_flight)
    }

    /// The writer has brought what it took into `stored`.
    pub(super) fn release_batch(&mut self) -> Arc<WriteBatch> {
        std::mem::take(&mut self.in_flight)
    }

    pub(super) fn stored(&self, path: &ActorPath) -> Option<&StoredState> {
        self.states.get(path)
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &ActorPath> {
        self.states.keys()
    }

    /// What all states would take if `state` were stored under `path`.
    pub(super) fn bytes_after(&self, path: &ActorPath, state: &StoredState) -> usize {
        let replaced = self.states.get(path).map_or(0, |old| stored_bytes(path, old));
        self.bytes - replaced + stored_bytes(path, state)
    }

    pub(super) fn put(&mut self, path: &ActorPath, state: StoredState) {
        self.bytes = self.bytes_after(path, &state);
        self.states.insert(path.clone(), state);
    }

    pub(super) fn remove_stored(&mut self, path: &ActorPath) {
        if let Some(old) = self.states.remove(path) {
            self.bytes -= stored_bytes(path, &old);
        }
    }
}

fn stored_bytes(path: &ActorPath, state: &StoredState) -> usize {
    path.as_str().len() + state.content.len() + ENTRY_OVERHEAD_BYTES
}

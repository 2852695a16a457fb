//! The states that a store on disk has in memory: the newest state of every path, and the changes that wait for the
//! disk.
//!
//! A saved snapshot replaces the one that waits for the same path. So a disk that is slow or refuses delays writes,
//! and no queue grows.

use std::collections::HashMap;
use std::sync::Arc;

use crate::path::ActorPath;
use crate::state::memory::QUARANTINED_PER_PATH_MAX;
use crate::state::{DamagedState, PendingSnapshot, StoredState};

/// The most paths whose changes may wait at a time. A tree is far smaller; a change beyond this is refused.
pub(super) const PENDING_PATHS_MAX: usize = 65_536;

/// The bytes that count for each state beside its content and its path, as a rough measure of its memory.
const ENTRY_OVERHEAD_BYTES: usize = 128;

/// The change of one path.
#[derive(Default)]
pub(super) struct PendingWrite {
    pub(super) quarantines: Vec<PendingQuarantine>,
    pub(super) op: Option<WriteOp>,
}

/// A state to be quarantined: `snapshot`, or the stored state if there is none.
pub(super) struct PendingQuarantine {
    pub(super) reason: String,
    pub(super) snapshot: Option<Arc<PendingSnapshot>>,
}

/// The change after a quarantine, if there is any.
pub(super) enum WriteOp {
    Save(Arc<PendingSnapshot>),
    Remove,
}

/// The changes of one group.
pub(super) type PendingWrites = HashMap<ActorPath, PendingWrite>;

/// The queue; see the module.
pub(super) struct WriteQueue {
    states: HashMap<ActorPath, StoredState>,
    bytes: usize,
    damaged: HashMap<ActorPath, String>,
    pending: PendingWrites,
    /// The batch that the writer has taken and not yet brought into `states`.
    in_flight: Arc<PendingWrites>,
    /// The number of paths that the writer holds back because the disk refuses them.
    pub(super) unwritten_paths: usize,
    /// The number of changes accepted so far.
    pub(super) accepted: u64,
    /// The writer sleeps until there is something to do. While it writes, or pauses between two groups, it needs no
    /// wake-up.
    pub(super) is_writer_idle: bool,
    /// A caller waits for the disk.
    pub(super) is_flush_requested: bool,
    pub(super) is_closing: bool,
}

impl WriteQueue {
    pub(super) fn new(stored: HashMap<ActorPath, StoredState>, damaged: HashMap<ActorPath, String>) -> Self {
        let bytes = stored.iter().map(|(path, state)| stored_bytes(path, state)).sum();
        Self {
            states: stored,
            bytes,
            // A damaged state is quarantined, so there is something to write already.
            is_flush_requested: !damaged.is_empty(),
            accepted: u64::from(!damaged.is_empty()),
            damaged,
            pending: PendingWrites::new(),
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

    // === the store's side ===

    /// Accepts a snapshot. Returns it if there is no room, else the one that it replaces.
    pub(super) fn save(
        &mut self,
        path: &ActorPath,
        pending: PendingSnapshot,
    ) -> Result<Option<WriteOp>, PendingSnapshot> {
        match self.pending_write(path) {
            Some(change) => Ok(change.op.replace(WriteOp::Save(Arc::new(pending)))),
            None => Err(pending),
        }
    }

    /// Removes a path. Returns whether there was room for the change.
    pub(super) fn remove(&mut self, path: &ActorPath) -> bool {
        self.damaged.remove(path);
        self.pending_write(path).map(|change| change.op.replace(WriteOp::Remove)).is_some()
    }

    /// Quarantines a path's state. Returns whether there was room for the change.
    pub(super) fn quarantine(&mut self, path: &ActorPath, why: &str) -> bool {
        let Some(change) = self.pending_write(path) else { return false };
        let why = why.to_owned();
        match change.op.take() {
            Some(WriteOp::Save(pending)) => {
                change.quarantines.push(PendingQuarantine { reason: why, snapshot: Some(pending) })
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

    /// Returns the snapshots above the stored state, newest first, and the state to use if none of them can be used.
    pub(super) fn newest_snapshots(
        &self,
        path: &ActorPath,
    ) -> (Vec<Arc<PendingSnapshot>>, Option<StoredState>) {
        let mut candidates = Vec::new();
        for change in [self.pending.get(path), self.in_flight.get(path)].into_iter().flatten() {
            if let Some(WriteOp::Save(pending)) = &change.op {
                candidates.push(Arc::clone(pending));
            }
            if !change.quarantines.is_empty() || matches!(change.op, Some(WriteOp::Remove)) {
                return (candidates, None);
            }
        }
        (candidates, self.states.get(path).cloned())
    }

    /// Reports once that the state under `path` is damaged.
    pub(super) fn take_damage(&mut self, path: &ActorPath) -> Result<(), DamagedState> {
        self.damaged.remove(path).map_or(Ok(()), |reason| Err(DamagedState(reason)))
    }

    // === the writer's side ===

    /// Passes the waiting changes to the writer.
    pub(super) fn take_batch(&mut self) -> Arc<PendingWrites> {
        self.is_flush_requested = false;
        self.in_flight = Arc::new(std::mem::take(&mut self.pending));
        Arc::clone(&self.in_flight)
    }

    /// Ends a batch: the writer has brought it into `stored`.
    pub(super) fn release_batch(&mut self) -> Arc<PendingWrites> {
        std::mem::take(&mut self.in_flight)
    }

    pub(super) fn stored(&self, path: &ActorPath) -> Option<&StoredState> {
        self.states.get(path)
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &ActorPath> {
        self.states.keys()
    }

    /// Returns the bytes of all states if `state` were stored under `path`.
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

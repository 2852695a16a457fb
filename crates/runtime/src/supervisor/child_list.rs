//! The list of a supervisor's children, readable without a message to the supervisor.
//!
//! A slot is listed from the description of the supervisor until the slot is finalized or dropped. So the children of
//! a supervisor that never starts, or that is killed in its start, can still be found.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::machine::ChildId;
use crate::actor::slot::any_slot::AnySlot;

/// The children in their order.
pub(crate) struct ChildList(Mutex<BTreeMap<ChildId, Arc<dyn AnySlot>>>);

impl ChildList {
    /// Lists the initial children, under the ids that the first incarnation gives them.
    pub(crate) fn new(initial: &[Arc<dyn AnySlot>]) -> Self {
        Self(Mutex::new((0..).zip(initial.iter().cloned()).collect()))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ChildId, Arc<dyn AnySlot>>> {
        self.0.lock()
    }

    /// Locks the list until the returned guard is dropped.
    #[cfg(test)]
    pub(crate) fn hold_lock(&self) -> impl Drop {
        self.lock()
    }

    pub(crate) fn insert(&self, id: ChildId, slot: Arc<dyn AnySlot>) {
        self.lock().insert(id, slot);
    }

    pub(crate) fn remove(&self, id: ChildId) {
        self.lock().remove(&id);
    }

    pub(crate) fn slots(&self) -> Vec<Arc<dyn AnySlot>> {
        self.lock().values().cloned().collect()
    }

    pub(crate) fn entries(&self) -> Vec<(ChildId, Arc<dyn AnySlot>)> {
        self.lock().iter().map(|(id, slot)| (*id, Arc::clone(slot))).collect()
    }

    /// Replaces the children of the previous incarnation with those of a new one.
    pub(crate) fn replace(&self, children: impl Iterator<Item = (ChildId, Arc<dyn AnySlot>)>) {
        let children = children.collect();
        let replaced = std::mem::replace(&mut *self.lock(), children);
        // Dropping a slot runs the destructor of its worker.
        drop(replaced);
    }
}

//! Who a supervisor's children are, for all to see without asking it.
//!
//! A slot is listed from the moment that the supervisor is described until the slot is dropped or at rest. So a
//! supervisor that never starts, or that is killed in its start, leaves no child behind that nobody finds.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::machine::ChildId;
use crate::actor::slot::any_slot::AnySlot;

/// The children in their order.
pub(crate) struct ChildList(Mutex<BTreeMap<ChildId, Arc<dyn AnySlot>>>);

impl ChildList {
    /// Lists the children that a supervisor has from the start, under the keys that its first incarnation gives them.
    pub(crate) fn new(initial: &[Arc<dyn AnySlot>]) -> Self {
        Self(Mutex::new((0..).zip(initial.iter().cloned()).collect()))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ChildId, Arc<dyn AnySlot>>> {
        self.0.lock()
    }

    /// Keeps the lock for as long as what is returned lives.
    #[cfg(test)]
    pub(crate) fn hold_lock(&self) -> impl Drop {
        self.lock()
    }

    pub(crate) fn insert(&self, key: ChildId, slot: Arc<dyn AnySlot>) {
        self.lock().insert(key, slot);
    }

    pub(crate) fn remove(&self, key: ChildId) {
        self.lock().remove(&key);
    }

    pub(crate) fn slots(&self) -> Vec<Arc<dyn AnySlot>> {
        self.lock().values().cloned().collect()
    }

    pub(crate) fn entries(&self) -> Vec<(ChildId, Arc<dyn AnySlot>)> {
        self.lock().iter().map(|(key, slot)| (*key, Arc::clone(slot))).collect()
    }

    /// Lists the children of a new incarnation in place of those of the one before it.
    pub(crate) fn replace(&self, children: impl Iterator<Item = (ChildId, Arc<dyn AnySlot>)>) {
        let children = children.collect();
        let replaced = std::mem::replace(&mut *self.lock(), children);
        // A slot that goes with them runs code of its worker.
        drop(replaced);
    }
}

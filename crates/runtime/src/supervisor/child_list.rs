//! Who a supervisor's children are, for all to see without asking it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::machine::ChildId;
use crate::slot::any_slot::AnySlot;

/// The children in their order.
#[derive(Default)]
pub(crate) struct ChildList(Mutex<BTreeMap<ChildId, Arc<dyn AnySlot>>>);

impl ChildList {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ChildId, Arc<dyn AnySlot>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Empties the listing.
    pub(crate) fn take_all(&self) -> Vec<Arc<dyn AnySlot>> {
        std::mem::take(&mut *self.lock()).into_values().collect()
    }
}

//! How many children a supervisor has, by what they are and do.

use serde::{Deserialize, Serialize};

use crate::actor::slot::any_slot::AnySlot;
use crate::actor::slot::identity::{ActorKind, ActorStatus};

/// How many children a supervisor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChildCounts {
    /// All children that it knows, whether they run or not.
    pub specs: usize,
    /// Those that have an incarnation. One that is restarting has none.
    pub active: usize,
    /// Those that are themselves supervisors.
    pub supervisors: usize,
    /// Those that are not.
    pub workers: usize,
}

impl ChildCounts {
    /// Adds one child.
    pub(super) fn add(&mut self, slot: &dyn AnySlot) {
        let identity = slot.identity();
        self.specs += 1;
        let status = identity.state().status;
        let has_started = identity.state().generation > 0;
        if has_started
            && matches!(status, ActorStatus::Starting | ActorStatus::Running | ActorStatus::Stopping)
        {
            self.active += 1;
        }
        match identity.kind() {
            ActorKind::Supervisor => self.supervisors += 1,
            ActorKind::Worker => self.workers += 1,
        }
    }
}

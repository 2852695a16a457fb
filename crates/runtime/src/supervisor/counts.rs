//! The numbers of a supervisor's children, by kind and state.

use serde::{Deserialize, Serialize};

use crate::actor::slot::any_slot::AnySlot;
use crate::identity::{ActorKind, ActorStatus};

/// The numbers of a supervisor's children.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChildCounts {
    /// The registered children, running or not.
    pub specs: usize,
    /// Children with an incarnation. A restarting child has none.
    pub active: usize,
    /// Children that are supervisors.
    pub supervisors: usize,
    /// Children that are workers.
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

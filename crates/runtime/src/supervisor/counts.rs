//! How many children a supervisor has, by what they are and do.

use serde::{Deserialize, Serialize};

use crate::slot::any_slot::AnySlot;
use crate::slot::identity::{Kind, Status};

/// How many children a supervisor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// All children that it knows, whether they run or not.
    pub specs: usize,
    /// Those that have an incarnation. One that is restarting has none.
    pub active: usize,
    /// Those that are themselves supervisors.
    pub supervisors: usize,
    /// Those that are not.
    pub workers: usize,
}

impl Counts {
    /// Adds one child.
    pub(super) fn add(&mut self, slot: &dyn AnySlot) {
        let identity = slot.identity();
        self.specs += 1;
        let status = identity.standing().status;
        let has_started = identity.standing().generation > 0;
        if has_started && matches!(status, Status::Starting | Status::Running | Status::Stopping) {
            self.active += 1;
        }
        match identity.kind() {
            Kind::Supervisor => self.supervisors += 1,
            Kind::Worker => self.workers += 1,
        }
    }
}

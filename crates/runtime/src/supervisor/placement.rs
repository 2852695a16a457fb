//! Places slots in the tree: checks a child against its supervisor's policy, and assigns paths.

use super::admin_error::AdminError;
use super::spec_error::SpecError;
use crate::actor::slot::any_slot::AnySlot;
use crate::path::ActorPath;
use crate::policy::{AutoShutdown, SupervisorPolicy};

/// Refuses a significant child below a supervisor without automatic shutdown.
pub(super) fn check_significance(policy: &SupervisorPolicy, child: &dyn AnySlot) -> Result<(), SpecError> {
    let identity = child.identity();
    if identity.policy().significant && policy.auto_shutdown == AutoShutdown::Never {
        return Err(SpecError::NoAutoShutdown { name: identity.name().to_owned() });
    }
    Ok(())
}

/// Assigns a slot its path below its supervisor's.
pub(super) fn assign_path(above: &ActorPath, slot: &dyn AnySlot) -> Result<ActorPath, AdminError> {
    let identity = slot.identity();
    let path = above.child(identity.name()).map_err(SpecError::from)?;
    if !place_at(slot, path.clone()) && identity.path() != Some(&path) {
        return Err(AdminError::AlreadyPresent { path });
    }
    Ok(path)
}

/// Assigns a slot and its descendants their paths; false if it has one.
pub(crate) fn place_at(slot: &dyn AnySlot, path: ActorPath) -> bool {
    if !slot.identity().assign_path(path.clone()) {
        return false;
    }
    for child in slot.children() {
        // Names are checked when they are given, so there is no other case.
        if let Ok(path) = path.child(child.identity().name()) {
            place_at(child.as_ref(), path);
        }
    }
    true
}

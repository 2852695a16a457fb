//! Adding children to a supervisor that runs.

use super::admin_error::AdminError;
use super::command::SupervisorMessage;
use super::handle::SupervisorHandle;
use super::spec::{Child, SupervisorSpec};
use crate::actor::worker::Worker;
use crate::messaging::address::Address;

impl SupervisorHandle {
    /// Adds a child, starts it, and returns its address once it is ready.
    ///
    /// # Errors
    /// When a child of that name exists, when its specification is invalid, or when it does not become ready; then
    /// nothing of it is kept. A child that another command stops before it is ready is kept, stopped.
    pub async fn add<W: Worker>(&self, child: Child<W>) -> Result<Address<W::Message>, AdminError> {
        let slot = child.into_slot()?;
        let address = slot.address();
        self.ask(|reply| SupervisorMessage::Add { slot, reply }).await?;
        Ok(address)
    }

    /// Adds a supervisor with its initial children, and returns its handle once all are ready.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub async fn add_supervisor(&self, spec: SupervisorSpec) -> Result<Self, AdminError> {
        let (slot, handle) = spec.into_slot()?;
        self.ask(|reply| SupervisorMessage::Add { slot, reply }).await?;
        Ok(handle)
    }
}

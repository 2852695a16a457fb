//! Adding children to a supervisor that runs.

use super::admin_error::AdminError;
use super::command::SupervisorMessage;
use super::handle::SupervisorHandle;
use super::spec::{Child, SupervisorSpec};
use crate::actor::worker::Worker;
use crate::messaging::address::Address;

impl SupervisorHandle {
    /// Takes in a child, starts it, and returns its address once it is ready.
    ///
    /// # Errors
    /// When there is a child of that name, when it cannot be taken in as it is, or when it does not become ready; nothing
    /// of it is kept then. One that is stopped by another order before it is ready is kept, and stopped.
    pub async fn add<W: Worker>(&self, child: Child<W>) -> Result<Address<W::Message>, AdminError> {
        let slot = child.into_slot()?;
        let address = slot.address();
        self.ask(|reply| SupervisorMessage::Add { slot, reply }).await?;
        Ok(address)
    }

    /// Takes in a supervisor with the children that it has from the start, and returns its handle once all are
    /// ready.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub async fn add_supervisor(&self, spec: SupervisorSpec) -> Result<Self, AdminError> {
        let (slot, handle) = spec.into_slot()?;
        self.ask(|reply| SupervisorMessage::Add { slot, reply }).await?;
        Ok(handle)
    }
}

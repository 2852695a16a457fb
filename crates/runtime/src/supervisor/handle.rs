//! How a supervisor is asked to do something.

use std::sync::Arc;

use super::admin_error::AdminError;
use super::child_list::ChildList;
use super::command::{AdminCommand, AdminResult, SupervisorMessage};
use super::counts::ChildCounts;
use crate::messaging::address::Address;
use crate::messaging::reply::Reply;
use crate::path::ActorPath;

/// A handle on a supervisor. Cheap to clone; it survives the supervisor's restarts.
#[derive(Clone)]
pub struct SupervisorHandle {
    address: Address<SupervisorMessage>,
    child_list: Arc<ChildList>,
}

impl SupervisorHandle {
    pub(crate) fn new(address: Address<SupervisorMessage>, listing: Arc<ChildList>) -> Self {
        Self { address, child_list: listing }
    }

    #[cfg(test)]
    pub(crate) fn child_list(&self) -> &ChildList {
        &self.child_list
    }

    /// The supervisor's path; `None` until it or a supervisor above it is in a tree.
    #[must_use]
    pub fn path(&self) -> Option<&ActorPath> {
        self.address.path()
    }

    /// Stops the child `name`; a restart that is pending will not happen. Idempotent. Messages that wait get the
    /// answer [`Stopped`](crate::CallError::Stopped).
    ///
    /// # Errors
    /// When there is no such child.
    pub async fn stop(&self, name: &str) -> Result<(), AdminError> {
        self.run_admin_command(name, AdminCommand::Stop).await
    }

    /// Starts the child `name`, which is stopped or has failed. Its budget stays as it is.
    ///
    /// # Errors
    /// When there is no such child, when it runs or is being restarted, or when it does not become ready.
    pub async fn start(&self, name: &str) -> Result<(), AdminError> {
        self.run_admin_command(name, AdminCommand::Start).await
    }

    /// Restarts the child `name` now, whatever it is doing. It keeps its mailbox and its checkpoint, and no budget
    /// is spent. Its siblings are not touched, whatever the strategy; one whose group is being restarted takes its
    /// turn there.
    ///
    /// # Errors
    /// When there is no such child, when it does not become ready, or when it is stopped meanwhile.
    pub async fn restart(&self, name: &str) -> Result<(), AdminError> {
        self.run_admin_command(name, AdminCommand::Restart).await
    }

    /// Drops the child `name`, which is at rest.
    ///
    /// # Errors
    /// When there is no such child, when it runs or is being restarted.
    pub async fn delete(&self, name: &str) -> Result<(), AdminError> {
        self.run_admin_command(name, AdminCommand::Delete).await
    }

    /// Stops the child `name` and drops it.
    ///
    /// # Errors
    /// When there is no such child.
    pub async fn remove(&self, name: &str) -> Result<(), AdminError> {
        self.run_admin_command(name, AdminCommand::Remove).await
    }

    /// Gives the child `name` its whole budget back, and starts it if it had failed.
    ///
    /// # Errors
    /// When there is no such child, or when it does not become ready.
    pub async fn reset(&self, name: &str) -> Result<(), AdminError> {
        self.run_admin_command(name, AdminCommand::Reset).await
    }

    /// The names of the children, in their order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.child_list.slots().iter().map(|slot| slot.identity().name().to_owned()).collect()
    }

    /// How many children there are, by what they are and do. Asks nobody, so a busy supervisor does not hold it up.
    #[must_use]
    pub fn counts(&self) -> ChildCounts {
        let mut counts = ChildCounts::default();
        for slot in self.child_list.slots() {
            counts.add(slot.as_ref());
        }
        counts
    }

    async fn run_admin_command(&self, name: &str, order: AdminCommand) -> Result<(), AdminError> {
        let name = name.to_owned();
        self.ask(|reply| SupervisorMessage::Admin { name, command: order, reply }).await
    }

    pub(super) async fn ask(
        &self,
        make: impl FnOnce(Reply<AdminResult>) -> SupervisorMessage,
    ) -> AdminResult {
        self.address.call(make).await.map_err(AdminError::Unavailable)?
    }
}

//! The handle that sends commands to a supervisor.

use std::sync::Arc;

use super::admin_error::AdminError;
use super::child_list::ChildList;
use super::command::{AdminCommand, AdminResult, SupervisorMessage};
use super::counts::ChildCounts;
use crate::messaging::address::Address;
use crate::messaging::reply::Reply;
use crate::path::ActorPath;

/// A handle to a supervisor. It is cheap to clone, and survives the supervisor's restarts.
#[derive(Clone)]
pub struct SupervisorHandle {
    address: Address<SupervisorMessage>,
    child_list: Arc<ChildList>,
}

impl SupervisorHandle {
    pub(crate) fn new(address: Address<SupervisorMessage>, child_list: Arc<ChildList>) -> Self {
        Self { address, child_list }
    }

    #[cfg(test)]
    pub(crate) fn child_list(&self) -> &ChildList {
        &self.child_list
    }

    /// Returns the supervisor's path; `None` until it or a supervisor above it is in a tree.
    #[must_use]
    pub fn path(&self) -> Option<&ActorPath> {
        self.address.path()
    }

    /// Stops the child `name` and cancels a pending restart. Idempotent. Messages that wait are answered with
    /// [`Stopped`](crate::CallError::Stopped).
    ///
    /// # Errors
    /// When there is no such child.
    pub async fn stop(&self, name: &str) -> Result<(), AdminError> {
        self.run_admin_command(name, AdminCommand::Stop).await
    }

    /// Starts the child `name`, which is stopped or has failed. Its budget does not change.
    ///
    /// # Errors
    /// When there is no such child, when it runs or is being restarted, or when it does not become ready.
    pub async fn start(&self, name: &str) -> Result<(), AdminError> {
        self.run_admin_command(name, AdminCommand::Start).await
    }

    /// Restarts the child `name` now, in any state. It keeps its mailbox and its checkpoint, and spends no budget.
    /// Its siblings are not touched under any strategy. If its group is being restarted, it starts in its turn.
    ///
    /// # Errors
    /// When there is no such child, when it does not become ready, or when it is stopped meanwhile.
    pub async fn restart(&self, name: &str) -> Result<(), AdminError> {
        self.run_admin_command(name, AdminCommand::Restart).await
    }

    /// Deletes the child `name`, which must not be running.
    ///
    /// # Errors
    /// When there is no such child, when it runs or is being restarted.
    pub async fn delete(&self, name: &str) -> Result<(), AdminError> {
        self.run_admin_command(name, AdminCommand::Delete).await
    }

    /// Stops the child `name` and deletes it.
    ///
    /// # Errors
    /// When there is no such child.
    pub async fn remove(&self, name: &str) -> Result<(), AdminError> {
        self.run_admin_command(name, AdminCommand::Remove).await
    }

    /// Restores the full restart budget of the child `name`, and starts it if it had failed.
    ///
    /// # Errors
    /// When there is no such child, or when it does not become ready.
    pub async fn reset(&self, name: &str) -> Result<(), AdminError> {
        self.run_admin_command(name, AdminCommand::Reset).await
    }

    /// Returns the names of the children, in their order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.child_list.slots().iter().map(|slot| slot.identity().name().to_owned()).collect()
    }

    /// Counts the children by kind and state. It sends no message, so a busy supervisor does not delay it.
    #[must_use]
    pub fn counts(&self) -> ChildCounts {
        let mut counts = ChildCounts::default();
        for slot in self.child_list.slots() {
            counts.add(slot.as_ref());
        }
        counts
    }

    async fn run_admin_command(&self, name: &str, command: AdminCommand) -> Result<(), AdminError> {
        let name = name.to_owned();
        self.ask(|reply| SupervisorMessage::Admin { name, command, reply }).await
    }

    pub(super) async fn ask(
        &self,
        make: impl FnOnce(Reply<AdminResult>) -> SupervisorMessage,
    ) -> AdminResult {
        self.address.call(make).await.map_err(AdminError::Unavailable)?
    }
}

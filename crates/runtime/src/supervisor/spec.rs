//! What supervisors and their children are made from.

use std::sync::Arc;

use super::Supervisor;
use super::handle::SupervisorHandle;
use super::listing::Listing;
use crate::actor::worker::{Plain, Worker};
use crate::messaging::address::Address;
use crate::messaging::mailbox;
use crate::path::{self, InvalidName};
use crate::policy::{ChildPolicy, Shutdown, SupervisorPolicy};
use crate::slot::Slot;
use crate::slot::any_slot::AnySlot;
use crate::slot::identity::{Identity, Kind};

/// A worker with a name and a policy, ready to be supervised.
pub struct Child<W: Worker> {
    name: String,
    worker: W,
    policy: ChildPolicy,
    mailbox_capacity: usize,
}

impl<W: Worker> Child<W> {
    /// A child with the default policy and a mailbox for 1,024 messages.
    pub fn new(name: impl Into<String>, worker: W) -> Self {
        let policy = ChildPolicy::default();
        Self { name: name.into(), worker, policy, mailbox_capacity: mailbox::CAPACITY_DEFAULT }
    }

    /// Sets the policy.
    #[must_use]
    pub fn policy(mut self, policy: ChildPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets how many messages may wait (at least 1).
    #[must_use]
    pub fn mailbox_capacity(mut self, messages: usize) -> Self {
        self.mailbox_capacity = messages;
        self
    }

    pub(super) fn into_slot(self) -> Result<Arc<Slot<Plain<W>>>, InvalidName> {
        path::check_name(&self.name)?;
        let identity = Identity::new(&self.name, Kind::Worker, self.policy);
        Ok(Slot::new(identity, self.mailbox_capacity, Plain(self.worker)))
    }
}

/// A supervisor with the children that it has from the start.
pub struct SupervisorSpec {
    name: String,
    policy: SupervisorPolicy,
    as_child: ChildPolicy,
    children: Vec<Arc<dyn AnySlot>>,
}

impl SupervisorSpec {
    /// A supervisor without children, one-for-one, whose own restarts follow the default policy.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            policy: SupervisorPolicy::default(),
            as_child: ChildPolicy::default(),
            children: Vec::new(),
        }
    }

    /// Sets how it supervises.
    #[must_use]
    pub fn policy(mut self, policy: SupervisorPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets how it is itself supervised.
    #[must_use]
    pub fn as_child(mut self, policy: ChildPolicy) -> Self {
        self.as_child = policy;
        self
    }

    /// Appends a child; it starts after those before it. Its address accepts messages already.
    ///
    /// # Errors
    /// When its name is no valid one.
    pub fn child<W: Worker>(&mut self, child: Child<W>) -> Result<Address<W::Message>, InvalidName> {
        let slot = child.into_slot()?;
        let address = slot.address();
        self.children.push(slot);
        Ok(address)
    }

    /// Appends a child that is itself a supervisor.
    ///
    /// # Errors
    /// When its name is no valid one.
    pub fn supervisor(&mut self, spec: Self) -> Result<SupervisorHandle, InvalidName> {
        let (slot, handle) = spec.into_slot()?;
        self.children.push(slot);
        Ok(handle)
    }

    pub(crate) fn own_shutdown(&self) -> Shutdown {
        self.as_child.shutdown
    }

    pub(crate) fn into_slot(self) -> Result<(Arc<Slot<Supervisor>>, SupervisorHandle), InvalidName> {
        path::check_name(&self.name)?;
        let listing = Arc::new(Listing::default());
        let identity = Identity::new(&self.name, Kind::Supervisor, self.as_child);
        let supervisor = Supervisor::new(self.policy, self.children, Arc::clone(&listing));
        let slot = Slot::new(identity, mailbox::CAPACITY_DEFAULT, supervisor);
        let handle = SupervisorHandle::new(slot.address(), listing);
        Ok((slot, handle))
    }
}

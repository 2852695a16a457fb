//! The description of supervisors and their children.

use std::collections::HashSet;
use std::sync::Arc;

use super::Supervisor;
use super::child_list::ChildList;
use super::handle::SupervisorHandle;
use super::placement::check_significance;
use super::spec_error::SpecError;
use crate::actor::slot::Slot;
use crate::actor::slot::any_slot::AnySlot;
use crate::actor::worker::{Worker, WorkerBehaviour};
use crate::identity::{ActorIdentity, ActorKind};
use crate::messaging::address::Address;
use crate::messaging::mailbox;
use crate::path;
use crate::policy::{ChildPolicy, Shutdown, SupervisorPolicy};
use crate::state::{Codec, Durable};

/// A worker with a name and a policy, ready to be supervised.
pub struct Child<W: Worker> {
    name: String,
    worker: W,
    policy: Arc<ChildPolicy>,
    mailbox_capacity: usize,
    persistent: bool,
    codec: Option<Codec<W::Snapshot>>,
}

impl<W: Worker> Child<W> {
    /// Returns a child with the [default policy](ChildPolicy::default), which restarts it at once, and a mailbox for 1,024
    /// messages.
    pub fn new(name: impl Into<String>, worker: W) -> Self {
        Self {
            name: name.into(),
            worker,
            policy: Arc::default(),
            mailbox_capacity: mailbox::CAPACITY_DEFAULT,
            persistent: false,
            codec: None,
        }
    }

    /// Sets the policy. Many children can share one.
    #[must_use]
    pub fn policy(mut self, policy: impl Into<Arc<ChildPolicy>>) -> Self {
        self.policy = policy.into();
        self
    }

    /// Sets the mailbox capacity in messages (at least 1).
    #[must_use]
    pub fn mailbox_capacity(mut self, messages: usize) -> Self {
        self.mailbox_capacity = messages;
        self
    }

    /// Keeps a child that is added at run time when its supervisor restarts. Without this, the child ends with the
    /// incarnation of the supervisor that it was added to. Initial children are always kept.
    #[must_use]
    pub fn persistent(mut self) -> Self {
        self.persistent = true;
        self
    }

    /// Keeps its snapshots beyond the process, in the runtime's state store under the child's path. Without a store
    /// (see [`RuntimeBuilder::state_store`](crate::RuntimeBuilder::state_store)) they survive crashes alone.
    ///
    /// The first incarnation in a process starts from the stored snapshot. Stopping the child keeps its state;
    /// [`SupervisorHandle::remove`] and [`delete`](SupervisorHandle::delete) delete it.
    #[must_use]
    pub fn durable(mut self) -> Self
    where
        W::Snapshot: Durable,
    {
        self.codec = Some(Codec::new());
        self
    }

    pub(super) fn into_slot(self) -> Result<Arc<Slot<WorkerBehaviour<W>>>, SpecError> {
        check_child(&self.name, &self.policy)?;
        if self.mailbox_capacity == 0 {
            return Err(SpecError::ZeroMailboxCapacity { name: self.name });
        }
        let identity = ActorIdentity::new(&self.name, ActorKind::Worker, self.policy, self.persistent);
        Ok(Slot::new(identity, self.mailbox_capacity, WorkerBehaviour(self.worker), self.codec))
    }
}

/// A supervisor with its initial children.
pub struct SupervisorSpec {
    name: String,
    policy: SupervisorPolicy,
    as_child: Arc<ChildPolicy>,
    persistent: bool,
    children: Vec<Arc<dyn AnySlot>>,
    names: HashSet<Box<str>>,
}

impl SupervisorSpec {
    /// Returns a supervisor without children, with the one-for-one strategy. Its own restarts follow the default
    /// policy, and its own shutdown has no limit, because its children have timeouts.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            policy: SupervisorPolicy::default(),
            as_child: Arc::new(ChildPolicy { shutdown: Shutdown::Unlimited, ..ChildPolicy::default() }),
            persistent: false,
            children: Vec::new(),
            names: HashSet::new(),
        }
    }

    /// Returns a one-for-one supervisor whose children are all added at run time; it stops them all at once.
    pub fn dynamic(name: impl Into<String>) -> Self {
        let policy = SupervisorPolicy { dynamic: true, ..SupervisorPolicy::default() };
        Self::new(name).policy(policy)
    }

    /// Sets the policy for its children.
    #[must_use]
    pub fn policy(mut self, policy: SupervisorPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the policy under which it is itself supervised.
    #[must_use]
    pub fn as_child(mut self, policy: impl Into<Arc<ChildPolicy>>) -> Self {
        self.as_child = policy.into();
        self
    }

    /// Keeps the supervisor as [`Child::persistent`] keeps a child.
    #[must_use]
    pub fn persistent(mut self) -> Self {
        self.persistent = true;
        self
    }

    /// Appends a child, which starts after those before it. Its address accepts messages at once.
    ///
    /// # Errors
    /// When its name is invalid or taken, or when its policy is invalid.
    pub fn child<W: Worker>(&mut self, child: Child<W>) -> Result<Address<W::Message>, SpecError> {
        let slot = child.into_slot()?;
        let address = slot.address();
        self.append(slot)?;
        Ok(address)
    }

    /// Appends a child that is itself a supervisor.
    ///
    /// # Errors
    /// As [`child`](Self::child), and when its policy does not allow the children that it has.
    pub fn supervisor(&mut self, spec: Self) -> Result<SupervisorHandle, SpecError> {
        let (slot, handle) = spec.into_slot()?;
        self.append(slot)?;
        Ok(handle)
    }

    fn append(&mut self, slot: Arc<dyn AnySlot>) -> Result<(), SpecError> {
        let name = slot.identity().name();
        if !self.names.insert(name.into()) {
            return Err(SpecError::Duplicate { path: format!("{}/{name}", self.name) });
        }
        self.children.push(slot);
        Ok(())
    }

    pub(crate) fn own_shutdown(&self) -> Shutdown {
        self.as_child.shutdown
    }

    pub(crate) fn into_slot(self) -> Result<(Arc<Slot<Supervisor>>, SupervisorHandle), SpecError> {
        check_child(&self.name, &self.as_child)?;
        for child in &self.children {
            check_significance(&self.policy, child.as_ref())?;
        }
        if let (true, Some(child)) = (self.policy.dynamic, self.children.first()) {
            return Err(SpecError::InitialChildOfDynamic { name: child.identity().name().to_owned() });
        }
        let child_list = Arc::new(ChildList::new(&self.children));
        let identity = ActorIdentity::new(&self.name, ActorKind::Supervisor, self.as_child, self.persistent);
        let supervisor = Supervisor::new(self.policy, self.children, Arc::clone(&child_list));
        let slot = Slot::new(identity, mailbox::CAPACITY_DEFAULT, supervisor, None);
        let handle = SupervisorHandle::new(slot.address(), child_list);
        Ok((slot, handle))
    }
}

fn check_child(name: &str, policy: &ChildPolicy) -> Result<(), SpecError> {
    path::check_name(name)?;
    policy.check().map_err(|fault| SpecError::Policy { name: name.to_owned(), fault })
}

//! What supervisors and their children are made from.

use std::collections::HashSet;
use std::sync::Arc;

use super::Supervisor;
use super::child_list::ChildList;
use super::handle::SupervisorHandle;
use super::spec_error::SpecError;
use crate::actor::slot::Slot;
use crate::actor::slot::any_slot::AnySlot;
use crate::actor::slot::identity::{ActorIdentity, ActorKind};
use crate::actor::worker::{Worker, WorkerBehaviour};
use crate::messaging::address::Address;
use crate::messaging::mailbox;
use crate::path;
use crate::policy::{AutoShutdown, ChildPolicy, Shutdown, SupervisorPolicy};
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
    /// A child with the default policy and a mailbox for 1,024 messages.
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

    /// Sets how many messages may wait (at least 1).
    #[must_use]
    pub fn mailbox_capacity(mut self, messages: usize) -> Self {
        self.mailbox_capacity = messages;
        self
    }

    /// Lets a child that is added while the tree runs come back when its supervisor is restarted. Without this it
    /// goes with the incarnation of the supervisor that it was added to. One that is there from the start always
    /// comes back.
    #[must_use]
    pub fn persistent(mut self) -> Self {
        self.persistent = true;
        self
    }

    /// Lets its snapshots outlive the process, in the runtime's state store under the child's path. Without a store
    /// (see [`RuntimeBuilder::state_store`](crate::RuntimeBuilder::state_store)) they survive crashes alone.
    ///
    /// The first incarnation in a process starts from what is stored. Stopping the child keeps its state;
    /// [`SupervisorHandle::remove`] and [`delete`](SupervisorHandle::delete) drop it.
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

/// A supervisor with the children that it has from the start.
pub struct SupervisorSpec {
    name: String,
    policy: SupervisorPolicy,
    as_child: Arc<ChildPolicy>,
    persistent: bool,
    children: Vec<Arc<dyn AnySlot>>,
    names: HashSet<Box<str>>,
}

impl SupervisorSpec {
    /// A supervisor without children, one-for-one, whose own restarts follow the default policy. It may take its
    /// time to stop: its children have timeouts of their own.
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

    /// A supervisor whose children are all added while it runs, one-for-one; they are stopped all at once.
    pub fn dynamic(name: impl Into<String>) -> Self {
        let policy = SupervisorPolicy { dynamic: true, ..SupervisorPolicy::default() };
        Self::new(name).policy(policy)
    }

    /// Sets how it supervises.
    #[must_use]
    pub fn policy(mut self, policy: SupervisorPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets how it is itself supervised.
    #[must_use]
    pub fn as_child(mut self, policy: impl Into<Arc<ChildPolicy>>) -> Self {
        self.as_child = policy.into();
        self
    }

    /// As [`Child::lasting`].
    #[must_use]
    pub fn persistent(mut self) -> Self {
        self.persistent = true;
        self
    }

    /// Appends a child; it starts after those before it. Its address accepts messages already.
    ///
    /// # Errors
    /// When its name is no valid one or is taken, or when its policy cannot be followed.
    pub fn child<W: Worker>(&mut self, child: Child<W>) -> Result<Address<W::Message>, SpecError> {
        let slot = child.into_slot()?;
        let address = slot.address();
        self.append(slot)?;
        Ok(address)
    }

    /// Appends a child that is itself a supervisor.
    ///
    /// # Errors
    /// As [`child`](Self::child), and when it cannot be a supervisor of the children that it has.
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
        let listing = Arc::new(ChildList::new(&self.children));
        let identity = ActorIdentity::new(&self.name, ActorKind::Supervisor, self.as_child, self.persistent);
        let supervisor = Supervisor::new(self.policy, self.children, Arc::clone(&listing));
        let slot = Slot::new(identity, mailbox::CAPACITY_DEFAULT, supervisor, None);
        let handle = SupervisorHandle::new(slot.address(), listing);
        Ok((slot, handle))
    }
}

fn check_child(name: &str, policy: &ChildPolicy) -> Result<(), SpecError> {
    path::check_name(name)?;
    policy.check().map_err(|fault| SpecError::Policy { name: name.to_owned(), fault })
}

/// Refuses a significant child below a supervisor that never ends by itself.
pub(super) fn check_significance(policy: &SupervisorPolicy, child: &dyn AnySlot) -> Result<(), SpecError> {
    let identity = child.identity();
    if identity.policy().significant && policy.auto_shutdown == AutoShutdown::Never {
        return Err(SpecError::NoAutoShutdown { name: identity.name().to_owned() });
    }
    Ok(())
}

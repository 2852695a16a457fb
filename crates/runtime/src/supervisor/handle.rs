//! How a supervisor is asked to do something.

use std::sync::Arc;

use thiserror::Error;

use super::command::{Command, Order};
use super::listing::Listing;
use super::roster::Objection;
use super::spec::{Child, SupervisorSpec};
use crate::address::Address;
use crate::path::{ActorPath, InvalidName};
use crate::reply::CallError;
use crate::worker::Worker;

/// Why a supervisor did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AdminError {
    /// There is no child of that name.
    #[error("there is no child named {name:?}")]
    NotFound {
        /// The name.
        name: String,
    },
    /// There is a child of that name already.
    #[error("there is a child named {name:?} already")]
    AlreadyPresent {
        /// The name.
        name: String,
    },
    /// The child runs.
    #[error("{name:?} is running")]
    Running {
        /// The child.
        name: String,
    },
    /// The child is between two incarnations.
    #[error("{name:?} is being restarted")]
    Restarting {
        /// The child.
        name: String,
    },
    /// The child did not become ready.
    #[error("{name:?} did not start: {message}")]
    StartFailed {
        /// The child.
        name: String,
        /// What it had to say.
        message: String,
    },
    /// The name cannot be part of a path.
    #[error(transparent)]
    InvalidName(#[from] InvalidName),
    /// The supervisor is stopping, or has failed.
    #[error("the supervisor does not answer: {0}")]
    Unavailable(CallError),
}

impl AdminError {
    pub(crate) fn from_objection(objection: Objection, name: String) -> Self {
        match objection {
            Objection::Running => Self::Running { name },
            Objection::Restarting => Self::Restarting { name },
            Objection::Stopping => Self::Unavailable(CallError::Stopped),
        }
    }
}

/// A handle on a supervisor. Cheap to clone; it survives the supervisor's restarts.
#[derive(Clone)]
pub struct SupervisorHandle {
    address: Address<Command>,
    listing: Arc<Listing>,
}

impl SupervisorHandle {
    pub(crate) fn new(address: Address<Command>, listing: Arc<Listing>) -> Self {
        Self { address, listing }
    }

    /// The supervisor's path; `None` until it has been started.
    #[must_use]
    pub fn path(&self) -> Option<&ActorPath> {
        self.address.path()
    }

    /// Takes in a child, starts it, and returns its address once it is ready.
    ///
    /// # Errors
    /// When there is a child of that name, when the name is no valid one, or when the child does not become ready;
    /// nothing of it is kept then.
    pub async fn add<W: Worker>(&self, child: Child<W>) -> Result<Address<W::Message>, AdminError> {
        let slot = child.into_slot()?;
        let address = slot.address();
        self.ask(|reply| Command::Add { slot, reply }).await?;
        Ok(address)
    }

    /// Takes in a supervisor with the children that it has from the start, and returns its handle once all are
    /// ready.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub async fn add_supervisor(&self, spec: SupervisorSpec) -> Result<Self, AdminError> {
        let (slot, handle) = spec.into_slot()?;
        self.ask(|reply| Command::Add { slot, reply }).await?;
        Ok(handle)
    }

    /// Stops the child `name`; a restart that is pending will not happen. Idempotent. Messages that wait get the
    /// answer [`Stopped`](CallError::Stopped).
    ///
    /// # Errors
    /// When there is no such child.
    pub async fn stop(&self, name: &str) -> Result<(), AdminError> {
        self.direct(name, Order::Stop).await
    }

    /// Starts the child `name`, which is stopped or has failed. Its budget stays as it is.
    ///
    /// # Errors
    /// When there is no such child, when it runs or is being restarted, or when it does not become ready.
    pub async fn start(&self, name: &str) -> Result<(), AdminError> {
        self.direct(name, Order::Start).await
    }

    /// Restarts the child `name` now, whatever it is doing. It keeps its mailbox and its checkpoint, and no budget
    /// is spent.
    ///
    /// # Errors
    /// When there is no such child, or when it does not become ready.
    pub async fn restart(&self, name: &str) -> Result<(), AdminError> {
        self.direct(name, Order::Restart).await
    }

    /// Stops the child `name` and drops it.
    ///
    /// # Errors
    /// When there is no such child.
    pub async fn remove(&self, name: &str) -> Result<(), AdminError> {
        self.direct(name, Order::Remove).await
    }

    /// Gives the child `name` its whole budget back, and starts it if it had failed.
    ///
    /// # Errors
    /// When there is no such child, or when it does not become ready.
    pub async fn reset(&self, name: &str) -> Result<(), AdminError> {
        self.direct(name, Order::Reset).await
    }

    /// The names of the children, in their order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.listing.slots().iter().map(|slot| slot.identity().name().to_owned()).collect()
    }

    async fn direct(&self, name: &str, order: Order) -> Result<(), AdminError> {
        let name = name.to_owned();
        self.ask(|reply| Command::Direct { name, order, reply }).await
    }

    async fn ask(
        &self,
        make: impl FnOnce(crate::Reply<Result<(), AdminError>>) -> Command,
    ) -> Result<(), AdminError> {
        self.address.call(make).await.map_err(AdminError::Unavailable)?
    }
}

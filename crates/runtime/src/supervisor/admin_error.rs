//! Why a supervisor did not do what it was asked.

use thiserror::Error;

use super::machine::CommandRejection;
use super::spec_error::SpecError;
use crate::messaging::call_error::CallError;
use crate::path::ActorPath;

/// Why a supervisor did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AdminError {
    /// There is no child of that name.
    #[error("there is no child named {name:?}")]
    NotFound {
        /// The name.
        name: String,
    },
    /// There is such a child already, and it runs.
    #[error("{path} is there already, and runs")]
    AlreadyRunning {
        /// The child.
        path: ActorPath,
    },
    /// There is such a child already; it does not run now.
    #[error("{path} is there already; it is not running: start it, or delete it first")]
    AlreadyPresent {
        /// The child.
        path: ActorPath,
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
    /// The child was stopped by another order before it was ready.
    #[error("{name:?} was stopped by another order before it was ready")]
    Superseded {
        /// The child.
        name: String,
    },
    /// The child cannot be taken in as it is.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The supervisor is stopping, or has failed.
    #[error("the supervisor does not answer: {0}")]
    Unavailable(CallError),
}

impl AdminError {
    pub(crate) fn from_rejection(objection: CommandRejection, name: String) -> Self {
        match objection {
            CommandRejection::Running => Self::Running { name },
            CommandRejection::Restarting => Self::Restarting { name },
            CommandRejection::Stopping => Self::Unavailable(CallError::Stopped),
        }
    }
}

//! Why a supervisor did not do what it was asked.

use thiserror::Error;

use super::roster::Objection;
use crate::messaging::call_error::CallError;
use crate::path::InvalidName;

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

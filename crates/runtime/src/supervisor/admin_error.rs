//! Errors of the commands to a supervisor.

use thiserror::Error;

use super::machine::CommandRejection;
use super::spec_error::SpecError;
use crate::messaging::call_error::CallError;
use crate::path::ActorPath;

/// The reason for which a supervisor did not carry out a command.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AdminError {
    /// There is no child of that name.
    #[error("there is no child named {name:?}")]
    NotFound {
        /// The name.
        name: String,
    },
    /// A child of that name exists, and it runs.
    #[error("{path} already exists and runs")]
    AlreadyRunning {
        /// The child.
        path: ActorPath,
    },
    /// A child of that name exists; it does not run now.
    #[error("{path} already exists but does not run: start it, or delete it first")]
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
    /// The child is being stopped, or is between two incarnations.
    #[error("{name:?} is being stopped or restarted")]
    Restarting {
        /// The child.
        name: String,
    },
    /// The child did not become ready.
    #[error("{name:?} did not start: {message}")]
    StartFailed {
        /// The child.
        name: String,
        /// The error of the child.
        message: String,
    },
    /// A command stopped the child before it was ready.
    #[error("{name:?} was stopped by another command before it was ready")]
    Superseded {
        /// The child.
        name: String,
    },
    /// The specification of the child is invalid.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The supervisor is stopping, or has failed.
    #[error("the supervisor does not answer: {0}")]
    Unavailable(CallError),
}

impl AdminError {
    pub(crate) fn from_rejection(rejection: CommandRejection, name: String) -> Self {
        match rejection {
            CommandRejection::Running => Self::Running { name },
            CommandRejection::Restarting => Self::Restarting { name },
            CommandRejection::Stopping => Self::Unavailable(CallError::Stopped),
        }
    }
}

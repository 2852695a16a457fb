//! Errors in the description of a tree.

use thiserror::Error;

use crate::path::InvalidName;
use crate::policy::PolicyError;

/// The fault in the description of a child or a supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpecError {
    /// The name cannot be part of a path.
    #[error(transparent)]
    InvalidName(#[from] InvalidName),
    /// Two children have the same name.
    #[error("there are two children at {path}: give each a name of its own")]
    Duplicate {
        /// The path of both.
        path: String,
    },
    /// The child's policy is invalid.
    #[error("the policy of {name:?} cannot be followed: {fault}")]
    Policy {
        /// The child.
        name: String,
        /// The fault.
        fault: PolicyError,
    },
    /// A mailbox has no room.
    #[error("the mailbox of {name:?} has no room: its capacity must be at least 1")]
    ZeroMailboxCapacity {
        /// The child.
        name: String,
    },
    /// A significant child has a supervisor without automatic shutdown.
    #[error("{name:?} is significant, but its supervisor does not end with its children: set auto_shutdown")]
    NoAutoShutdown {
        /// The child.
        name: String,
    },
    /// A dynamic supervisor has initial children.
    #[error("{name:?} is an initial child of a dynamic supervisor: add it when the tree runs")]
    InitialChildOfDynamic {
        /// The child.
        name: String,
    },
}

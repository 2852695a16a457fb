//! What is wrong with a child or a supervisor as it was described.

use thiserror::Error;

use crate::path::InvalidName;
use crate::policy::PolicyError;

/// What is wrong with a child or a supervisor as it was described.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpecError {
    /// The name cannot be part of a path.
    #[error(transparent)]
    InvalidName(#[from] InvalidName),
    /// Two children have the same name.
    #[error("there are two children at {path}: give each a name of its own")]
    Duplicate {
        /// Where both would stand.
        path: String,
    },
    /// The child's policy cannot be followed.
    #[error("the policy of {name:?} cannot be followed: {fault}")]
    Policy {
        /// The child.
        name: String,
        /// What is wrong.
        fault: PolicyError,
    },
    /// A mailbox without room.
    #[error("the mailbox of {name:?} has no room: its capacity must be at least 1")]
    ZeroMailboxCapacity {
        /// The child.
        name: String,
    },
    /// A significant child below a supervisor that never ends by itself.
    #[error("{name:?} is significant, but its supervisor does not end with its children: set auto_shutdown")]
    NoAutoShutdown {
        /// The child.
        name: String,
    },
    /// A dynamic supervisor with children from the start.
    #[error("{name:?} is to be a child of a dynamic supervisor from the start: add it when the tree runs")]
    InitialChildOfDynamic {
        /// The child.
        name: String,
    },
}

//! Converts the errors of a start into the errors of the other calls.
//!
//! Their texts name folders, ports and keys of the configuration, so they go into the details. A person gets the
//! message of the reason.

use mainstay_actors::error::{Error, Reason};
use mainstay_runtime::journal::JournalError;

use crate::config::ConfigError;
#[cfg(feature = "control")]
use crate::control::ControlError;
use crate::data_dir::DataDirError;
use crate::mainstay::StartError;
use crate::tree_builder::error::BuildError;

fn to_error(reason: Reason, error: &dyn std::error::Error) -> Error {
    Error::new(reason).with_details(&error.to_string())
}

impl From<&StartError> for Error {
    fn from(error: &StartError) -> Self {
        match error {
            StartError::Config(error) => Self::from(error),
            StartError::DataDir(error) => Self::from(error),
            StartError::InUse { .. } | StartError::Journal(JournalError::InUse { .. }) => {
                to_error(Reason::InUse, error)
            }
            StartError::Journal(JournalError::Io { .. })
            | StartError::States(_)
            | StartError::Processes(_) => to_error(Reason::DataUnusable, error),
            StartError::Logs(_) | StartError::Tree(_) => to_error(Reason::Internal, error),
        }
    }
}

impl From<&BuildError> for Error {
    fn from(error: &BuildError) -> Self {
        to_error(Reason::InvalidConfig, error)
    }
}

/// Makes the error for a wrong configuration that arrives while the runtime runs.
impl From<&ConfigError> for Error {
    fn from(error: &ConfigError) -> Self {
        let problems: Vec<&str> = error.problems.iter().map(|problem| problem.message.as_str()).collect();
        Self::new(Reason::InvalidConfig)
            .with_message("It cannot be as it is described. Correct the description, then try again.")
            .with_details(&problems.join("; "))
    }
}

impl From<&DataDirError> for Error {
    fn from(error: &DataDirError) -> Self {
        to_error(Reason::DataUnusable, error)
    }
}

#[cfg(feature = "control")]
impl From<&ControlError> for Error {
    fn from(error: &ControlError) -> Self {
        match error {
            ControlError::PortInUse { .. } => to_error(Reason::InUse, error),
            ControlError::Listen { .. } => to_error(Reason::InvalidConfig, error),
            ControlError::Random(_) => to_error(Reason::Internal, error),
            ControlError::DataDir(error) => Self::from(error),
        }
    }
}

//! Why a command failed: one clear line on stderr, and the exit code of the contract.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use crate::Error;
use crate::config::ConfigError;
use crate::control::ControlError;
use crate::data_dir::DataDirError;
use crate::mainstay::StartError;

/// Why a command failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// It failed (1).
    Failed(String),
    /// The runtime answered with an error (1).
    Answered(Box<Error>),
    /// What was typed or configured is wrong (2).
    Usage(String),
    /// No runtime is running in that data folder (3).
    NotRunning(String),
    /// Nobody reads what is printed any more (0): `mainstay events | head` is no failure.
    NobodyReads,
}

impl Failure {
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    pub(super) fn not_running(dir: &Path) -> Self {
        Self::NotRunning(format!(
            "no runtime is running in {}: start one with `mainstay run` or `mainstay demo`, or name its folder with --data-dir",
            dir.display()
        ))
    }

    /// Says it on stderr, and returns the exit code.
    pub(super) fn report(self) -> ExitCode {
        let (code, message) = match self {
            Self::NobodyReads => return ExitCode::SUCCESS,
            Self::Failed(message) => (1, message),
            Self::Answered(error) => (1, describe(&error)),
            Self::Usage(message) => (2, message),
            Self::NotRunning(message) => (3, message),
        };
        eprintln!("mainstay: {message}");
        ExitCode::from(code)
    }
}

/// The error's code, its message for a person, and what a log would say.
fn describe(error: &Error) -> String {
    let details = error.details.as_deref().map(|details| format!(" ({details})")).unwrap_or_default();
    format!("{} {}: {}{details}", error.code, error.reason, error.message)
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::NobodyReads,
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Config(error) => Self::Usage(error.to_string()),
            error => Self::Failed(error.to_string()),
        }
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<DataDirError> for Failure {
    fn from(error: DataDirError) -> Self {
        Self::Failed(error.to_string())
    }
}

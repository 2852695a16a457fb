//! The reasons why a command failed: one line on stderr, and the exit code of the contract.

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use mainstay_runtime::journal::escape_controls;

use super::stderr::last_error_line;
use crate::config::ConfigError;
use crate::control::ControlError;
use crate::data_dir::DataDirError;
use crate::mainstay::StartError;
use crate::{Code, Error, Reason};

/// The reasons why a command failed.
#[derive(Debug)]
pub(super) enum CliError {
    /// The command failed (1), for this reason.
    Failed(Reason, String),
    /// The result is negative (1) and already printed, or it cannot be printed.
    CheckFailed(String),
    /// The runtime answered with an error (1).
    Remote(Box<Error>),
    /// The arguments or the configuration are wrong (2).
    Usage(String),
    /// No runtime is running in that data folder (3).
    NotRunning(String),
    /// The reader of the output has gone (0), as in `mainstay events | head`.
    StdoutClosed,
}

impl CliError {
    pub(super) fn failed(reason: Reason, message: impl Into<String>) -> Self {
        Self::Failed(reason, message.into())
    }

    /// Makes the error for a fault of this program.
    pub(super) fn internal(error: impl Display) -> Self {
        Self::Failed(Reason::Internal, error.to_string())
    }

    /// Makes the error of a write to stdout.
    pub(super) fn unwritten(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::StdoutClosed,
            _ => Self::CheckFailed(format!("stdout cannot be written: {error}")),
        }
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

    /// Returns the log's words: a person at a shell knows their own folders and ports.
    pub(super) fn from_error(error: &Error) -> Self {
        Self::Failed(error.reason, error.log_text().to_owned())
    }

    /// Returns the error that programs read, if there is one.
    pub(super) fn error(&self) -> Option<Error> {
        match self {
            Self::Remote(error) => Some((**error).clone()),
            Self::Failed(reason, message) => Some(Error::new(*reason).with_details(message)),
            Self::CheckFailed(_) | Self::Usage(_) | Self::NotRunning(_) | Self::StdoutClosed => None,
        }
    }

    /// Says it on stderr, and returns the exit code.
    pub(super) fn report(self) -> ExitCode {
        let (code, message) = match self {
            Self::StdoutClosed => return ExitCode::SUCCESS,
            Self::Failed(reason, message) => (1, format!("{}: {message}", title(reason.code(), reason))),
            Self::CheckFailed(message) => (1, message),
            Self::Remote(error) => (1, describe(&error)),
            Self::Usage(message) => (2, message),
            Self::NotRunning(message) => (3, message),
        };
        let lines: Vec<String> = message.lines().map(escape_controls).collect();
        last_error_line(format!("mainstay: {}", lines.join("\n")));
        ExitCode::from(code)
    }
}

/// Returns the error's code, its message for a person, and what a log would say, each thing once.
pub(super) fn describe(error: &Error) -> String {
    let Error { code, reason, message, .. } = error;
    let advice = error.details.as_deref().and_then(|details| advice_after(message, details));
    let text = match error.details.as_deref() {
        None => message.clone(),
        Some(details) if names_its_object(error) || repeats(details, message) => details.to_owned(),
        Some(details) if repeats(message, details) => message.clone(),
        Some(details) => match advice {
            None => format!("{message} ({details})"),
            Some(advice) if details.ends_with(['.', '!', '?']) => format!("{details} {advice}"),
            Some(advice) => format!("{details}. {advice}"),
        },
    };
    format!("{}: {text}", title(*code, *reason))
}

/// Returns the code with its reason, unless that is the same word.
fn title(code: Code, reason: Reason) -> String {
    let reason = reason.to_string();
    if reason.eq_ignore_ascii_case(code.as_str()) { code.to_string() } else { format!("{code} {reason}") }
}

/// Returns whether the details are a whole sentence that names the object, while the message can only be general.
fn names_its_object(error: &Error) -> bool {
    matches!(
        error.reason,
        Reason::AgentUnknown | Reason::DataUnusable | Reason::InUse | Reason::InvalidConfig
    )
}

/// Returns the rest of a message whose first sentence the details repeat, with more behind it.
fn advice_after<'m>(message: &'m str, details: &str) -> Option<&'m str> {
    let (first, advice) = message.split_once(". ")?;
    details.strip_prefix(first).map(|_| advice)
}

/// Returns whether a text has every word of another.
fn repeats(text: &str, other: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        let split = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        split.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
    };
    let known = words(text);
    words(other).iter().all(|word| known.contains(word))
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::StdoutClosed,
            _ => Self::internal(error),
        }
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Config(error) => Self::Usage(error.to_string()),
            error => Self::from_error(&Error::from(&error)),
        }
    }
}

impl From<ControlError> for CliError {
    fn from(error: ControlError) -> Self {
        Self::from_error(&Error::from(&error))
    }
}

impl From<DataDirError> for CliError {
    fn from(error: DataDirError) -> Self {
        Self::from_error(&Error::from(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_line_says_each_thing_once() {
        let error = |reason, message: &str, details: Option<&str>| Error {
            message: message.to_owned(),
            details: details.map(ToOwned::to_owned),
            ..Error::new(reason)
        };
        for (given, expected) in [
            (error(Reason::NotFound, "It is not there.", None), "NOT_FOUND: It is not there."),
            (
                error(Reason::NotFound, "It is not there.", Some("HTTP 404: it is not there")),
                "NOT_FOUND: HTTP 404: it is not there",
            ),
            (
                error(
                    Reason::Conflict,
                    "The agent has stopped. Wait for it.",
                    Some("it, the agent, stopped"),
                ),
                "INVALID_INPUT conflict: The agent has stopped. Wait for it.",
            ),
            (
                error(Reason::TimedOut, "It was too slow.", Some("no byte within 3 s")),
                "TIMEOUT timed_out: It was too slow. (no byte within 3 s)",
            ),
            (
                error(
                    Reason::Unavailable,
                    "The backend is starting. Wait until it is ready.",
                    Some("The backend is starting: it is ready when it prints \"up\", within 2 min."),
                ),
                "SERVER_ERROR unavailable: The backend is starting: it is ready when it prints \"up\", within 2 min. \
                 Wait until it is ready.",
            ),
            (
                error(Reason::AgentUnknown, "There is no such agent.", Some("there is no agent \"x\"")),
                "NOT_FOUND agent_unknown: there is no agent \"x\"",
            ),
        ] {
            assert_eq!(describe(&given), expected);
        }
    }
}

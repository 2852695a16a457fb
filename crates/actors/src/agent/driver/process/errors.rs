//! The errors of an agent's process that is not running.

use crate::agent::driver::DriverError;
use crate::error::{Error, Reason};
use crate::process::{LaunchError, ProcessExit};

/// Says what a person does about a program that cannot be started.
pub(in crate::agent) const UNRUNNABLE: &str =
    "The program of the agent cannot be started. Correct how it is configured.";

/// Returns the error for a process that exited by itself.
pub(in crate::agent::driver) fn exited_error(exit: &ProcessExit) -> Error {
    let message = "The agent has ended by itself. Look into its last error if that repeats.";
    Error::new(Reason::AgentFailed).with_message(message).with_details(&format!("its process ended: {exit}"))
}

/// Returns the error for a process that was stopped.
pub(in crate::agent::driver) fn stopped_error() -> Error {
    Error::new(Reason::AgentFailed)
        .with_message("The agent was stopped. Start it, then try again.")
        .with_details("its process was stopped")
}

/// Returns the error for a process that is not running.
pub(in crate::agent::driver) fn not_running_error(details: &str) -> Error {
    Error::new(Reason::AgentFailed)
        .with_message("The agent is not running at the moment. Look at its status, then try again.")
        .with_details(details)
}

/// Returns the error for a process that could not be started or did not become ready.
pub(in crate::agent::driver) fn start_error(error: &LaunchError) -> DriverError {
    let failed = |message| Error::new(Reason::AgentFailed).with_message(message);
    let details = error.to_string();
    match error {
        LaunchError::AddressInUse => DriverError::Failed(Error::new(Reason::InUse).with_details(&details)),
        error if error.is_unrecoverable() => {
            DriverError::Unrecoverable(failed(UNRUNNABLE).with_details(&details))
        }
        _ => {
            let message =
                "The agent could not be started. Look into its last error, and check how it is configured.";
            DriverError::Failed(failed(message).with_details(&details))
        }
    }
}

//! Maps the failures of a call to an actor to errors.

use mainstay_runtime::CallError;

use super::{Error, Reason};

/// Returns the error of a call that an actor did not answer.
#[must_use]
pub fn of_call(error: CallError) -> Error {
    let reason = match error {
        CallError::Crashed => Reason::Crashed,
        CallError::Stopped => Reason::Stopped,
        CallError::Expired => Reason::Expired,
        CallError::Full => Reason::QueueFull,
        CallError::TimedOut => Reason::NoAnswer,
        CallError::Unanswered => Reason::Internal,
    };
    Error::new(reason).with_details(&error.to_string())
}

#[cfg(test)]
mod tests;

//! Maps the failures of a call to an actor to errors.

use mainstay_runtime::CallError;

use super::{Error, Reason};

/// The error of a call that an actor did not answer.
impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        let reason = match error {
            CallError::Crashed => Reason::Crashed,
            CallError::Stopped => Reason::Stopped,
            CallError::Expired => Reason::Expired,
            CallError::Full => Reason::QueueFull,
            CallError::TimedOut => Reason::NoAnswer,
            CallError::NoReply => Reason::Internal,
        };
        Self::new(reason).with_details(&error.to_string())
    }
}

#[cfg(test)]
mod tests;

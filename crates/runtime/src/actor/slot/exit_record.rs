//! The exit record of an incarnation.

use tokio::task::JoinSet;

use crate::events::DeadLetterReason;
use crate::messaging::label::Label;
use crate::policy::{Exit, ExitCause};

/// The exit of an incarnation, with everything that outlives it.
#[derive(Debug)]
pub(crate) struct ExitRecord {
    pub(crate) exit: Exit,
    pub(crate) message: Option<String>,
    /// The next step for a person after an unrecoverable failure.
    pub(crate) next_step: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) backtrace: Option<String>,
    /// True when it declined to start.
    pub(crate) declined: bool,
    /// The message that it was handling.
    pub(crate) in_flight: Option<InterruptedMessage>,
    /// The incarnation's own tasks that have not ended yet.
    pub(crate) tasks: JoinSet<()>,
}

/// A message whose handler did not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InterruptedMessage {
    pub(crate) label: Label,
    /// The reason for which it is not handled again; `None` if a copy waits in the mailbox.
    pub(crate) dead_letter_reason: Option<DeadLetterReason>,
}

impl ExitRecord {
    /// Returns the record of an incarnation that left none.
    pub(crate) fn unreported() -> Self {
        Self {
            exit: Exit::of(ExitCause::Killed),
            message: None,
            next_step: None,
            location: None,
            backtrace: None,
            declined: false,
            in_flight: None,
            tasks: JoinSet::new(),
        }
    }
}

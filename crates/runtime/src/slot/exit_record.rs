//! What an incarnation leaves behind.

use tokio::task::JoinSet;

use crate::policy::{Exit, ExitCause};

/// How an incarnation ended, with everything that outlasts it.
#[derive(Debug)]
pub(crate) struct ExitRecord {
    pub(crate) exit: Exit,
    pub(crate) message: Option<String>,
    pub(crate) location: Option<String>,
    /// The label of the message that it was handling.
    pub(crate) in_flight: Option<&'static str>,
    /// Tasks of its own that have not ended yet.
    pub(crate) tasks: JoinSet<()>,
}

impl ExitRecord {
    /// The exit of an incarnation that left no account of itself.
    pub(crate) fn unexplained() -> Self {
        Self {
            exit: Exit { cause: ExitCause::Killed, ready_since: None, restored: false, progressed: false },
            message: None,
            location: None,
            in_flight: None,
            tasks: JoinSet::new(),
        }
    }
}

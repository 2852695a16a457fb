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
    /// It declined to start.
    pub(crate) declined: bool,
    /// Tasks of its own that have not ended yet.
    pub(crate) tasks: JoinSet<()>,
}

impl ExitRecord {
    /// The exit of an incarnation that left no account of itself.
    pub(crate) fn unexplained() -> Self {
        let cause = ExitCause::Killed;
        Self {
            exit: Exit { cause, ready_since: None, restored: false, progressed: false, abandoned: false },
            message: None,
            location: None,
            in_flight: None,
            declined: false,
            tasks: JoinSet::new(),
        }
    }
}

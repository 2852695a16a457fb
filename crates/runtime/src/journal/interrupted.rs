//! The report on a previous run that ended without notice.

use serde::{Deserialize, Serialize};

use super::cursor::Cursor;
use super::event::Event;

/// The previous run ended without notice: the journal has no `runtime_stopped` of it. The process was killed, the power
/// failed, or the disk refused the last events. The journal itself records it, once, as the first event of the next run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct RunInterrupted {
    /// The last event of that run on disk.
    pub last_event: Cursor,
}

impl Event for RunInterrupted {
    const KIND: &'static str = "run_interrupted";

    fn describe(&self) -> String {
        format!("the previous run ended without notice after event {}", self.last_event)
    }
}

//! Reads the journal of a running runtime into incidents, each event once.

use mainstay_runtime::journal::{Cursor, Delivery};

use super::log::IncidentLog;
use crate::subscription::Subscription;

/// The incidents so far.
#[derive(Debug, Default)]
pub(crate) struct IncidentReader {
    log: IncidentLog,
    /// The last event that they include.
    cursor: Cursor,
}

impl IncidentReader {
    /// Returns the last event that is included.
    pub(crate) const fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Returns the incidents so far.
    pub(crate) const fn log(&self) -> &IncidentLog {
        &self.log
    }

    /// Reads events, which follow [`cursor`](Self::cursor), up to `end`. Cancel safe.
    pub(crate) async fn read(&mut self, mut events: Subscription, end: Cursor) {
        while self.cursor < end {
            match events.next().await {
                Some(Delivery::Event(record)) => {
                    self.log.apply(&record);
                    self.cursor = record.cursor();
                }
                Some(Delivery::Lagged { .. }) => self.cursor = events.cursor(),
                None => return,
            }
        }
    }
}

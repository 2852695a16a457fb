//! The folds of a running runtime's journal: each event is read once, after the first call that needs it.

use std::io;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;

use futures_util::StreamExt;
use futures_util::stream;
use mainstay_runtime::journal::{Cursor, Delivery, Record, segment_files};
use tokio::task::coop::consume_budget;
use tokio::task::spawn_blocking;

use crate::history::{HistoryLog, HistoryPart};
use crate::incidents::IncidentLog;
use crate::subscription::Subscription;

/// The largest file that is read as a whole: only complete parts can be joined, and their steps have no limit.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A fold of the journal, and the last event that it includes.
#[derive(Debug, Default)]
pub(crate) struct JournalFold<L> {
    pub(crate) log: L,
    cursor: Cursor,
}

/// Takes the events of a journal in order.
pub(crate) trait EventFold {
    fn apply(&mut self, record: &Record);
}

impl EventFold for IncidentLog {
    fn apply(&mut self, record: &Record) {
        self.apply(record);
    }
}

/// A history that callers read while it grows: each gets a reference, and what they read does not change.
impl EventFold for Arc<HistoryLog> {
    fn apply(&mut self, record: &Record) {
        Self::make_mut(self).apply(record);
    }
}

impl<L: EventFold> JournalFold<L> {
    /// Returns the last event that is included.
    pub(crate) const fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Reads events, which follow [`cursor`](Self::cursor), up to `end`. Yields to other tasks, also if all of them are in
    /// memory. Cancel safe.
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
            consume_budget().await;
        }
    }
}

impl JournalFold<Arc<HistoryLog>> {
    /// Reads the files of the journal in `dir`, as many at a time as there are processors, unless events were read before.
    /// A file that is too large or cannot be read ends that, and the events from there on are left to [`read`](Self::read).
    /// Cancel safe.
    pub(crate) async fn read_files(&mut self, dir: &Path) {
        if self.cursor > Cursor::START {
            return;
        }
        let dir = dir.to_owned();
        let files = spawn_blocking(move || segment_files(&dir)).await;
        let parts =
            files.into_iter().flatten().flatten().map(|file| spawn_blocking(move || read_file(&file)));
        let mut parts = stream::iter(parts).buffered(available_parallelism().map_or(1, NonZero::get));
        let mut log = HistoryLog::default();
        while let Some(Ok(Ok(part))) = parts.next().await {
            let joined = spawn_blocking(move || {
                log.append(part);
                log
            });
            // It fails only when the runtime of tokio ends.
            let Ok(joined) = joined.await else { return };
            log = joined;
        }
        self.cursor = log.cursor();
        self.log = Arc::new(log);
    }
}

/// Reads a file; one that was deleted meanwhile has nothing.
fn read_file(path: &Path) -> io::Result<HistoryPart> {
    match path.metadata() {
        Ok(file) if file.len() > FILE_BYTES_MAX => Err(io::ErrorKind::FileTooLarge.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(HistoryPart::default()),
        _ => HistoryPart::of_file(path),
    }
}

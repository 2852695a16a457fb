//! Errors of a journal, as its owner sees them.

use std::path::PathBuf;

use thiserror::Error;

use super::cursor::Cursor;

/// A journal could not be opened.
#[derive(Debug, Error)]
pub enum JournalError {
    /// A different process writes to this folder.
    #[error("another runtime is using {dir}", dir = dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder or a file in it could not be read or created.
    #[error("the journal cannot be opened: {source}")]
    Io {
        /// The folder.
        dir: PathBuf,
        /// The system's error, with the path.
        source: std::io::Error,
    },
}

/// A journal was closed while the disk refused its last lines.
///
/// Later readers cannot get those lines. The next run's first event says after which event this run ends on disk.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the last events of the journal, {from} to {to}, did not reach the disk: {reason}")]
pub struct JournalLoss {
    /// The first event that is not on disk.
    pub from: Cursor,
    /// The last event that is not on disk.
    pub to: Cursor,
    /// The system's error, as text.
    pub reason: String,
}

//! What can go wrong with a journal, as its owner sees it.

use std::path::PathBuf;

use thiserror::Error;

use super::cursor::Cursor;

/// Why a journal could not be opened.
#[derive(Debug, Error)]
pub enum JournalError {
    /// Another process writes to this folder.
    #[error("another runtime is using {dir}", dir = dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder or a file in it could not be read or made.
    #[error("the journal in {dir} cannot be opened: {source}", dir = dir.display())]
    Io {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A journal was closed while the disk refused its last lines.
///
/// Those lines are lost to later readers. The next run's first event says after which event this run ends on disk.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the last events of the journal, {from} to {to}, did not reach the disk: {reason}")]
pub struct JournalLoss {
    /// The first event that is not on disk.
    pub from: Cursor,
    /// The last event that is not on disk.
    pub to: Cursor,
    /// What the system said.
    pub reason: String,
}

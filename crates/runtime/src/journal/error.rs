//! What can go wrong with a journal, as its owner sees it.

use std::path::PathBuf;

use thiserror::Error;

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
/// The next run says so as well, in its first event.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the last events of the journal, {from} to {to}, did not reach the disk: {reason}")]
pub struct JournalLoss {
    /// The first number that is not on disk.
    pub from: u64,
    /// The last number that is not on disk.
    pub to: u64,
    /// What the system said.
    pub reason: String,
}

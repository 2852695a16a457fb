//! The reasons why a runtime does not start.

use std::io;
use std::path::PathBuf;

use mainstay_actors::process::OpenError;
use mainstay_runtime::RuntimeStartError;
use mainstay_runtime::journal::JournalError;
use mainstay_runtime::state::StoreError;
use thiserror::Error as ThisError;

use crate::data_dir::DataDirError;
use crate::tree_builder::error::BuildError;

/// The reasons why a runtime does not start.
#[derive(Debug, ThisError)]
pub enum StartError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] BuildError),
    /// The data folder cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A runtime in another process, or in this one, uses the data folder.
    #[error("the data folder {dir} is in use by another runtime{by}: stop that one, or choose another folder", dir = dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
        /// The owner of the folder, if it is known.
        by: String,
    },
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(JournalError),
    /// The stored states cannot be opened.
    #[error(transparent)]
    States(StoreError),
    /// The thread that writes the logs cannot be started.
    #[error("the thread that writes the logs cannot be started: {0}")]
    Logs(io::Error),
    /// The pid file of child processes cannot be used.
    #[error(transparent)]
    Processes(OpenError),
    /// The tree did not come up, or there is no tokio runtime for it.
    #[error(transparent)]
    Tree(#[from] RuntimeStartError),
}

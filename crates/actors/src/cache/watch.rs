//! Watches the user's folders, so that cached results of them are dropped when they change.
//!
//! - [`WatchActor`] keeps every root watched, and records in the journal if one is not.
//! - [`Roots`] says which folders are watched at the moment; nothing below another one is cached.
//! - `path_key` holds the keys of files and searches, and which of them a changed path concerns; pure.
//! - [`FileFeed`] publishes the changes to listeners.
//! - `batch` gathers the watcher's events; pure.
//! - `error` says why a folder is not watched, and what to do; pure.
//! - `watcher` watches one root.
//!
//! Each root has its own watcher, so that a failure of one does not affect the others.

mod actor;
mod batch;
mod changes;
mod error;
pub(super) mod path_key;
mod roots;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
mod watcher;

pub use actor::{WatchActor, WatchLost, WatchMessage, WatchPolicy, WatchRegained, WatchStarted};
pub use changes::{FileChange, FileChangeKind, FileEvent, FileFeed, FileSubscription};
pub use error::WatchErrorKind;
pub(super) use roots::WatchedPath;
pub use roots::{RootError, Roots};

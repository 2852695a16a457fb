//! Watching the user's folders, so that what was read in them is forgotten when it changes.
//!
//! - [`WatchActor`]: keeps every root watched, and says so in the journal where one is not
//! - [`Roots`]: which folders are watched at the moment; nothing beneath another is kept
//! - `place`: the keys of files and searches, and which of them a changed path concerns; pure
//! - `batch`: what is gathered of the watcher's events; pure
//! - `fault`: why a folder is not watched, and what can be done; pure
//! - `eye`: the watcher of one root
//!
//! There is one watcher a root, so that what befalls one leaves the others alone.

mod actor;
mod batch;
mod error;
pub(super) mod path_key;
mod roots;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
mod watcher;

pub use actor::{WatchActor, WatchLost, WatchMessage, WatchPolicy, WatchRegained, WatchStarted};
pub use error::WatchErrorKind;
pub(super) use roots::WatchedPath;
pub use roots::{RootError, Roots};

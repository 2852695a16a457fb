//! The reasons why a folder is not watched, and their remedies: pure.

use std::io;

use notify::ErrorKind;
use serde::{Deserialize, Serialize};

/// Says why a folder is not watched. Meanwhile nothing that is read in it is cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum WatchErrorKind {
    /// The folder does not exist.
    Missing,
    /// The path is not a folder.
    NotAFolder,
    /// The folder, or a folder in it or above it, is not readable.
    NotAllowed,
    /// The folder was moved, removed, mounted elsewhere, or replaced by another.
    Moved,
    /// The folder has more subfolders than the system lets one user watch.
    TooManyFolders,
    /// The system has no watcher left for this user.
    TooManyWatchers,
    /// More changed at once than the system could report.
    Overflow,
    /// The watcher ended.
    Ended,
    /// The watcher failed for another reason.
    Failed,
}

impl WatchErrorKind {
    /// Returns the remedy, for a person.
    #[must_use]
    pub(crate) const fn next_step(self) -> &'static str {
        match self {
            Self::Missing => {
                "create the folder, or take it out of cache.watch; it is watched again once it is there"
            }
            Self::NotAFolder => "name a folder in cache.watch, or put one in the place of what is there",
            Self::NotAllowed => {
                "let this user read the folder and those in it, or watch a folder without them"
            }
            Self::Moved => "it is watched again once it is in its place",
            Self::TooManyFolders => {
                "raise the limit (on Linux: sysctl fs.inotify.max_user_watches), or watch a folder with fewer in it"
            }
            Self::TooManyWatchers => {
                "raise the limit (on Linux: sysctl fs.inotify.max_user_instances, or the limit of open files), or watch \
                 fewer folders"
            }
            Self::Overflow => "it is watched again at once",
            Self::Ended | Self::Failed => "it is watched again; if this persists, see details",
        }
    }
}

/// An error and its cause, for a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WatchError {
    pub(super) kind: WatchErrorKind,
    pub(super) details: Option<String>,
}

impl From<WatchErrorKind> for WatchError {
    fn from(kind: WatchErrorKind) -> Self {
        Self { kind, details: None }
    }
}

impl From<&io::Error> for WatchError {
    fn from(error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => WatchErrorKind::Missing,
            io::ErrorKind::NotADirectory => WatchErrorKind::NotAFolder,
            io::ErrorKind::PermissionDenied => WatchErrorKind::NotAllowed,
            _ if is_too_many_open(error) => WatchErrorKind::TooManyWatchers,
            _ => WatchErrorKind::Failed,
        };
        Self { kind, details: Some(error.to_string()) }
    }
}

impl From<&notify::Error> for WatchError {
    fn from(error: &notify::Error) -> Self {
        let kind = match &error.kind {
            ErrorKind::MaxFilesWatch => WatchErrorKind::TooManyFolders,
            // The folder itself existed a moment ago.
            ErrorKind::PathNotFound | ErrorKind::WatchNotFound => WatchErrorKind::Moved,
            ErrorKind::Io(error) if error.kind() == io::ErrorKind::NotFound => WatchErrorKind::Moved,
            ErrorKind::Io(error) => Self::from(error).kind,
            ErrorKind::Generic(_) | ErrorKind::InvalidConfig(_) => WatchErrorKind::Failed,
        };
        Self { kind, details: Some(error.to_string()) }
    }
}

/// Returns whether the error is `EMFILE` or `ENFILE`, which have no `ErrorKind`.
fn is_too_many_open(error: &io::Error) -> bool {
    cfg!(unix) && matches!(error.raw_os_error(), Some(23 | 24))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_notify_error_limits_have_their_own_kind() {
        let of = |kind| WatchError::from(&notify::Error::new(kind)).kind;
        assert_eq!(of(ErrorKind::MaxFilesWatch), WatchErrorKind::TooManyFolders);
        assert!(WatchErrorKind::TooManyFolders.next_step().contains("max_user_watches"));
        assert_eq!(of(ErrorKind::Generic("odd".to_owned())), WatchErrorKind::Failed);
        assert_eq!(of(ErrorKind::PathNotFound), WatchErrorKind::Moved);
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(of(ErrorKind::Io(denied)), WatchErrorKind::NotAllowed);
    }

    #[cfg(unix)]
    #[test]
    fn from_io_emfile_is_too_many_watchers() {
        let error = notify::Error::new(ErrorKind::Io(io::Error::from_raw_os_error(24)));
        assert_eq!(WatchError::from(&error).kind, WatchErrorKind::TooManyWatchers);
        assert!(WatchErrorKind::TooManyWatchers.next_step().contains("max_user_instances"));
    }
}

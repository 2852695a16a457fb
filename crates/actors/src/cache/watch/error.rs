//! Why a folder is not watched, and what can be done about it: pure.

use std::io;

use notify::ErrorKind;
use serde::{Deserialize, Serialize};

/// Why a folder is not watched. While it is not, nothing that is read in it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WatchErrorKind {
    /// It is not there.
    Missing,
    /// There is something of that name that is no folder.
    NotAFolder,
    /// It, or a folder in it or above it, may not be read.
    NotAllowed,
    /// It was moved, removed, or mounted elsewhere, or another has taken its place.
    Moved,
    /// It has more folders than the system lets one user watch.
    TooManyFolders,
    /// There are more watchers on this system than it lets one user have.
    TooManyWatchers,
    /// More changed at once than the system could tell.
    Overflow,
    /// The watcher ended.
    Ended,
    /// The watcher failed for another cause.
    Failed,
}

impl WatchErrorKind {
    /// What can be done, for a person.
    #[must_use]
    pub const fn next_step(self) -> &'static str {
        match self {
            Self::Missing => {
                "create the folder, or take it out of cache.watch; it is watched again once it is there"
            }
            Self::NotAFolder => "name a folder in cache.watch, or put one in the place of what is there",
            Self::NotAllowed => {
                "let this user read the folder and those in it, or watch a folder without them"
            }
            Self::Moved => "nothing: it is watched again once it is in its place",
            Self::TooManyFolders => {
                "raise the limit (on Linux: sysctl fs.inotify.max_user_watches), or watch a folder with fewer in it"
            }
            Self::TooManyWatchers => {
                "raise the limit (on Linux: sysctl fs.inotify.max_user_instances, or the limit of open files), or watch \
                 fewer folders"
            }
            Self::Overflow => "nothing: it is watched anew at once",
            Self::Ended | Self::Failed => "nothing: it is watched anew; if this stays, see details",
        }
    }
}

/// A fault, and more about its cause for a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WatchError {
    pub(super) kind: WatchErrorKind,
    pub(super) details: Option<String>,
}

impl From<WatchErrorKind> for WatchError {
    fn from(fault: WatchErrorKind) -> Self {
        Self { kind: fault, details: None }
    }
}

impl From<&io::Error> for WatchError {
    fn from(error: &io::Error) -> Self {
        let fault = match error.kind() {
            io::ErrorKind::NotFound => WatchErrorKind::Missing,
            io::ErrorKind::NotADirectory => WatchErrorKind::NotAFolder,
            io::ErrorKind::PermissionDenied => WatchErrorKind::NotAllowed,
            _ if is_too_many_open(error) => WatchErrorKind::TooManyWatchers,
            _ => WatchErrorKind::Failed,
        };
        Self { kind: fault, details: Some(error.to_string()) }
    }
}

impl From<&notify::Error> for WatchError {
    fn from(error: &notify::Error) -> Self {
        let fault = match &error.kind {
            ErrorKind::MaxFilesWatch => WatchErrorKind::TooManyFolders,
            // The folder itself was there a moment ago.
            ErrorKind::PathNotFound | ErrorKind::WatchNotFound => WatchErrorKind::Moved,
            ErrorKind::Io(error) if error.kind() == io::ErrorKind::NotFound => WatchErrorKind::Moved,
            ErrorKind::Io(error) => Self::from(error).kind,
            ErrorKind::Generic(_) | ErrorKind::InvalidConfig(_) => WatchErrorKind::Failed,
        };
        Self { kind: fault, details: Some(error.to_string()) }
    }
}

/// `EMFILE` and `ENFILE`, which have no kind of their own.
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

//! Why a folder is not watched, and what can be done about it: pure.

use std::io;

use notify::ErrorKind;
use serde::{Deserialize, Serialize};

/// Why a folder is not watched. While it is not, nothing that is read in it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WatchFault {
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

impl WatchFault {
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
pub(super) struct Trouble {
    pub(super) fault: WatchFault,
    pub(super) details: Option<String>,
}

impl From<WatchFault> for Trouble {
    fn from(fault: WatchFault) -> Self {
        Self { fault, details: None }
    }
}

impl From<&io::Error> for Trouble {
    fn from(error: &io::Error) -> Self {
        let fault = match error.kind() {
            io::ErrorKind::NotFound => WatchFault::Missing,
            io::ErrorKind::NotADirectory => WatchFault::NotAFolder,
            io::ErrorKind::PermissionDenied => WatchFault::NotAllowed,
            _ if is_too_many_open(error) => WatchFault::TooManyWatchers,
            _ => WatchFault::Failed,
        };
        Self { fault, details: Some(error.to_string()) }
    }
}

impl From<&notify::Error> for Trouble {
    fn from(error: &notify::Error) -> Self {
        let fault = match &error.kind {
            ErrorKind::MaxFilesWatch => WatchFault::TooManyFolders,
            // The folder itself was there a moment ago.
            ErrorKind::PathNotFound | ErrorKind::WatchNotFound => WatchFault::Moved,
            ErrorKind::Io(error) if error.kind() == io::ErrorKind::NotFound => WatchFault::Moved,
            ErrorKind::Io(error) => Self::from(error).fault,
            ErrorKind::Generic(_) | ErrorKind::InvalidConfig(_) => WatchFault::Failed,
        };
        Self { fault, details: Some(error.to_string()) }
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
    fn the_limits_of_the_system_are_told_apart_from_other_faults_and_say_what_to_do() {
        let of = |kind| Trouble::from(&notify::Error::new(kind)).fault;
        assert_eq!(of(ErrorKind::MaxFilesWatch), WatchFault::TooManyFolders);
        assert!(WatchFault::TooManyFolders.next_step().contains("max_user_watches"));
        assert_eq!(of(ErrorKind::Generic("odd".to_owned())), WatchFault::Failed);
        assert_eq!(of(ErrorKind::PathNotFound), WatchFault::Moved);
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(of(ErrorKind::Io(denied)), WatchFault::NotAllowed);
    }

    #[cfg(unix)]
    #[test]
    fn too_many_open_watchers_are_named() {
        let error = notify::Error::new(ErrorKind::Io(io::Error::from_raw_os_error(24)));
        assert_eq!(Trouble::from(&error).fault, WatchFault::TooManyWatchers);
        assert!(WatchFault::TooManyWatchers.next_step().contains("max_user_instances"));
    }
}

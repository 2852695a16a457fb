//! The folders that are watched at the moment.
//!
//! The watching actor writes this state, and reads of files consult it. A root that is not watched has no state:
//! nothing read in it is cached.

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::path_key::{PathKey, RootPaths};

/// The folders to watch, and which of them are watched at the moment. Cheap to clone; all clones share the same
/// state.
#[derive(Debug, Clone)]
pub struct Roots(Arc<[Root]>);

#[derive(Debug)]
struct Root {
    configured: PathBuf,
    state: RwLock<RootState>,
}

#[derive(Debug, Default)]
struct RootState {
    /// The number of its changes.
    epoch: u64,
    paths: Option<Arc<RootPaths>>,
}

/// Says why a folder cannot be watched.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RootError {
    /// The path is relative.
    #[error("{0:?} cannot be watched: the path must be absolute, as in \"/home/me/notes\"")]
    NotAbsolute(PathBuf),
    /// The path has a `..`.
    #[error("{0:?} cannot be watched: the path must have no \"..\"")]
    HasParentDir(PathBuf),
    /// The path cannot be a key.
    #[error("{0:?} cannot be watched: the path must be UTF-8, and on a disk of this computer")]
    NotRepresentable(PathBuf),
}

/// The location of a path within a root, in one epoch of its watch.
#[derive(Debug, Clone)]
pub(crate) struct WatchedPath {
    root: usize,
    epoch: u64,
    /// The path as events name it.
    pub(crate) path: PathBuf,
    /// The same path as it stands in keys.
    pub(crate) key: PathKey,
}

impl Roots {
    /// Registers folders to watch; none is watched yet. Duplicates count once.
    ///
    /// # Errors
    /// Fails if one of them can never be watched.
    pub fn new(folders: impl IntoIterator<Item = PathBuf>) -> Result<Self, RootError> {
        let mut roots: Vec<Root> = Vec::new();
        for folder in folders {
            if !folder.is_absolute() {
                return Err(RootError::NotAbsolute(folder));
            }
            if folder.components().any(|component| component == Component::ParentDir) {
                return Err(RootError::HasParentDir(folder));
            }
            if PathKey::from_path(&folder).is_none() {
                return Err(RootError::NotRepresentable(folder));
            }
            let named: PathBuf = folder.components().collect();
            if roots.iter().all(|root| root.configured != named) {
                roots.push(Root { configured: named, state: RwLock::default() });
            }
        }
        Ok(Self(roots.into()))
    }

    /// Returns whether there are no roots.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns each folder as configured, and whether it is watched now.
    pub fn statuses(&self) -> impl Iterator<Item = (&Path, bool)> {
        self.0.iter().map(|root| (root.configured.as_path(), root.read().paths.is_some()))
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn configured_path(&self, root: usize) -> Option<&Path> {
        self.0.get(root).map(|root| root.configured.as_path())
    }

    /// Marks a root as watched: files read in it are cached from now on. Returns the epoch.
    pub(super) fn activate(&self, root: usize, scope: Arc<RootPaths>) -> u64 {
        self.set_state(root, Some(scope))
    }

    /// Marks a root as not watched, in any epoch.
    pub(super) fn deactivate(&self, root: usize) {
        self.set_state(root, None);
    }

    /// Marks a root as not watched, unless the epoch is over: a late end does not affect a later epoch. Returns
    /// whether it ended the epoch.
    pub(super) fn end_epoch(&self, root: usize, epoch: u64) -> bool {
        let Some(root) = self.0.get(root) else { return false };
        let mut state = root.write();
        let is_current = state.epoch == epoch;
        if is_current {
            *state = RootState { epoch: epoch + 1, paths: None };
        }
        is_current
    }

    fn set_state(&self, root: usize, scope: Option<Arc<RootPaths>>) -> u64 {
        let Some(root) = self.0.get(root) else { return 0 };
        let mut state = root.write();
        *state = RootState { epoch: state.epoch + 1, paths: scope };
        state.epoch
    }

    #[cfg(test)]
    #[cfg(target_os = "linux")]
    pub(super) fn active_paths(&self, root: usize) -> Option<(Arc<RootPaths>, u64)> {
        let state = self.0.get(root)?.read();
        state.paths.clone().map(|scope| (scope, state.epoch))
    }

    /// Locates an absolute path, if it is watched and can stand in a key.
    pub(crate) fn locate(&self, path: &Path) -> Option<WatchedPath> {
        let within = |(index, root): (usize, &Root)| {
            let state = root.read();
            let scope = state.paths.as_ref()?;
            let rest =
                path.strip_prefix(&root.configured).or_else(|_| path.strip_prefix(&scope.canonical)).ok()?;
            // Joining an empty path would add a trailing slash.
            let real = if rest.as_os_str().is_empty() {
                scope.canonical.clone()
            } else {
                scope.canonical.join(rest)
            };
            let path: PathBuf = real.components().collect();
            let key = PathKey::from_path(&path)?;
            Some((
                root.configured.as_os_str().len(),
                WatchedPath { root: index, epoch: state.epoch, path, key },
            ))
        };
        let stands = self.0.iter().enumerate().filter_map(within);
        stands.max_by_key(|(length, _)| *length).map(|(_, watched)| watched)
    }

    /// Returns whether the root has been watched without a break since then.
    pub(crate) fn is_current(&self, watched: &WatchedPath) -> bool {
        self.0.get(watched.root).is_some_and(|root| {
            let state = root.read();
            state.epoch == watched.epoch && state.paths.is_some()
        })
    }
}

impl Root {
    fn read(&self) -> RwLockReadGuard<'_, RootState> {
        self.state.read()
    }

    fn write(&self) -> RwLockWriteGuard<'_, RootState> {
        self.state.write()
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    fn roots(folders: &[&str]) -> Roots {
        Roots::new(folders.iter().map(PathBuf::from)).unwrap()
    }

    fn root_paths(named: &str, real: &str) -> Arc<RootPaths> {
        let key = PathKey::from_path(Path::new(real)).unwrap();
        Arc::new(RootPaths { configured: named.into(), canonical: real.into(), key })
    }

    fn located_key(roots: &Roots, path: &str) -> Option<String> {
        roots.locate(Path::new(path)).map(|watched| watched.key.as_str().to_owned())
    }

    #[test]
    fn locate_active_root_gives_canonical_path() {
        let roots = roots(&["/home/r"]);
        assert_eq!(located_key(&roots, "/home/r/a"), None);
        roots.activate(0, root_paths("/home/r", "/disk/r"));
        assert_eq!(located_key(&roots, "/home/r//a/./b").as_deref(), Some("/disk/r/a/b"));
        assert_eq!(located_key(&roots, "/disk/r/a").as_deref(), Some("/disk/r/a"));
        assert_eq!(located_key(&roots, "/home/r/").as_deref(), Some("/disk/r"));
        for outside in ["/home/rr", "/home", "/home/r/../s", "home/r/a"] {
            assert_eq!(located_key(&roots, outside), None, "{outside}");
        }
        roots.deactivate(0);
        assert_eq!(located_key(&roots, "/home/r/a"), None);
    }

    #[test]
    fn is_current_path_of_earlier_epoch_is_false() {
        let roots = roots(&["/r"]);
        let first = roots.activate(0, root_paths("/r", "/r"));
        let watched = roots.locate(Path::new("/r/a")).unwrap();
        assert!(roots.is_current(&watched));
        assert!(roots.end_epoch(0, first));
        assert!(!roots.is_current(&watched));
        roots.activate(0, root_paths("/r", "/r"));
        assert!(!roots.is_current(&watched));
        assert!(!roots.end_epoch(0, first), "another has begun");
        assert!(roots.locate(Path::new("/r/a")).is_some());
    }

    #[test]
    fn new_unwatchable_folder_errors_and_duplicates_merge() {
        let refusal = |folder: &str| Roots::new([PathBuf::from(folder)]).unwrap_err().to_string();
        let absolute = "\"notes\" cannot be watched: the path must be absolute, as in \"/home/me/notes\"";
        assert_eq!(refusal("notes"), absolute);
        assert_eq!(refusal("/a/../b"), "\"/a/../b\" cannot be watched: the path must have no \"..\"");
        assert_eq!(roots(&["/a", "/a/", "/a//b"]).count(), 2);
    }
}

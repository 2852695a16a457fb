//! Which folders are watched at the moment.
//!
//! The watching actor says so, and whoever reads files asks. A root that is not watched has no stand: nothing is kept of
//! what is read in it.

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::batch::RootPaths;
use super::path_key::PathKey;

/// Folders that are to be watched, and which of them are at the moment. Cheap to clone; all clones share the same.
#[derive(Debug, Clone)]
pub struct Roots(Arc<[Root]>);

#[derive(Debug)]
struct Root {
    configured: PathBuf,
    state: RwLock<RootState>,
}

#[derive(Debug, Default)]
struct RootState {
    /// How often it has changed.
    epoch: u64,
    paths: Option<Arc<RootPaths>>,
}

/// Why a folder cannot be watched.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RootError {
    /// Its path depends on where the program was started.
    #[error("{0:?} cannot be watched: the path must be absolute, as in \"/home/me/notes\"")]
    NotAbsolute(PathBuf),
    /// Its path has a `..`.
    #[error("{0:?} cannot be watched: the path must have no \"..\"")]
    HasParentDir(PathBuf),
    /// Its path cannot be a key.
    #[error("{0:?} cannot be watched: the path must be UTF-8, and on a disk of this machine")]
    NotRepresentable(PathBuf),
}

/// Where a path is: within a root, in the term in which that is watched.
#[derive(Debug, Clone)]
pub(crate) struct WatchedPath {
    root: usize,
    epoch: u64,
    /// The path, by the way that events tell it.
    pub(crate) path: PathBuf,
    /// The same, as it stands in keys.
    pub(crate) key: PathKey,
}

impl Roots {
    /// Folders that are to be watched; none of them is yet. What is named twice counts once.
    ///
    /// # Errors
    /// When one of them cannot be watched, wherever it may be.
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

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The folders, as they were named, and whether each of them is watched now.
    pub fn statuses(&self) -> impl Iterator<Item = (&Path, bool)> {
        self.0.iter().map(|root| (root.configured.as_path(), root.read().paths.is_some()))
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn configured_path(&self, root: usize) -> Option<&Path> {
        self.0.get(root).map(|root| root.configured.as_path())
    }

    /// From now on what is read in the root is kept. Returns the term.
    pub(super) fn activate(&self, root: usize, scope: Arc<RootPaths>) -> u64 {
        self.set_state(root, Some(scope))
    }

    /// From now on nothing that is read in the root is kept, whoever had it watched.
    pub(super) fn deactivate(&self, root: usize) {
        self.set_state(root, None);
    }

    /// The same, unless the term is over: who comes late ends nothing that another has begun. Whether it was not.
    pub(super) fn end_epoch(&self, root: usize, term: u64) -> bool {
        let Some(root) = self.0.get(root) else { return false };
        let mut seat = root.write();
        let is_current = seat.epoch == term;
        if is_current {
            *seat = RootState { epoch: term + 1, paths: None };
        }
        is_current
    }

    fn set_state(&self, root: usize, scope: Option<Arc<RootPaths>>) -> u64 {
        let Some(root) = self.0.get(root) else { return 0 };
        let mut seat = root.write();
        *seat = RootState { epoch: seat.epoch + 1, paths: scope };
        seat.epoch
    }

    #[cfg(test)]
    #[cfg(target_os = "linux")]
    pub(super) fn active_paths(&self, root: usize) -> Option<(Arc<RootPaths>, u64)> {
        let seat = self.0.get(root)?.read();
        seat.paths.clone().map(|scope| (scope, seat.epoch))
    }

    /// Where an absolute path is, if that is watched and can stand in a key.
    pub(crate) fn locate(&self, path: &Path) -> Option<WatchedPath> {
        let within = |(index, root): (usize, &Root)| {
            let seat = root.read();
            let scope = seat.paths.as_ref()?;
            let rest =
                path.strip_prefix(&root.configured).or_else(|_| path.strip_prefix(&scope.canonical)).ok()?;
            // What is joined with nothing would end with a slash.
            let real = if rest.as_os_str().is_empty() {
                scope.canonical.clone()
            } else {
                scope.canonical.join(rest)
            };
            let path: PathBuf = real.components().collect();
            let place = PathKey::from_path(&path)?;
            Some((
                root.configured.as_os_str().len(),
                WatchedPath { root: index, epoch: seat.epoch, path, key: place },
            ))
        };
        let stands = self.0.iter().enumerate().filter_map(within);
        stands.max_by_key(|(length, _)| *length).map(|(_, stand)| stand)
    }

    /// Whether the root has been watched ever since.
    pub(crate) fn is_current(&self, stand: &WatchedPath) -> bool {
        self.0.get(stand.root).is_some_and(|root| {
            let seat = root.read();
            seat.epoch == stand.epoch && seat.paths.is_some()
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
        let place = PathKey::from_path(Path::new(real)).unwrap();
        Arc::new(RootPaths { configured: named.into(), canonical: real.into(), key: place })
    }

    fn located_key(roots: &Roots, path: &str) -> Option<String> {
        roots.locate(Path::new(path)).map(|stand| stand.key.as_str().to_owned())
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
        let stand = roots.locate(Path::new("/r/a")).unwrap();
        assert!(roots.is_current(&stand));
        assert!(roots.end_epoch(0, first));
        assert!(!roots.is_current(&stand));
        roots.activate(0, root_paths("/r", "/r"));
        assert!(!roots.is_current(&stand));
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

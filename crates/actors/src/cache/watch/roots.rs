//! Which folders are watched at the moment.
//!
//! The watching actor says so, and whoever reads files asks. A root that is not watched has no stand: nothing is kept of
//! what is read in it.

use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use thiserror::Error;

use super::batch::Scope;
use super::place::Place;

/// Folders that are to be watched, and which of them are at the moment. Cheap to clone; all clones share the same.
#[derive(Debug, Clone)]
pub struct Roots(Arc<[Root]>);

#[derive(Debug)]
struct Root {
    named: PathBuf,
    seat: RwLock<Seat>,
}

#[derive(Debug, Default)]
struct Seat {
    /// How often it has changed.
    term: u64,
    scope: Option<Arc<Scope>>,
}

/// Why a folder cannot be watched.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RootError {
    /// Its path depends on where the program was started.
    #[error("{0:?} cannot be watched: the path must be absolute, as in \"/home/me/notes\"")]
    NotAbsolute(PathBuf),
    /// Its path has a `..`.
    #[error("{0:?} cannot be watched: the path must have no \"..\"")]
    Detour(PathBuf),
    /// Its path cannot be a key.
    #[error("{0:?} cannot be watched: the path must be UTF-8, and on a disk of this machine")]
    NoText(PathBuf),
}

/// Where a path is: within a root, in the term in which that is watched.
#[derive(Debug, Clone)]
pub(crate) struct Stand {
    root: usize,
    term: u64,
    /// The path, by the way that events tell it.
    pub(crate) path: PathBuf,
    /// The same, as it stands in keys.
    pub(crate) place: Place,
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
                return Err(RootError::Detour(folder));
            }
            if Place::of(&folder).is_none() {
                return Err(RootError::NoText(folder));
            }
            let named: PathBuf = folder.components().collect();
            if roots.iter().all(|root| root.named != named) {
                roots.push(Root { named, seat: RwLock::default() });
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
    pub fn standing(&self) -> impl Iterator<Item = (&Path, bool)> {
        self.0.iter().map(|root| (root.named.as_path(), root.read().scope.is_some()))
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn named(&self, root: usize) -> Option<&Path> {
        self.0.get(root).map(|root| root.named.as_path())
    }

    /// From now on what is read in the root is kept. Returns the term.
    pub(super) fn seat(&self, root: usize, scope: Arc<Scope>) -> u64 {
        self.change(root, Some(scope))
    }

    /// From now on nothing that is read in the root is kept, whoever had it watched.
    pub(super) fn unseat(&self, root: usize) {
        self.change(root, None);
    }

    /// The same, unless the term is over: who comes late ends nothing that another has begun. Whether it was not.
    pub(super) fn end(&self, root: usize, term: u64) -> bool {
        let Some(root) = self.0.get(root) else { return false };
        let mut seat = root.write();
        let is_current = seat.term == term;
        if is_current {
            *seat = Seat { term: term + 1, scope: None };
        }
        is_current
    }

    fn change(&self, root: usize, scope: Option<Arc<Scope>>) -> u64 {
        let Some(root) = self.0.get(root) else { return 0 };
        let mut seat = root.write();
        *seat = Seat { term: seat.term + 1, scope };
        seat.term
    }

    #[cfg(test)]
    #[cfg(target_os = "linux")]
    pub(super) fn seated(&self, root: usize) -> Option<(Arc<Scope>, u64)> {
        let seat = self.0.get(root)?.read();
        seat.scope.clone().map(|scope| (scope, seat.term))
    }

    /// Where an absolute path is, if that is watched and can stand in a key.
    pub(crate) fn stand(&self, path: &Path) -> Option<Stand> {
        let within = |(index, root): (usize, &Root)| {
            let seat = root.read();
            let scope = seat.scope.as_ref()?;
            let rest = path.strip_prefix(&root.named).or_else(|_| path.strip_prefix(&scope.real)).ok()?;
            // What is joined with nothing would end with a slash.
            let real = if rest.as_os_str().is_empty() { scope.real.clone() } else { scope.real.join(rest) };
            let path: PathBuf = real.components().collect();
            let place = Place::of(&path)?;
            Some((root.named.as_os_str().len(), Stand { root: index, term: seat.term, path, place }))
        };
        let stands = self.0.iter().enumerate().filter_map(within);
        stands.max_by_key(|(length, _)| *length).map(|(_, stand)| stand)
    }

    /// Whether the root has been watched ever since.
    pub(crate) fn holds(&self, stand: &Stand) -> bool {
        self.0.get(stand.root).is_some_and(|root| {
            let seat = root.read();
            seat.term == stand.term && seat.scope.is_some()
        })
    }
}

impl Root {
    fn read(&self) -> RwLockReadGuard<'_, Seat> {
        self.seat.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Seat> {
        self.seat.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    fn roots(folders: &[&str]) -> Roots {
        Roots::new(folders.iter().map(PathBuf::from)).unwrap()
    }

    fn scope(named: &str, real: &str) -> Arc<Scope> {
        let place = Place::of(Path::new(real)).unwrap();
        Arc::new(Scope { named: named.into(), real: real.into(), place })
    }

    fn stand(roots: &Roots, path: &str) -> Option<String> {
        roots.stand(Path::new(path)).map(|stand| stand.place.as_str().to_owned())
    }

    #[test]
    fn a_path_stands_where_its_root_leads_while_that_is_watched() {
        let roots = roots(&["/home/r"]);
        assert_eq!(stand(&roots, "/home/r/a"), None);
        roots.seat(0, scope("/home/r", "/disk/r"));
        assert_eq!(stand(&roots, "/home/r//a/./b").as_deref(), Some("/disk/r/a/b"));
        assert_eq!(stand(&roots, "/disk/r/a").as_deref(), Some("/disk/r/a"));
        assert_eq!(stand(&roots, "/home/r/").as_deref(), Some("/disk/r"));
        for outside in ["/home/rr", "/home", "/home/r/../s", "home/r/a"] {
            assert_eq!(stand(&roots, outside), None, "{outside}");
        }
        roots.unseat(0);
        assert_eq!(stand(&roots, "/home/r/a"), None);
    }

    #[test]
    fn what_stood_in_an_earlier_term_does_not_hold_in_a_later_one() {
        let roots = roots(&["/r"]);
        let first = roots.seat(0, scope("/r", "/r"));
        let stand = roots.stand(Path::new("/r/a")).unwrap();
        assert!(roots.holds(&stand));
        assert!(roots.end(0, first));
        assert!(!roots.holds(&stand));
        roots.seat(0, scope("/r", "/r"));
        assert!(!roots.holds(&stand));
        assert!(!roots.end(0, first), "another has begun");
        assert!(roots.stand(Path::new("/r/a")).is_some());
    }

    #[test]
    fn a_folder_that_cannot_be_watched_is_refused_in_words_and_one_named_twice_counts_once() {
        let refusal = |folder: &str| Roots::new([PathBuf::from(folder)]).unwrap_err().to_string();
        let absolute = "\"notes\" cannot be watched: the path must be absolute, as in \"/home/me/notes\"";
        assert_eq!(refusal("notes"), absolute);
        assert_eq!(refusal("/a/../b"), "\"/a/../b\" cannot be watched: the path must have no \"..\"");
        assert_eq!(roots(&["/a", "/a/", "/a//b"]).count(), 2);
    }
}

//! The keys of files and searches, and which of them a changed path concerns: pure.
//!
//! In a key a path has `/` between its parts on every system. A path cannot contain `//`, so that ends the folder of
//! a search.

use std::path::{Component, Path, PathBuf, Prefix};

use crate::cache::key::{FILE_PREFIX, KEY_BYTES_MAX, SEARCH_PREFIX};
use crate::cache::pattern::Selection;

/// A path as it stands in a key: absolute, without `.` and `..`, in UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PathKey(String);

/// The paths of a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RootPaths {
    /// The path as configured.
    pub(super) configured: PathBuf,
    /// The path without symlinks. Events name paths below it.
    pub(super) canonical: PathBuf,
    /// The canonical path as it stands in keys.
    pub(super) key: PathKey,
}

impl PathKey {
    /// Converts a path; `None` if it cannot stand in a key, and so cannot be cached.
    pub(crate) fn from_path(path: &Path) -> Option<Self> {
        if !path.is_absolute() {
            return None;
        }
        let mut text = String::new();
        for component in path.components() {
            match component {
                Component::Prefix(prefix) => match prefix.kind() {
                    Prefix::Disk(letter) | Prefix::VerbatimDisk(letter) => {
                        text.push(char::from(letter.to_ascii_uppercase()));
                        text.push(':');
                    }
                    // A share of another machine, whose changes are not reported here.
                    _ => return None,
                },
                Component::RootDir => text.push('/'),
                Component::Normal(part) => {
                    if !text.ends_with('/') {
                        text.push('/');
                    }
                    text.push_str(part.to_str()?);
                }
                Component::CurDir | Component::ParentDir => return None,
            }
        }
        Some(Self(text))
    }

    /// Returns its text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the key of the file's contents; `None` if it would be too long.
    pub(crate) fn file_key(&self) -> Option<String> {
        within_key_limit(format!("{FILE_PREFIX}{}", self.0))
    }

    /// Returns the key of a search result in this folder; `None` if it would be too long.
    pub(crate) fn search_key(&self, query: &str) -> Option<String> {
        within_key_limit(format!("{SEARCH_PREFIX}{}//{query}", self.0))
    }

    /// Returns the folders above it, the nearest first.
    pub(super) fn ancestors(&self) -> impl Iterator<Item = &str> {
        let mut rest = self.0.as_str();
        std::iter::from_fn(move || {
            let slash = rest.rfind('/')?;
            let name = &rest[slash + 1..];
            if name.is_empty() {
                return None;
            }
            // The slash of the file system's root belongs to its text.
            let is_top = !rest[..slash].contains('/');
            let folder = if is_top { &rest[..=slash] } else { &rest[..slash] };
            rest = folder;
            Some(folder)
        })
    }

    /// Returns the keys to drop when this path changed. The path may be or have been a file or a folder.
    ///
    /// They are: the path, everything in it, searches of it or of a folder in it, and searches of a folder above it.
    pub(super) fn invalidated_keys(&self) -> impl Iterator<Item = InvalidatedKeys> {
        let slash = if self.0.ends_with('/') { "" } else { "/" };
        let own = [
            InvalidatedKeys::Key(format!("{FILE_PREFIX}{}", self.0)),
            InvalidatedKeys::Prefix(format!("{FILE_PREFIX}{}{slash}", self.0)),
            InvalidatedKeys::Prefix(format!("{SEARCH_PREFIX}{}{slash}", self.0)),
        ];
        let covering =
            self.ancestors().map(|folder| InvalidatedKeys::Prefix(format!("{SEARCH_PREFIX}{folder}//")));
        own.into_iter().chain(covering)
    }
}

/// The keys that a change drops.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum InvalidatedKeys {
    Key(String),
    Prefix(String),
}

impl InvalidatedKeys {
    pub(super) fn to_selection(&self) -> Selection {
        match self {
            Self::Key(key) => Selection::key(key),
            Self::Prefix(beginning) => Selection::prefix(beginning),
        }
    }
}

fn within_key_limit(key: String) -> Option<String> {
    (key.len() <= KEY_BYTES_MAX).then_some(key)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    fn path_key(path: &str) -> PathKey {
        PathKey::from_path(Path::new(path)).unwrap()
    }

    /// Filters the keys that a change of `path` drops.
    fn invalidated<'a>(path: &str, keys: &[&'a str]) -> Vec<&'a str> {
        let invalidated: Vec<_> = path_key(path).invalidated_keys().collect();
        let is_dropped = |key: &&&str| {
            invalidated.iter().any(|dropped| match dropped {
                InvalidatedKeys::Key(text) => text == **key,
                InvalidatedKeys::Prefix(beginning) => key.starts_with(beginning.as_str()),
            })
        };
        keys.iter().filter(is_dropped).copied().collect()
    }

    #[test]
    fn from_path_normalizes_and_rejects_unusable_paths() {
        assert_eq!(path_key("/a//b/./c/").as_str(), "/a/b/c");
        assert_eq!(path_key("/").as_str(), "/");
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        let no_text = Path::new(OsStr::from_bytes(b"/a/\xff"));
        for unfit in [Path::new("a/b"), Path::new("/a/../b"), Path::new(""), no_text] {
            assert_eq!(PathKey::from_path(unfit), None, "{unfit:?}");
        }
    }

    #[test]
    fn file_and_search_keys_too_long_are_none() {
        assert_eq!(path_key("/a").file_key().as_deref(), Some("file:/a"));
        assert_eq!(path_key("/a").search_key("q").as_deref(), Some("search:/a//q"));
        assert_eq!(path_key("/").search_key("q").as_deref(), Some("search:///q"));
        assert_eq!(path_key("/a").search_key(&"q".repeat(KEY_BYTES_MAX)), None);
    }

    #[test]
    fn invalidated_keys_cover_path_children_and_searches() {
        let keys = [
            "file:/",
            "file:/r",
            "file:/r/d",
            "file:/r/d/x",
            "file:/r/d/x/y",
            "file:/r/dd",
            "search:///q",
            "search:/r//q",
            "search:/r/d//q",
            "search:/r/d/x//q",
            "search:/r/dd//q",
            "search:/r/e//d//q",
            "http:/r/d",
        ];
        let expected = [
            "file:/r/d",
            "file:/r/d/x",
            "file:/r/d/x/y",
            "search:///q",
            "search:/r//q",
            "search:/r/d//q",
            "search:/r/d/x//q",
        ];
        assert_eq!(invalidated("/r/d", &keys), expected);
        assert_eq!(invalidated("/", &keys), keys[..12]);
    }
}

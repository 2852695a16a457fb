//! Searches a watched folder for files, for a client.

use std::collections::VecDeque;
use std::fs;
use std::path::{MAIN_SEPARATOR_STR, Path, PathBuf};

use mainstay_actors::cache::Selection;
use serde::Serialize;

/// The limits of one search. Past one of them its result is partial.
#[derive(Debug, Clone, Copy)]
struct SearchLimits {
    /// The most entries of folders that are looked at.
    entries_max: usize,
    /// The most paths.
    paths_max: usize,
    /// The most bytes of all paths.
    bytes_max: usize,
}

const LIMITS: SearchLimits = SearchLimits { entries_max: 200_000, paths_max: 10_000, bytes_max: 4 << 20 };

/// The reply to `search`: `{"paths":[…],"is_partial":false}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct FoundFiles {
    /// The absolute paths, in order, at most 10,000.
    pub paths: Vec<String>,
    /// True if the search ended at a limit, so that there may be more.
    pub is_partial: bool,
}

/// Returns the files below `folder` whose path from there on matches. Links are not followed, and folders that cannot be
/// read are left out.
pub(super) fn find_files(folder: &Path, pattern: &Selection) -> FoundFiles {
    find_within(folder, pattern, LIMITS)
}

/// Goes through the folders level by level, so that a partial result has what is nearest.
fn find_within(folder: &Path, pattern: &Selection, limits: SearchLimits) -> FoundFiles {
    let (mut paths, mut bytes, mut entries, mut is_partial) = (Vec::new(), 0, 0, false);
    let mut folders = VecDeque::from([folder.to_owned()]);
    'search: while let Some(next) = folders.pop_front() {
        let Ok(content) = fs::read_dir(&next) else { continue };
        for entry in content.flatten() {
            entries += 1;
            if entries > limits.entries_max {
                is_partial = true;
                break 'search;
            }
            let (Ok(kind), path) = (entry.file_type(), entry.path()) else { continue };
            if kind.is_dir() {
                folders.push_back(path);
            } else if kind.is_file()
                && let Some(path) = matching(folder, path, pattern)
            {
                if paths.len() == limits.paths_max || bytes + path.len() > limits.bytes_max {
                    is_partial = true;
                    break 'search;
                }
                bytes += path.len();
                paths.push(path);
            }
        }
    }
    paths.sort_unstable();
    FoundFiles { paths, is_partial }
}

/// Returns a path as text, if it is UTF-8 and matches from the folder on, with `/` on every system.
fn matching(folder: &Path, path: PathBuf, pattern: &Selection) -> Option<String> {
    let rest = path.strip_prefix(folder).ok()?.to_str()?;
    let is_match = if MAIN_SEPARATOR_STR == "/" {
        pattern.matches_str(rest)
    } else {
        pattern.matches_str(&rest.replace(MAIN_SEPARATOR_STR, "/"))
    };
    if is_match { path.into_os_string().into_string().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the found paths from the folder on, and whether the result is partial.
    fn find(root: &Path, pattern: &str, limits: SearchLimits) -> (Vec<String>, bool) {
        let found = find_within(root, &Selection::glob(pattern).unwrap(), limits);
        let from_root = |path: &String| {
            let rest = Path::new(path).strip_prefix(root).unwrap();
            rest.to_str().unwrap().replace(MAIN_SEPARATOR_STR, "/")
        };
        (found.paths.iter().map(from_root).collect(), found.is_partial)
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("b/c")).unwrap();
        for file in ["a.md", "a.txt", "b/d.md", "b/c/e.md"] {
            fs::write(folder.path().join(file), file).unwrap();
        }
        folder
    }

    #[test]
    fn search_matches_paths_from_the_folder_on() {
        let folder = folder();
        for (pattern, expected) in [
            ("*.md", &["a.md"][..]),
            ("**/*.md", &["a.md", "b/c/e.md", "b/d.md"]),
            ("b/*", &["b/d.md"]),
            ("b/**", &["b/c/e.md", "b/d.md"]),
            ("{a.txt,b/c/*}", &["a.txt", "b/c/e.md"]),
            ("c", &[]),
        ] {
            let expected = expected.iter().map(|&path| path.to_owned()).collect::<Vec<_>>();
            assert_eq!(find(folder.path(), pattern, LIMITS), (expected, false), "{pattern}");
        }
    }

    #[test]
    fn search_past_a_limit_is_partial() {
        let folder = folder();
        let names = "a.mda.txtb/d.mdb/c/e.md".len() + 4 * (folder.path().to_str().unwrap().len() + 1);
        let exact = SearchLimits { entries_max: 6, paths_max: 4, bytes_max: names };
        assert_eq!(find(folder.path(), "**", exact).0.len(), 4);
        assert!(!find(folder.path(), "**", exact).1);
        for (limits, count) in [
            (SearchLimits { entries_max: 5, ..exact }, 3),
            (SearchLimits { paths_max: 3, ..exact }, 3),
            (SearchLimits { bytes_max: names - 1, ..exact }, 3),
        ] {
            let (paths, is_partial) = find(folder.path(), "**", limits);
            assert!(is_partial && paths.len() == count, "{limits:?}: {paths:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn search_follows_no_links() {
        let (folder, outside) = (folder(), folder());
        std::os::unix::fs::symlink(outside.path(), folder.path().join("linked")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("a.txt"), folder.path().join("link.txt")).unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("b/round")).unwrap();
        assert_eq!(find(folder.path(), "**.txt", LIMITS), (vec!["a.txt".to_owned()], false));
    }
}

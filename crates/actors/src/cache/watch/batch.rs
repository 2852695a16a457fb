//! Gathers a watcher's events until they are applied: pure.
//!
//! Neither debouncer of notify fits. notify-debouncer-mini drops an event without a path, and so the report that
//! events were lost. notify-debouncer-full merges events: it hides a file that was created and removed, or renamed
//! twice, within its time. But a caller may have read that file meanwhile. Here each touched path counts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode, CreateKind, Event, EventKind, MetadataKind, ModifyKind};

use super::changes::{ChangeList, FileChange};
use super::error::{WatchError, WatchErrorKind};
use super::path_key::{InvalidatedKeys, PathKey, RootPaths};
use crate::cache::{InvalidatedBy, Invalidation};

/// With more paths than this the whole root is dropped, which costs less.
const PATHS_MAX: usize = 4096;

/// With more candidate folders than this the whole root is scanned.
const NEW_FOLDERS_MAX: usize = 1024;

/// The changes in a root, and the state of its watcher.
#[derive(Debug, Default)]
pub(super) struct EventBatch {
    paths: BTreeSet<PathBuf>,
    /// Too much has changed, or the changes are unknown.
    is_whole_root: bool,
    /// The same for listeners, until the batch is taken.
    pub(super) changes: ChangeList,
    /// The changes for listeners, once the batch is taken.
    pub(super) feed: Vec<FileChange>,
    /// Paths that may be new folders without a watch.
    pub(super) new_folders: BTreeSet<PathBuf>,
    /// The error that ends this watcher.
    pub(super) error: Option<WatchError>,
}

impl EventBatch {
    pub(super) fn is_empty(&self) -> bool {
        self.paths.is_empty() && !self.is_whole_root && self.error.is_none()
    }

    /// Records an event of a watcher. Returns whether there is work to do.
    pub(super) fn record_event(&mut self, scope: &RootPaths, event: notify::Result<Event>) -> bool {
        let event = match event {
            Ok(event) => event,
            Err(error) => return self.fail(WatchError::from(&error)),
        };
        if event.need_rescan() {
            return self.fail(WatchErrorKind::Overflow.into());
        }
        let kind = event.kind;
        if is_read_only(kind) {
            return false;
        }
        self.is_whole_root |= event.paths.is_empty();
        let mut concerns = event.paths.is_empty();
        let is_below = |path: &&PathBuf| path.starts_with(&scope.canonical);
        let below: Vec<PathBuf> = event.paths.iter().filter(is_below).cloned().collect();
        if concerns || !below.is_empty() {
            self.changes.record(kind, &below, event.attrs.tracker());
        }
        for path in event.paths {
            if is_root_or_ancestor(scope, &path) && changes_name(kind) {
                self.fail(WatchErrorKind::Moved.into());
                concerns = true;
            }
            if path.starts_with(&scope.canonical) {
                concerns = true;
                self.record_path(scope, path, kind);
            }
        }
        concerns
    }

    fn record_path(&mut self, scope: &RootPaths, path: PathBuf, kind: EventKind) {
        if may_add_folder(kind) && !self.new_folders.contains(&scope.canonical) {
            if self.new_folders.len() < NEW_FOLDERS_MAX {
                self.new_folders.insert(path.clone());
            } else {
                self.new_folders = BTreeSet::from([scope.canonical.clone()]);
            }
        }
        if !self.is_whole_root {
            self.paths.insert(path);
            self.is_whole_root = self.paths.len() > PATHS_MAX;
        }
        if self.is_whole_root {
            self.paths.clear();
        }
    }

    /// Takes the batch, and starts the next one.
    pub(super) fn take(&mut self) -> Self {
        let changes = self.changes.take();
        let next = Self { changes: std::mem::take(&mut self.changes), ..Self::default() };
        Self { changes, ..std::mem::replace(self, next) }
    }

    /// Prepares the changes for listeners. `exists` says whether a path is there now.
    pub(super) fn fill_feed(&mut self, scope: &RootPaths, exists: impl Fn(&Path) -> bool) {
        self.feed = std::mem::take(&mut self.changes).into_changes(scope, exists);
    }

    /// Records that the watcher failed; the first cause counts.
    pub(super) fn fail(&mut self, error: WatchError) -> bool {
        self.error.get_or_insert(error);
        true
    }

    /// Returns the entries to drop.
    pub(super) fn invalidation(&self, scope: &RootPaths) -> Invalidation {
        if self.is_whole_root {
            return whole_root_invalidation(&scope.key);
        }
        // A path that is not UTF-8 is in no key, but its ancestors are.
        let key = |path: &PathBuf| path.ancestors().find_map(PathKey::from_path);
        let places: BTreeSet<PathKey> = self.paths.iter().filter_map(key).collect();
        let keys: BTreeSet<InvalidatedKeys> = places.iter().flat_map(PathKey::invalidated_keys).collect();
        let pattern = match (places.first(), places.len()) {
            (Some(key), 1) => key.as_str().to_owned(),
            (_, count) => format!("{count} paths under {}", scope.key.as_str()),
        };
        let selections = keys.iter().map(InvalidatedKeys::to_selection).collect();
        Invalidation { by: InvalidatedBy::Files, pattern, selections }
    }
}

/// Selects all entries of a root, and every search that covers it.
pub(super) fn whole_root_invalidation(root: &PathKey) -> Invalidation {
    let keys: Vec<InvalidatedKeys> = root.invalidated_keys().collect();
    Invalidation {
        by: InvalidatedBy::Files,
        pattern: format!("everything under {}", root.as_str()),
        selections: keys.iter().map(InvalidatedKeys::to_selection).collect(),
    }
}

/// Returns whether a path is the root or an ancestor of it.
fn is_root_or_ancestor(scope: &RootPaths, path: &Path) -> bool {
    scope.canonical.starts_with(path) || scope.configured.starts_with(path)
}

/// Returns whether the event changes nothing: our own reads cause events too. A file open for writing counts when it
/// is closed: writes through a memory map cause no other event.
const fn is_read_only(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Create(_)
        | EventKind::Remove(_)
        | EventKind::Any
        | EventKind::Other => false,
        EventKind::Modify(kind) => matches!(kind, ModifyKind::Metadata(MetadataKind::AccessTime)),
        EventKind::Access(_) => true,
    }
}

/// Returns whether a name may now refer to another file or folder.
const fn changes_name(kind: EventKind) -> bool {
    matches!(kind, EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)))
}

/// Returns whether a folder may have appeared that needs a watch: a new one, or one that was not readable before.
const fn may_add_folder(kind: EventKind) -> bool {
    match kind {
        EventKind::Create(kind) => !matches!(kind, CreateKind::File),
        EventKind::Modify(kind) => matches!(kind, ModifyKind::Name(_) | ModifyKind::Metadata(_)),
        _ => false,
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use notify::event::{DataChange, Flag, RemoveKind, RenameMode};

    use super::*;

    const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const CREATED: EventKind = EventKind::Create(CreateKind::File);
    const REMOVED: EventKind = EventKind::Remove(RemoveKind::Folder);

    fn root_paths() -> RootPaths {
        let real = PathBuf::from("/disk/r");
        RootPaths {
            configured: PathBuf::from("/home/r"),
            key: PathKey::from_path(&real).unwrap(),
            canonical: real,
        }
    }

    fn event(kind: EventKind, paths: &[&str]) -> Event {
        paths.iter().fold(Event::new(kind), |event, path| event.add_path(PathBuf::from(path)))
    }

    fn batch(events: Vec<Event>) -> EventBatch {
        let mut batch = EventBatch::default();
        for event in events {
            batch.record_event(&root_paths(), Ok(event));
        }
        batch
    }

    fn error_kind(events: Vec<Event>) -> Option<WatchErrorKind> {
        batch(events).error.map(|error| error.kind)
    }

    fn describe(invalidation: &Invalidation) -> (String, Vec<String>) {
        let selections = invalidation.selections.iter().map(|selection| format!("{selection:?}"));
        (invalidation.pattern.clone(), selections.collect())
    }

    #[test]
    fn invalidation_rename_covers_both_paths_and_searches() {
        let rename = EventKind::Modify(ModifyKind::Name(RenameMode::Both));
        let events = vec![event(rename, &["/disk/r/a", "/disk/r/b"]), event(WRITTEN, &["/disk/r/a"])];
        let (pattern, selections) = describe(&batch(events).invalidation(&root_paths()));
        assert_eq!(pattern, "2 paths under /disk/r");
        let expected = [
            "key \"file:/disk/r/a\"",
            "key \"file:/disk/r/b\"",
            "prefix \"file:/disk/r/a/\"",
            "prefix \"file:/disk/r/b/\"",
            "prefix \"search:///\"",
            "prefix \"search:/disk//\"",
            "prefix \"search:/disk/r//\"",
            "prefix \"search:/disk/r/a/\"",
            "prefix \"search:/disk/r/b/\"",
        ];
        assert_eq!(selections, expected);
    }

    #[test]
    fn invalidation_created_and_removed_path_is_included() {
        let events = vec![event(CREATED, &["/disk/r/a"]), event(REMOVED, &["/disk/r/a"])];
        assert_eq!(batch(events).invalidation(&root_paths()).pattern, "/disk/r/a");
    }

    #[test]
    fn record_event_read_is_ignored_and_write_close_counts() {
        let open = EventKind::Access(AccessKind::Open(AccessMode::Any));
        let read = EventKind::Access(AccessKind::Close(AccessMode::Read));
        let looked_at = EventKind::Modify(ModifyKind::Metadata(MetadataKind::AccessTime));
        for kind in [open, read, looked_at] {
            assert!(batch(vec![event(kind, &["/disk/r/a"])]).is_empty(), "{kind:?}");
        }
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        assert!(!batch(vec![event(written, &["/disk/r/a"])]).is_empty());
    }

    #[test]
    fn record_event_overflow_or_watcher_error_fails_batch() {
        let rescan = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert_eq!(error_kind(vec![rescan]), Some(WatchErrorKind::Overflow));
        let mut batch = EventBatch::default();
        let limit = notify::Error::new(notify::ErrorKind::MaxFilesWatch);
        assert!(batch.record_event(&root_paths(), Err(limit)));
        assert_eq!(batch.error.unwrap().kind, WatchErrorKind::TooManyFolders);
    }

    #[test]
    fn record_event_without_path_invalidates_whole_root() {
        let batch = batch(vec![event(EventKind::Any, &[]), event(WRITTEN, &["/disk/r/a"])]);
        assert_eq!(batch.invalidation(&root_paths()).pattern, "everything under /disk/r");
    }

    #[test]
    fn record_event_root_or_ancestor_removed_is_moved() {
        for path in ["/disk/r", "/disk", "/home/r", "/home"] {
            assert_eq!(error_kind(vec![event(REMOVED, &[path])]), Some(WatchErrorKind::Moved), "{path}");
            assert_eq!(error_kind(vec![event(CREATED, &[path])]), Some(WatchErrorKind::Moved), "{path}");
        }
        for path in ["/disk/r/a", "/disk/rr", "/home/s", "/elsewhere"] {
            assert_eq!(error_kind(vec![event(REMOVED, &[path])]), None, "{path}");
        }
    }

    #[test]
    fn record_event_outside_root_is_ignored() {
        assert!(batch(vec![event(WRITTEN, &["/disk/other"]), event(CREATED, &["/home/s"])]).is_empty());
    }

    #[test]
    fn invalidation_above_paths_max_covers_whole_root() {
        let paths: Vec<String> = (0..=PATHS_MAX).map(|n| format!("/disk/r/{n}")).collect();
        let events = |count: usize| paths[..count].iter().map(|path| event(WRITTEN, &[path])).collect();
        let (pattern, _) = describe(&batch(events(PATHS_MAX)).invalidation(&root_paths()));
        assert_eq!(pattern, "4096 paths under /disk/r");
        let batch = batch(events(PATHS_MAX + 1));
        assert!(batch.paths.is_empty() && !batch.is_empty());
        let (pattern, selections) = describe(&batch.invalidation(&root_paths()));
        assert_eq!(pattern, "everything under /disk/r");
        let expected = [
            "key \"file:/disk/r\"",
            "prefix \"file:/disk/r/\"",
            "prefix \"search:/disk/r/\"",
            "prefix \"search:/disk//\"",
            "prefix \"search:///\"",
        ];
        assert_eq!(selections, expected);
    }

    #[test]
    fn record_event_above_new_folders_max_rescans_root() {
        let created = EventKind::Create(CreateKind::Folder);
        let events = |count| (0..count).map(|n| event(created, &[&format!("/disk/r/{n}")])).collect();
        assert_eq!(batch(events(NEW_FOLDERS_MAX)).new_folders.len(), NEW_FOLDERS_MAX);
        let batch = batch(events(NEW_FOLDERS_MAX + 2));
        assert!(batch.new_folders.iter().eq([&root_paths().canonical]) && batch.error.is_none());
    }

    #[test]
    fn invalidation_non_utf8_path_covers_its_folder() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new("/disk/r/a").join(OsStr::from_bytes(b"\xff"));
        let batch = batch(vec![Event::new(WRITTEN).add_path(path)]);
        assert_eq!(batch.invalidation(&root_paths()).pattern, "/disk/r/a");
    }
}

//! The changes in watched folders, as listeners get them: pure, but for the broadcast.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use notify::event::{AccessKind, AccessMode, EventKind, MetadataKind, ModifyKind, RenameMode};
use serde::{Deserialize, Serialize};

use super::path_key::RootPaths;
use crate::broadcast::{Broadcast, BroadcastItem, BroadcastLimits, BroadcastSubscription};

/// The most changes of one batch; with more, the root is to be read again.
const CHANGES_MAX: usize = 1024;

/// The limits of what is kept for slow listeners.
const LIMITS: BroadcastLimits = BroadcastLimits { items_max: 4096, bytes_max: 4 << 20 };

/// The kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum FileChangeKind {
    /// The file or folder is new, or was moved here from outside the root.
    Created,
    /// The content or the metadata changed.
    Modified,
    /// The file or folder is gone, or was moved out of the root.
    Removed,
    /// The file or folder has another path than before.
    Renamed,
    /// Changes are unknown: read the whole root again.
    Rescan,
}

/// A change in a watched folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct FileChange {
    /// The kind of the change.
    pub kind: FileChangeKind,
    /// The watched folder, as configured.
    pub root: PathBuf,
    /// The path, below the folder as configured; the folder itself for a rescan.
    pub path: PathBuf,
    /// The path before, of something that was renamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub from: Option<PathBuf>,
}

/// An item of a subscription to changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileEvent {
    /// A change.
    Change(Arc<FileChange>),
    /// The number of changes that this slow listener lost here. It should read its folders again.
    Lagged(u64),
}

impl BroadcastItem for FileEvent {
    fn size_bytes(&self) -> usize {
        let length = |path: &Path| path.as_os_str().len();
        match self {
            Self::Change(change) => {
                let from = change.from.as_deref().map_or(0, length);
                size_of::<FileChange>() + length(&change.root) + length(&change.path) + from
            }
            Self::Lagged(_) => 0,
        }
    }

    fn lagged(count: u64) -> Self {
        Self::Lagged(count)
    }
}

/// Subscribes to the changes in all watched folders.
pub type FileSubscription = BroadcastSubscription<FileEvent>;

/// Publishes the changes in all watched folders. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FileFeed(Broadcast<FileEvent>);

impl Default for FileFeed {
    fn default() -> Self {
        Self(Broadcast::new(LIMITS))
    }
}

impl FileFeed {
    /// Subscribes to the changes from now on.
    #[must_use]
    pub fn subscribe(&self) -> FileSubscription {
        self.0.subscribe()
    }

    pub(super) fn publish(&self, changes: impl IntoIterator<Item = FileChange>) {
        changes.into_iter().for_each(|change| self.0.send(FileEvent::Change(Arc::new(change))));
    }

    /// Publishes that the changes in a root are unknown.
    pub(super) fn publish_rescan(&self, root: &Path) {
        self.publish([rescan(root)]);
    }
}

/// The changes of one batch, in order. Repeated changes of one path are merged, since a writer causes many events.
#[derive(Debug, Default)]
pub(super) struct ChangeList {
    changes: Vec<ListedChange>,
    /// The place of the last change of each path.
    last: HashMap<PathBuf, usize>,
    /// The path that the last event moved away, and that event's tracker.
    moved_away: Option<(PathBuf, Option<usize>)>,
    /// The paths that were removed or renamed, until they exist again.
    gone: HashSet<PathBuf>,
    /// The same of the previous batch: a folder's own event may come late.
    gone_before: HashSet<PathBuf>,
    /// The new path of each that was renamed, until the old one exists again.
    renamed: HashMap<PathBuf, PathBuf>,
    /// The same of the previous batch.
    renamed_before: HashMap<PathBuf, PathBuf>,
    /// The folders that were renamed. Changes in each since that time may have caused no event.
    unwatched_since: HashMap<PathBuf, SystemTime>,
    /// The paths that the previous batch listed as new, whose own events may still come.
    listed_before: HashSet<PathBuf>,
    is_rescan: bool,
}

/// A change, with paths as events name them.
#[derive(Debug)]
struct ListedChange {
    kind: ListedKind,
    path: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum ListedKind {
    Created,
    Modified,
    Removed,
    /// The path was moved from or to another, which its existence tells.
    Moved,
    Renamed {
        from: PathBuf,
    },
    /// Merged into a later change.
    Merged,
}

impl ChangeList {
    /// Records an event about paths within the root. Both halves of a move have one tracker, where the system has any.
    pub(super) fn record(&mut self, kind: EventKind, paths: &[PathBuf], tracker: Option<usize>) {
        let moved_away = self.moved_away.take();
        let paths: Vec<PathBuf> = paths.iter().map(|path| self.current_path(path)).collect();
        match (kind, &paths[..]) {
            (_, []) => self.is_rescan = true,
            (EventKind::Modify(ModifyKind::Name(RenameMode::Both)), [from, to]) => {
                self.rename(from.clone(), to.clone());
            }
            (EventKind::Modify(ModifyKind::Name(RenameMode::From)), [from]) => {
                // Without a tracker, a moved folder reports itself, after its parent did.
                if !self.is_known_gone(from) {
                    self.add(ListedKind::Removed, from.clone());
                    self.moved_away = Some((from.clone(), tracker));
                }
            }
            (EventKind::Modify(ModifyKind::Name(RenameMode::To)), [to]) => match moved_away {
                Some((from, of)) if of == tracker => self.rename(from, to.clone()),
                _ => self.add(ListedKind::Created, to.clone()),
            },
            (kind, paths) => {
                let Some(kind) = ListedKind::of(kind) else { return };
                paths.iter().for_each(|path| self.add(kind.clone(), path.clone()));
            }
        }
    }

    /// Returns where something is that an event names. The watch of a renamed folder goes on for a moment under the old
    /// name of the folder.
    fn current_path(&self, path: &Path) -> PathBuf {
        let mut path = path.to_owned();
        let renames = self.renamed.len() + self.renamed_before.len();
        for _ in 0..renames {
            let renamed = path.ancestors().skip(1).find_map(|folder| {
                let to = self.renamed.get(folder).or_else(|| self.renamed_before.get(folder))?;
                Some(to.join(path.strip_prefix(folder).ok()?))
            });
            match renamed {
                Some(renamed) => path = renamed,
                None => break,
            }
        }
        path
    }

    fn add(&mut self, kind: ListedKind, path: PathBuf) {
        let kind = match kind {
            ListedKind::Created if self.listed_before.remove(&path) => ListedKind::Modified,
            kind => kind,
        };
        if self.is_listed(&kind, &path) {
            return;
        }
        if self.changes.len() >= CHANGES_MAX {
            self.is_rescan = true;
        }
        if self.is_rescan {
            return;
        }
        self.gone_before.remove(&path);
        self.renamed.remove(&path);
        self.renamed_before.remove(&path);
        if kind == ListedKind::Removed {
            self.gone.insert(path.clone());
        } else {
            self.gone.remove(&path);
        }
        self.last.insert(path.clone(), self.changes.len());
        self.changes.push(ListedChange { kind, path });
    }

    /// Returns whether the list has this change of the path already.
    fn is_listed(&self, kind: &ListedKind, path: &Path) -> bool {
        let before = self.last_kind(path);
        match kind {
            ListedKind::Modified => matches!(before, Some(ListedKind::Created | ListedKind::Modified)),
            ListedKind::Created => matches!(before, Some(ListedKind::Created | ListedKind::Renamed { .. })),
            ListedKind::Removed => self.is_known_gone(path),
            // One half of a move that is listed by its other half.
            ListedKind::Moved => {
                matches!(before, Some(ListedKind::Created | ListedKind::Removed | ListedKind::Renamed { .. }))
            }
            ListedKind::Renamed { .. } | ListedKind::Merged => false,
        }
    }

    fn is_known_gone(&self, path: &Path) -> bool {
        self.gone.contains(path) || self.gone_before.contains(path)
    }

    /// Takes the list, and starts the next one.
    pub(super) fn take(&mut self) -> Self {
        let list = std::mem::take(self);
        self.gone_before.clone_from(&list.gone);
        self.renamed_before.clone_from(&list.renamed);
        list
    }

    /// Adds something that was found in a new folder, unless an event did so. Returns whether there is room for more.
    pub(super) fn add_found(&mut self, path: &Path, pending: &mut Self) -> bool {
        use ListedKind::{Modified, Removed};
        let is_new =
            |list: &Self| list.last_kind(path).is_some_and(|kind| !matches!(kind, Modified | Removed));
        if !is_new(self) && !is_new(pending) {
            match self.last.get(path) {
                // It came before the watch of its folder, and was written to after that.
                Some(at) if self.changes[*at].kind == Modified => {
                    self.changes[*at].kind = ListedKind::Created
                }
                _ => self.add(ListedKind::Created, path.to_owned()),
            }
            pending.listed_before.insert(path.to_owned());
        }
        !self.is_rescan
    }

    /// Notes that a folder was renamed, and that changes in it since then may cause no event.
    pub(super) fn note_renamed_folder(&mut self, from: &Path, to: PathBuf, since: SystemTime) {
        let before = self.unwatched_since.remove(from);
        if !self.is_rescan {
            self.unwatched_since.insert(to, before.map_or(since, |before| before.min(since)));
        }
    }

    /// Takes the folders in which changes may have caused no event, with the time since when.
    pub(super) fn take_unwatched(&mut self) -> HashMap<PathBuf, SystemTime> {
        std::mem::take(&mut self.unwatched_since)
    }

    /// Adds something that has changed in such a folder, unless an event did so. Returns whether there is room for more.
    pub(super) fn add_unreported(&mut self, path: &Path, is_new: bool, pending: &mut Self) -> bool {
        if is_new {
            return self.is_listed_under_old_name(path) || self.add_found(path, pending);
        }
        let is_known = |list: &Self| list.last_kind(path).is_some_and(|kind| *kind != ListedKind::Removed);
        if !is_known(self) && !is_known(pending) && !self.is_listed_under_old_name(path) {
            self.add(ListedKind::Modified, path.to_owned());
        }
        !self.is_rescan
    }

    /// Returns whether the list has a change of something by its name before a folder was renamed.
    fn is_listed_under_old_name(&self, path: &Path) -> bool {
        self.renamed.iter().any(|(from, to)| {
            let below = path.strip_prefix(to).ok();
            below.is_some_and(|below| self.last.contains_key(&from.join(below)))
        })
    }

    /// Returns the paths that are new, except those that had another name in the root before. What is in a new folder
    /// may have come before its watch.
    pub(super) fn new_paths(&self) -> Vec<PathBuf> {
        let is_new = |change: &&ListedChange| matches!(change.kind, ListedKind::Created | ListedKind::Moved);
        self.changes.iter().filter(is_new).map(|change| change.path.clone()).collect()
    }

    /// Records a rename in place of the removal and the creation that some systems report for it as well.
    fn rename(&mut self, from: PathBuf, to: PathBuf) {
        if self.last_kind(&to).is_some_and(|kind| *kind == ListedKind::Renamed { from: from.clone() }) {
            return;
        }
        for (path, half) in [(&from, ListedKind::Removed), (&to, ListedKind::Created)] {
            if self.last_kind(path) == Some(&half)
                && let Some(at) = self.last.remove(path)
            {
                self.changes[at].kind = ListedKind::Merged;
            }
        }
        if !self.is_rescan {
            self.gone_before.remove(&from);
            self.gone.insert(from.clone());
            self.renamed_before.remove(&from);
            self.renamed.insert(from.clone(), to.clone());
        }
        self.add(ListedKind::Renamed { from }, to);
    }

    fn last_kind(&self, path: &Path) -> Option<&ListedKind> {
        self.last.get(path).map(|at| &self.changes[*at].kind)
    }

    /// Returns the changes as listeners get them. `exists` says whether a path is there now.
    pub(super) fn into_changes(self, root: &RootPaths, exists: impl Fn(&Path) -> bool) -> Vec<FileChange> {
        if self.is_rescan {
            return vec![rescan(&root.configured)];
        }
        let named = |path: &Path| match path.strip_prefix(&root.canonical) {
            Ok(below) if below.as_os_str().is_empty() => root.configured.clone(),
            Ok(below) => root.configured.join(below),
            Err(_) => path.to_owned(),
        };
        let change = |ListedChange { kind, path }: ListedChange| {
            let (kind, from) = match kind {
                ListedKind::Created => (FileChangeKind::Created, None),
                ListedKind::Modified => (FileChangeKind::Modified, None),
                ListedKind::Removed => (FileChangeKind::Removed, None),
                ListedKind::Moved if exists(&path) => (FileChangeKind::Created, None),
                ListedKind::Moved => (FileChangeKind::Removed, None),
                ListedKind::Renamed { from } => (FileChangeKind::Renamed, Some(named(&from))),
                ListedKind::Merged => return None,
            };
            Some(FileChange { kind, root: root.configured.clone(), path: named(&path), from })
        };
        self.changes.into_iter().filter_map(change).collect()
    }
}

impl ListedKind {
    /// Returns the kind of an event about single paths; `None` if nothing changed.
    fn of(kind: EventKind) -> Option<Self> {
        Some(match kind {
            EventKind::Create(_) => Self::Created,
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => Self::Removed,
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Self::Created,
            EventKind::Modify(ModifyKind::Name(_)) => Self::Moved,
            EventKind::Modify(ModifyKind::Metadata(MetadataKind::AccessTime)) => return None,
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(_)
            | EventKind::Any
            | EventKind::Other => Self::Modified,
            EventKind::Access(_) => return None,
        })
    }
}

fn rescan(root: &Path) -> FileChange {
    let root = root.to_owned();
    FileChange { kind: FileChangeKind::Rescan, path: root.clone(), root, from: None }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use notify::event::{CreateKind, DataChange, RemoveKind};

    use super::super::path_key::PathKey;
    use super::*;

    const CREATED: EventKind = EventKind::Create(CreateKind::File);
    const REMOVED: EventKind = EventKind::Remove(RemoveKind::File);
    const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const CLOSED: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));

    const fn name(mode: RenameMode) -> EventKind {
        EventKind::Modify(ModifyKind::Name(mode))
    }

    fn root_paths() -> RootPaths {
        let canonical = PathBuf::from("/disk/r");
        let key = PathKey::from_path(&canonical).unwrap();
        RootPaths { configured: PathBuf::from("/home/r"), canonical, key }
    }

    /// Returns the changes of these events, of which only those at `/disk/r/here` find their path.
    fn changes(events: &[(EventKind, &[&str], Option<usize>)]) -> Vec<String> {
        let mut list = ChangeList::default();
        for (kind, paths, tracker) in events {
            let paths: Vec<PathBuf> = paths.iter().map(|path| Path::new("/disk/r").join(path)).collect();
            list.record(*kind, &paths, *tracker);
        }
        let changes = list.into_changes(&root_paths(), |path| path.ends_with("here"));
        changes.iter().map(describe).collect()
    }

    fn describe(change: &FileChange) -> String {
        assert_eq!(change.root, Path::new("/home/r"));
        let from = change.from.as_ref().map(|from| format!(" from {}", from.display())).unwrap_or_default();
        format!("{:?} {}{from}", change.kind, change.path.display())
    }

    #[test]
    fn writes_of_one_path_are_one_change_until_it_goes() {
        let events: Vec<(EventKind, &[&str], _)> =
            [CREATED, WRITTEN, CLOSED, REMOVED, CREATED, CLOSED].map(|kind| (kind, &["a"][..], None)).into();
        assert_eq!(changes(&events), ["Created /home/r/a", "Removed /home/r/a", "Created /home/r/a"]);
        assert_eq!(changes(&[(WRITTEN, &["a"], None), (CLOSED, &["a"], None)]), ["Modified /home/r/a"]);
    }

    #[test]
    fn rename_is_one_change_however_the_system_reports_it() {
        let (from, to, both) = (name(RenameMode::From), name(RenameMode::To), name(RenameMode::Both));
        let renamed = ["Renamed /home/r/b from /home/r/a"];
        let halves: [(EventKind, &[&str], _); 2] = [(from, &["a"], Some(7)), (to, &["b"], Some(7))];
        assert_eq!(changes(&halves), renamed);
        assert_eq!(changes(&[halves[0], halves[1], (both, &["a", "b"], Some(7))]), renamed);
        assert_eq!(changes(&[(from, &["a"], None), (to, &["b"], None)]), renamed);
        // Another event came between the halves.
        let parted = changes(&[halves[0], (CREATED, &["c"], None), halves[1], (both, &["a", "b"], Some(7))]);
        assert_eq!(parted, ["Created /home/r/c", renamed[0]]);
        // The halves belong to different moves.
        let other = changes(&[halves[0], (to, &["b"], Some(8))]);
        assert_eq!(other, ["Removed /home/r/a", "Created /home/r/b"]);
    }

    #[test]
    fn moves_across_the_root_and_of_folders_are_one_change() {
        // The folder above the root is watched as well, so its half of a move is known. A folder reports its own move.
        let (from, to, both) = (name(RenameMode::From), name(RenameMode::To), name(RenameMode::Both));
        let out: [(EventKind, &[&str], _); 3] =
            [(from, &["d"], Some(7)), (both, &["d"], Some(7)), (from, &["d"], None)];
        assert_eq!(changes(&out), ["Removed /home/r/d"]);
        assert_eq!(
            changes(&[(to, &["here"], Some(7)), (both, &["here"], Some(7))]),
            ["Created /home/r/here"]
        );
        let renamed: [(EventKind, &[&str], _); 4] = [
            (from, &["d"], Some(7)),
            (to, &["e"], Some(7)),
            (both, &["d", "e"], Some(7)),
            (from, &["d"], None),
        ];
        assert_eq!(changes(&renamed), ["Renamed /home/r/e from /home/r/d"]);
        // The name is used again, and then it is free for real.
        let again = [&renamed[..], &[(CREATED, &["d"], None), (REMOVED, &["d"], None)]].concat();
        let expected = ["Renamed /home/r/e from /home/r/d", "Created /home/r/d", "Removed /home/r/d"];
        assert_eq!(changes(&again), expected);
    }

    #[test]
    fn change_below_a_renamed_folder_has_its_new_name() {
        let both = name(RenameMode::Both);
        let renamed: [(EventKind, &[&str], _); 2] =
            [(both, &["d", "e"], Some(7)), (both, &["e", "f"], Some(8))];
        let below: [(EventKind, &[&str], _); 3] =
            [(CREATED, &["d/x"], None), (WRITTEN, &["d/deep/y"], None), (REMOVED, &["e/z"], None)];
        let names = ["Renamed /home/r/e from /home/r/d", "Renamed /home/r/f from /home/r/e"];
        let expected = ["Created /home/r/f/x", "Modified /home/r/f/deep/y", "Removed /home/r/f/z"];
        assert_eq!(changes(&[&renamed[..], &below[..]].concat()), [&names[..], &expected[..]].concat());
        // The watcher follows the name as soon as it is used again.
        let again = [&renamed[..1], &[(CREATED, &["d"], None), (CREATED, &["d/x"], None)]].concat();
        assert_eq!(changes(&again), [names[0], "Created /home/r/d", "Created /home/r/d/x"]);
        // Folders that change places do not lead in circles.
        let circle =
            [(both, &["d", "e"][..], Some(7)), (both, &["e", "d"], Some(8)), (CREATED, &["e/x"], None)];
        assert_eq!(changes(&circle)[2], "Created /home/r/d/x");
    }

    #[test]
    fn change_in_the_batch_after_a_rename_has_its_new_name() {
        let path = |name: &str| Path::new("/disk/r").join(name);
        let mut pending = ChangeList::default();
        let described = |list: ChangeList| -> Vec<String> {
            list.into_changes(&root_paths(), |_| true).iter().map(describe).collect()
        };
        pending.record(name(RenameMode::Both), &[path("d"), path("e")], None);
        pending.take();
        pending.record(CREATED, &[path("d/x")], None);
        assert_eq!(described(pending.take()), ["Created /home/r/e/x"]);
        pending.record(CREATED, &[path("d/x")], None);
        assert_eq!(described(pending.take()), ["Created /home/r/d/x"]);
    }

    #[test]
    fn late_report_of_a_removed_folder_is_no_change() {
        let path = [PathBuf::from("/disk/r/d")];
        let mut pending = ChangeList::default();
        pending.record(REMOVED, &path, None);
        let list = pending.take();
        pending.record(REMOVED, &path, None);
        assert_eq!(list.into_changes(&root_paths(), |_| false).len(), 1);
        let list = pending.take();
        assert!(list.into_changes(&root_paths(), |_| false).is_empty());
        pending.record(REMOVED, &path, None);
        assert_eq!(pending.take().into_changes(&root_paths(), |_| false).len(), 1);
    }

    #[test]
    fn removed_folder_that_reports_itself_is_one_change() {
        let events: [(EventKind, &[&str], _); 3] =
            [(REMOVED, &["d/a"], None), (REMOVED, &["d"], None), (REMOVED, &["d"], None)];
        assert_eq!(changes(&events), ["Removed /home/r/d/a", "Removed /home/r/d"]);
    }

    #[test]
    fn found_paths_are_created_once_before_and_after_their_events() {
        let path = |name: &str| Path::new("/disk/r").join(name);
        let (mut list, mut pending) = (ChangeList::default(), ChangeList::default());
        list.record(CREATED, &[path("d")], None);
        list.record(CREATED, &[path("d/event")], None);
        // A writer that was at work when the watch began.
        list.record(CLOSED, &[path("d/written")], None);
        pending.record(CREATED, &[path("d/pending")], None);
        for name in ["d/event", "d/written", "d/pending", "d/found"] {
            assert!(list.add_found(&path(name), &mut pending));
        }
        assert_eq!(list.new_paths(), ["d", "d/event", "d/written", "d/found"].map(path));
        pending.record(CREATED, &[path("d/found")], None);
        let describe_all = |list: ChangeList| -> Vec<String> {
            list.into_changes(&root_paths(), |_| true).iter().map(describe).collect()
        };
        assert_eq!(
            describe_all(list),
            [
                "Created /home/r/d",
                "Created /home/r/d/event",
                "Created /home/r/d/written",
                "Created /home/r/d/found"
            ]
        );
        assert_eq!(describe_all(pending), ["Created /home/r/d/pending", "Modified /home/r/d/found"]);
    }

    #[test]
    fn move_without_a_direction_is_resolved_by_existence() {
        let any = name(RenameMode::Any);
        let both = changes(&[(any, &["gone"], None), (any, &["here"], None)]);
        assert_eq!(both, ["Removed /home/r/gone", "Created /home/r/here"]);
    }

    #[test]
    fn unknown_or_too_many_changes_are_one_rescan() {
        assert_eq!(changes(&[(CREATED, &["a"], None), (EventKind::Any, &[], None)]), ["Rescan /home/r"]);
        let names: Vec<String> = (0..=CHANGES_MAX).map(|n| n.to_string()).collect();
        let paths: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(changes(&[(CREATED, &paths[1..], None)]).len(), CHANGES_MAX);
        assert_eq!(changes(&[(CREATED, &paths, None)]), ["Rescan /home/r"]);
    }
}

//! What is gathered of a watcher's events until it is carried out: pure.
//!
//! Neither debouncer of notify's own would do. notify-debouncer-mini drops an event without a path, and with it the news
//! that events were lost. notify-debouncer-full tells what has changed on the whole: a file that is there and gone within
//! its time, or has had two names, never was, for it; but somebody may have read it meanwhile. Here every path counts that
//! was touched.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode, CreateKind, Event, EventKind, MetadataKind, ModifyKind};

use super::fault::{Trouble, WatchFault};
use super::place::{Dropped, Place};
use crate::cache::{InvalidatedBy, Invalidation};

/// With more paths than this the whole root is dropped: it costs less.
const PATHS_MAX: usize = 4096;

/// With more that may be new folders than this the whole root is looked through.
const FOLDERS_MAX: usize = 1024;

/// Where a root is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scope {
    /// As it was named.
    pub(super) named: PathBuf,
    /// Where that leads: without a symlink. Events tell paths in it.
    pub(super) real: PathBuf,
    /// The same, as it stands in keys.
    pub(super) place: Place,
}

/// What has happened in a root, and to it.
#[derive(Debug, Default)]
pub(super) struct Batch {
    paths: BTreeSet<PathBuf>,
    /// Too much has changed, or nobody knows what.
    is_everything: bool,
    /// What may be a folder that is not watched yet.
    pub(super) folders: BTreeSet<PathBuf>,
    /// What makes it impossible to go on with this watcher.
    pub(super) trouble: Option<Trouble>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.paths.is_empty() && !self.is_everything && self.trouble.is_none()
    }

    /// Takes in what a watcher told. Whether there is anything to do about it.
    pub(super) fn note(&mut self, scope: &Scope, told: notify::Result<Event>) -> bool {
        let event = match told {
            Ok(event) => event,
            Err(error) => return self.fail(Trouble::from(&error)),
        };
        if event.need_rescan() {
            return self.fail(WatchFault::Overflow.into());
        }
        let kind = event.kind;
        if is_reading(kind) {
            return false;
        }
        self.is_everything |= event.paths.is_empty();
        let mut concerns = event.paths.is_empty();
        for path in event.paths {
            if is_on_the_way(scope, &path) && moves_something(kind) {
                self.fail(WatchFault::Moved.into());
                concerns = true;
            }
            if path.starts_with(&scope.real) {
                concerns = true;
                self.note_path(scope, path, kind);
            }
        }
        concerns
    }

    fn note_path(&mut self, scope: &Scope, path: PathBuf, kind: EventKind) {
        if may_bring_folder(kind) && !self.folders.contains(&scope.real) {
            if self.folders.len() < FOLDERS_MAX {
                self.folders.insert(path.clone());
            } else {
                self.folders = BTreeSet::from([scope.real.clone()]);
            }
        }
        if !self.is_everything {
            self.paths.insert(path);
            self.is_everything = self.paths.len() > PATHS_MAX;
        }
        if self.is_everything {
            self.paths.clear();
        }
    }

    /// The watcher cannot be relied on any more; the first cause counts.
    pub(super) fn fail(&mut self, trouble: Trouble) -> bool {
        self.trouble.get_or_insert(trouble);
        true
    }

    /// What is to be dropped.
    pub(super) fn invalidation(&self, scope: &Scope) -> Invalidation {
        if self.is_everything {
            return everything(&scope.place);
        }
        // One whose name is no text is in no key, but what covers it is.
        let place = |path: &PathBuf| path.ancestors().find_map(Place::of);
        let places: BTreeSet<Place> = self.paths.iter().filter_map(place).collect();
        let drops: BTreeSet<Dropped> = places.iter().flat_map(Place::drops).collect();
        let pattern = match (places.first(), places.len()) {
            (Some(place), 1) => place.as_str().to_owned(),
            (_, count) => format!("{count} paths under {}", scope.place.as_str()),
        };
        let selections = drops.iter().map(Dropped::selection).collect();
        Invalidation { by: InvalidatedBy::Files, pattern, selections }
    }
}

/// Everything that was read in a root, and every search that covers it.
pub(super) fn everything(root: &Place) -> Invalidation {
    let drops: Vec<Dropped> = root.drops().collect();
    Invalidation {
        by: InvalidatedBy::Files,
        pattern: format!("everything under {}", root.as_str()),
        selections: drops.iter().map(Dropped::selection).collect(),
    }
}

/// Whether a path is the root, or leads to it.
fn is_on_the_way(scope: &Scope, path: &Path) -> bool {
    scope.real.starts_with(path) || scope.named.starts_with(path)
}

/// Whether nothing has changed: ours are among those who read. What was open for writing counts when it is closed: it may
/// have been written to through memory, of which there is no other event.
const fn is_reading(kind: EventKind) -> bool {
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

/// Whether another file or folder may bear a name now.
const fn moves_something(kind: EventKind) -> bool {
    matches!(kind, EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)))
}

/// Whether there may be a folder now that could not be watched before: a new one, or one that had been closed to us.
const fn may_bring_folder(kind: EventKind) -> bool {
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

    fn scope() -> Scope {
        let real = PathBuf::from("/disk/r");
        Scope { named: PathBuf::from("/home/r"), place: Place::of(&real).unwrap(), real }
    }

    fn event(kind: EventKind, paths: &[&str]) -> Event {
        paths.iter().fold(Event::new(kind), |event, path| event.add_path(PathBuf::from(path)))
    }

    fn batch(events: Vec<Event>) -> Batch {
        let mut batch = Batch::default();
        for event in events {
            batch.note(&scope(), Ok(event));
        }
        batch
    }

    fn fault(events: Vec<Event>) -> Option<WatchFault> {
        batch(events).trouble.map(|trouble| trouble.fault)
    }

    fn shown(invalidation: &Invalidation) -> (String, Vec<String>) {
        let selections = invalidation.selections.iter().map(|selection| format!("{selection:?}"));
        (invalidation.pattern.clone(), selections.collect())
    }

    #[test]
    fn a_rename_drops_both_names_what_is_in_them_and_the_searches_that_cover_them_once() {
        let rename = EventKind::Modify(ModifyKind::Name(RenameMode::Both));
        let events = vec![event(rename, &["/disk/r/a", "/disk/r/b"]), event(WRITTEN, &["/disk/r/a"])];
        let (pattern, selections) = shown(&batch(events).invalidation(&scope()));
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
    fn what_was_there_and_is_gone_within_one_batch_is_dropped_all_the_same() {
        let events = vec![event(CREATED, &["/disk/r/a"]), event(REMOVED, &["/disk/r/a"])];
        assert_eq!(batch(events).invalidation(&scope()).pattern, "/disk/r/a");
    }

    #[test]
    fn reading_is_no_change_and_what_is_closed_after_writing_is_one() {
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
    fn lost_events_and_an_error_of_the_watcher_are_the_end_of_it() {
        let rescan = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert_eq!(fault(vec![rescan]), Some(WatchFault::Overflow));
        let mut batch = Batch::default();
        let limit = notify::Error::new(notify::ErrorKind::MaxFilesWatch);
        assert!(batch.note(&scope(), Err(limit)));
        assert_eq!(batch.trouble.unwrap().fault, WatchFault::TooManyFolders);
    }

    #[test]
    fn what_is_told_without_a_path_may_be_anything() {
        let batch = batch(vec![event(EventKind::Any, &[]), event(WRITTEN, &["/disk/r/a"])]);
        assert_eq!(batch.invalidation(&scope()).pattern, "everything under /disk/r");
    }

    #[test]
    fn the_root_has_moved_when_it_or_a_folder_on_either_way_to_it_has() {
        for path in ["/disk/r", "/disk", "/home/r", "/home"] {
            assert_eq!(fault(vec![event(REMOVED, &[path])]), Some(WatchFault::Moved), "{path}");
            assert_eq!(fault(vec![event(CREATED, &[path])]), Some(WatchFault::Moved), "{path}");
        }
        for path in ["/disk/r/a", "/disk/rr", "/home/s", "/elsewhere"] {
            assert_eq!(fault(vec![event(REMOVED, &[path])]), None, "{path}");
        }
    }

    #[test]
    fn what_happens_beside_the_root_is_nothing_to_it() {
        assert!(batch(vec![event(WRITTEN, &["/disk/other"]), event(CREATED, &["/home/s"])]).is_empty());
    }

    #[test]
    fn so_many_paths_that_dropping_all_costs_less_drop_the_root() {
        let paths: Vec<String> = (0..=PATHS_MAX).map(|n| format!("/disk/r/{n}")).collect();
        let events = |count: usize| paths[..count].iter().map(|path| event(WRITTEN, &[path])).collect();
        let (pattern, _) = shown(&batch(events(PATHS_MAX)).invalidation(&scope()));
        assert_eq!(pattern, "4096 paths under /disk/r");
        let batch = batch(events(PATHS_MAX + 1));
        assert!(batch.paths.is_empty() && !batch.is_empty());
        let (pattern, selections) = shown(&batch.invalidation(&scope()));
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
    fn more_new_folders_than_can_be_looked_at_one_by_one_have_the_root_looked_through() {
        let created = EventKind::Create(CreateKind::Folder);
        let events = |count| (0..count).map(|n| event(created, &[&format!("/disk/r/{n}")])).collect();
        assert_eq!(batch(events(FOLDERS_MAX)).folders.len(), FOLDERS_MAX);
        let batch = batch(events(FOLDERS_MAX + 2));
        assert!(batch.folders.iter().eq([&scope().real]) && batch.trouble.is_none());
    }

    #[test]
    fn a_change_of_what_has_no_place_in_a_key_drops_the_folder_that_it_is_in() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new("/disk/r/a").join(OsStr::from_bytes(b"\xff"));
        let batch = batch(vec![Event::new(WRITTEN).add_path(path)]);
        assert_eq!(batch.invalidation(&scope()).pattern, "/disk/r/a");
    }
}

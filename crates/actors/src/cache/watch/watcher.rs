//! The watcher of one root: notify's watcher, and the events that it reported.
//!
//! notify calls back on a thread of its own. Its events are gathered under a lock in bounded space; that thread never
//! waits for the actor.

use parking_lot::{Mutex, MutexGuard};
use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use notify::event::{EventKind, ModifyKind, RenameMode};
use notify::{Config, Event, EventHandler, RecommendedWatcher, RecursiveMode, Watcher, WatcherKind};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::batch::EventBatch;
use super::error::{WatchError, WatchErrorKind};
use super::path_key::{PathKey, RootPaths};

/// The number of attempts for a folder that disappears and comes back during a scan.
const WATCH_ATTEMPTS_MAX: u32 = 3;

/// A watched root. Dropping this ends the watch.
pub(super) struct RootWatcher {
    pub(super) paths: Arc<RootPaths>,
    pub(super) pending: Arc<PendingEvents>,
    identity: FolderIdentity,
    watcher: Mutex<Option<RecommendedWatcher>>,
}

impl fmt::Debug for RootWatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootWatcher").field("paths", &self.paths).finish_non_exhaustive()
    }
}

/// The events of a watcher that are not applied yet.
#[derive(Debug, Default)]
pub(super) struct PendingEvents {
    batch: Mutex<EventBatch>,
    has_events: Notify,
    should_panic: AtomicBool,
}

impl PendingEvents {
    pub(super) fn batch(&self) -> MutexGuard<'_, EventBatch> {
        self.batch.lock()
    }

    /// Makes the watcher's thread panic at its next event.
    #[cfg(debug_assertions)]
    pub(super) fn panic_at_next_event(&self) {
        self.should_panic.store(true, Ordering::Relaxed);
    }
}

/// Receives notify's events. It is dropped with the watcher's thread, however that ends.
struct NotifyHandler {
    paths: Arc<RootPaths>,
    pending: Arc<PendingEvents>,
}

impl EventHandler for NotifyHandler {
    #[allow(clippy::panic, reason = "fault injection of debug builds")]
    fn handle_event(&mut self, event: notify::Result<Event>) {
        if cfg!(debug_assertions) && self.pending.should_panic.load(Ordering::Relaxed) {
            panic!("asked to panic");
        }
        let renamed = event.as_ref().ok().and_then(|event| renamed_folder(&self.paths.canonical, event));
        let mut batch = self.pending.batch();
        let has_work = batch.record_event(&self.paths, event);
        if let Some((from, to, since)) = renamed {
            batch.changes.note_renamed_folder(&from, to, since);
        }
        drop(batch);
        if has_work {
            self.pending.has_events.notify_one();
        }
    }
}

impl Drop for NotifyHandler {
    fn drop(&mut self) {
        self.pending.batch().fail(WatchErrorKind::Ended.into());
        self.pending.has_events.notify_one();
    }
}

impl RootWatcher {
    /// Watches a folder. Changes after this has returned are reported. Blocks.
    pub(super) fn open(named: &Path) -> Result<Self, WatchError> {
        let (identity, real) = FolderIdentity::read(named)?;
        let place = PathKey::from_path(&real).ok_or_else(|| WatchError {
            kind: WatchErrorKind::Failed,
            details: Some("it leads to where a path is no UTF-8, or to another machine".to_owned()),
        })?;
        let scope = Arc::new(RootPaths { configured: named.to_path_buf(), canonical: real, key: place });
        let gathered = Arc::<PendingEvents>::default();
        let handler = NotifyHandler { paths: Arc::clone(&scope), pending: Arc::clone(&gathered) };
        let config = Config::default().with_follow_symlinks(false);
        let watcher = RecommendedWatcher::new(handler, config).map_err(|error| WatchError::from(&error))?;
        let watcher = Self { paths: scope, pending: gathered, identity, watcher: Mutex::new(Some(watcher)) };
        if is_inotify() {
            // No event reports that a folder moves together with one above it. A folder without permission is left to
            // the periodic check of the root.
            let above = watcher
                .paths
                .configured
                .ancestors()
                .skip(1)
                .chain(watcher.paths.canonical.ancestors().skip(1));
            for folder in above {
                let _ = watcher.watch(folder, RecursiveMode::NonRecursive);
            }
        }
        watcher.watch(&watcher.paths.canonical, RecursiveMode::Recursive)?;
        watcher.verify_root()?;
        Ok(watcher)
    }

    fn watch(&self, folder: &Path, mode: RecursiveMode) -> Result<(), WatchError> {
        let mut watcher = self.watcher.lock();
        let Some(watcher) = watcher.as_mut() else { return Err(WatchErrorKind::Ended.into()) };
        // notify assumes that its thread runs, and panics otherwise.
        let watched = catch_unwind(AssertUnwindSafe(|| watcher.watch(folder, mode)));
        match watched {
            Ok(watched) => watched.map_err(|error| WatchError::from(&error)),
            Err(_) => Err(WatchErrorKind::Ended.into()),
        }
    }

    /// Checks that the root is still the watched folder.
    fn verify_root(&self) -> Result<(), WatchError> {
        let (identity, real) = FolderIdentity::read(&self.paths.configured)?;
        let is_same = identity == self.identity && real == self.paths.canonical;
        if is_same { Ok(()) } else { Err(WatchErrorKind::Moved.into()) }
    }

    /// Watches new folders. notify does so too, but silently gives up a tree in which something disappears during its
    /// scan. When this returns, notify has scanned it, so unseen changes happened before.
    fn watch_new_folders(&self, batch: &EventBatch) -> Result<(), WatchError> {
        if is_inotify() {
            batch.new_folders.iter().try_for_each(|folder| self.watch_new_folder(folder))?;
        }
        Ok(())
    }

    fn watch_new_folder(&self, folder: &Path) -> Result<(), WatchError> {
        let mut attempt = 1;
        loop {
            let is_folder = fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_dir());
            if !is_folder {
                return Ok(());
            }
            match self.watch(folder, RecursiveMode::Recursive) {
                Err(error) if error.kind == WatchErrorKind::Moved && attempt < WATCH_ATTEMPTS_MAX => {
                    attempt += 1
                }
                Err(error) if error.kind == WatchErrorKind::Moved && !folder.exists() => return Ok(()),
                watched => return watched,
            }
        }
    }

    /// Takes the gathered events, and maintains the watcher. Blocks.
    fn take_batch(&self) -> EventBatch {
        let mut batch = self.pending.batch().take();
        if batch.error.is_none()
            && let Err(error) = self.watch_new_folders(&batch).and_then(|()| self.verify_root())
        {
            batch.fail(error);
        }
        self.list_renamed_folders(&mut batch);
        self.list_new_folders(&mut batch);
        batch.fill_feed(&self.paths, |path| fs::symlink_metadata(path).is_ok());
        batch
    }

    /// Adds what has changed in renamed folders: notify ends their watches, and begins new ones a moment later. Ends when
    /// the list is full. What was removed in that moment is not known.
    fn list_renamed_folders(&self, batch: &mut EventBatch) {
        for (folder, since) in batch.changes.take_unwatched() {
            let mut folders = vec![folder];
            while let Some(folder) = folders.pop() {
                for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                    let Ok(metadata) = entry.metadata() else { continue };
                    let path = entry.path();
                    let is_new = metadata.created().is_ok_and(|at| at >= since);
                    // A folder changes with what is in it, which is listed itself.
                    let has_changed =
                        is_new || (!metadata.is_dir() && changed_at(&metadata).is_some_and(|at| at >= since));
                    let has_room = !has_changed
                        || batch.changes.add_unreported(&path, is_new, &mut self.pending.batch().changes);
                    if !has_room {
                        return;
                    }
                    if metadata.is_dir() {
                        folders.push(path);
                    }
                }
            }
        }
    }

    /// Adds what is in new folders to the changes: no event reports what came before the watch, or with a moved
    /// folder. Ends when the list is full.
    fn list_new_folders(&self, batch: &mut EventBatch) {
        let mut listed = HashSet::new();
        let mut folders = batch.changes.new_paths();
        while let Some(folder) = folders.pop() {
            let is_folder = fs::symlink_metadata(&folder).is_ok_and(|metadata| metadata.is_dir());
            if !is_folder || !listed.insert(folder.clone()) {
                continue;
            }
            // A folder that is gone again, or not readable, has nothing to list.
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if !batch.changes.add_found(&path, &mut self.pending.batch().changes) {
                    return;
                }
                folders.push(path);
            }
        }
    }

    /// Waits for a change, gathers further ones for the debounce time, and returns them. Without changes it checks
    /// the root every `look_every`: a mount causes no event.
    pub(super) async fn next_batch(
        watcher: Arc<Self>,
        debounce: Duration,
        look_every: Duration,
    ) -> EventBatch {
        loop {
            if timeout(look_every, watcher.pending.has_events.notified()).await.is_ok() {
                sleep(debounce).await;
            }
            let watcher = Arc::clone(&watcher);
            let batch = spawn_blocking(move || watcher.take_batch()).await.unwrap_or_else(|error| {
                let mut batch = EventBatch::default();
                batch.fail(WatchError { kind: WatchErrorKind::Failed, details: Some(error.to_string()) });
                batch
            });
            if !batch.is_empty() {
                return batch;
            }
        }
    }
}

impl Drop for RootWatcher {
    fn drop(&mut self) {
        let watcher = self.watcher.get_mut().take();
        // notify assumes that its thread runs, and panics otherwise.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(watcher)));
    }
}

/// The identity of a folder, which tells it from another one of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FolderIdentity {
    #[cfg(unix)]
    device: u64,
    #[cfg(unix)]
    inode: u64,
}

impl FolderIdentity {
    fn read(named: &Path) -> Result<(Self, PathBuf), WatchError> {
        let found = fs::canonicalize(named).and_then(|real| Ok((fs::metadata(&real)?, real)));
        let (metadata, real) = found.map_err(|error| WatchError::from(&error))?;
        if !metadata.is_dir() {
            return Err(WatchErrorKind::NotAFolder.into());
        }
        #[cfg(unix)]
        let identity = {
            use std::os::unix::fs::MetadataExt;
            Self { device: metadata.dev(), inode: metadata.ino() }
        };
        #[cfg(not(unix))]
        let identity = Self {};
        Ok((identity, real))
    }
}

/// Returns the old and the new path of a folder that was renamed within the root, and a time between that and now. `None`
/// where its watch goes on.
fn renamed_folder(root: &Path, event: &Event) -> Option<(PathBuf, PathBuf, SystemTime)> {
    let is_rename = event.kind == EventKind::Modify(ModifyKind::Name(RenameMode::Both));
    let [from, to] = &event.paths[..] else { return None };
    if !is_inotify() || !is_rename || !from.starts_with(root) || !to.starts_with(root) {
        return None;
    }
    let metadata = fs::symlink_metadata(to).ok().filter(fs::Metadata::is_dir)?;
    let parent_changed_at = fs::symlink_metadata(to.parent()?).ok()?.modified().ok()?;
    Some((from.clone(), to.clone(), changed_at(&metadata)?.max(parent_changed_at)))
}

/// Returns when the content, the name or the metadata of something changed last.
fn changed_at(metadata: &fs::Metadata) -> Option<SystemTime> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let (seconds, nanos) = (metadata.ctime().try_into().ok()?, metadata.ctime_nsec().try_into().ok()?);
        SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
    }
    #[cfg(not(unix))]
    {
        metadata.modified().ok()
    }
}

/// Returns whether each folder has a watch of its own on this system.
fn is_inotify() -> bool {
    RecommendedWatcher::kind() == WatcherKind::Inotify
}

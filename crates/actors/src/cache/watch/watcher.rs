//! The watcher of one root: notify's, and what it has told.
//!
//! notify calls back from a thread of its own. What it tells is gathered under a lock, in bounded space; nobody there ever
//! waits for the actor.

use parking_lot::{Mutex, MutexGuard};
use std::fmt;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use notify::{Config, Event, EventHandler, RecommendedWatcher, RecursiveMode, Watcher, WatcherKind};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::batch::{EventBatch, RootPaths};
use super::error::{WatchError, WatchErrorKind};
use super::path_key::PathKey;

/// How often a folder is tried that is gone and there again while it is looked at.
const WATCH_ATTEMPTS_MAX: u32 = 3;

/// A root that is watched. Dropped, it no longer is.
pub(super) struct RootWatcher {
    pub(super) paths: Arc<RootPaths>,
    pub(super) pending: Arc<PendingEvents>,
    identity: FolderIdentity,
    watcher: Mutex<Option<RecommendedWatcher>>,
}

impl fmt::Debug for RootWatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Eye").field("scope", &self.paths).finish_non_exhaustive()
    }
}

/// What a watcher has told and nobody has carried out yet.
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

    /// Lets the watcher's thread panic at its next event.
    #[cfg(debug_assertions)]
    pub(super) fn panic_at_next_event(&self) {
        self.should_panic.store(true, Ordering::Relaxed);
    }
}

/// notify's end of what is gathered. It is dropped with the watcher's thread, however that ends.
struct NotifyHandler {
    paths: Arc<RootPaths>,
    pending: Arc<PendingEvents>,
}

impl EventHandler for NotifyHandler {
    #[allow(clippy::panic, reason = "this is the fault switch of debug builds")]
    fn handle_event(&mut self, told: notify::Result<Event>) {
        if cfg!(debug_assertions) && self.pending.should_panic.load(Ordering::Relaxed) {
            panic!("asked to panic");
        }
        if self.pending.batch().record_event(&self.paths, told) {
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
    /// Watches a folder. What changes in it after this has returned is told. Blocks.
    pub(super) fn open(named: &Path) -> Result<Self, WatchError> {
        let (identity, real) = FolderIdentity::read(named)?;
        let place = PathKey::from_path(&real).ok_or_else(|| WatchError {
            kind: WatchErrorKind::Failed,
            details: Some("it leads to where a path is no UTF-8, or to another machine".to_owned()),
        })?;
        let scope = Arc::new(RootPaths { configured: named.to_path_buf(), canonical: real, key: place });
        let gathered = Arc::<PendingEvents>::default();
        let listener = NotifyHandler { paths: Arc::clone(&scope), pending: Arc::clone(&gathered) };
        let config = Config::default().with_follow_symlinks(false);
        let watcher = RecommendedWatcher::new(listener, config).map_err(|error| WatchError::from(&error))?;
        let eye = Self { paths: scope, pending: gathered, identity, watcher: Mutex::new(Some(watcher)) };
        if is_inotify() {
            // Nothing is told of a folder that moves together with one above it. What is not allowed here is left to
            // the look at the root that is taken now and then.
            let above =
                eye.paths.configured.ancestors().skip(1).chain(eye.paths.canonical.ancestors().skip(1));
            for folder in above {
                let _ = eye.watch(folder, RecursiveMode::NonRecursive);
            }
        }
        eye.watch(&eye.paths.canonical, RecursiveMode::Recursive)?;
        eye.verify_root()?;
        Ok(eye)
    }

    fn watch(&self, folder: &Path, mode: RecursiveMode) -> Result<(), WatchError> {
        let mut watcher = self.watcher.lock();
        let Some(watcher) = watcher.as_mut() else { return Err(WatchErrorKind::Ended.into()) };
        // notify takes it for granted that its thread is there.
        let watched = catch_unwind(AssertUnwindSafe(|| watcher.watch(folder, mode)));
        match watched {
            Ok(watched) => watched.map_err(|error| WatchError::from(&error)),
            Err(_) => Err(WatchErrorKind::Ended.into()),
        }
    }

    /// Whether the root is still the one that is watched.
    fn verify_root(&self) -> Result<(), WatchError> {
        let (identity, real) = FolderIdentity::read(&self.paths.configured)?;
        let is_same = identity == self.identity && real == self.paths.canonical;
        if is_same { Ok(()) } else { Err(WatchErrorKind::Moved.into()) }
    }

    /// Sees to it that new folders are watched. notify does so by itself, but not always: it gives up a tree in which
    /// something vanishes while it looks through it, and says nothing. And when this returns, it has done so: what changed
    /// in them unseen did so before.
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
                Err(trouble) if trouble.kind == WatchErrorKind::Moved && attempt < WATCH_ATTEMPTS_MAX => {
                    attempt += 1
                }
                Err(trouble) if trouble.kind == WatchErrorKind::Moved && !folder.exists() => return Ok(()),
                watched => return watched,
            }
        }
    }

    /// Takes what was gathered, and sees to the watcher. Blocks.
    fn take_batch(&self) -> EventBatch {
        let mut batch = std::mem::take(&mut *self.pending.batch());
        if batch.error.is_none()
            && let Err(trouble) = self.watch_new_folders(&batch).and_then(|()| self.verify_root())
        {
            batch.fail(trouble);
        }
        batch
    }

    /// Waits until something has happened, then for as long as it may go on, and brings it. Where nothing happens, it
    /// looks at the root every `look_every`: of a mount there is no event.
    pub(super) async fn next_batch(eye: Arc<Self>, debounce: Duration, look_every: Duration) -> EventBatch {
        loop {
            if timeout(look_every, eye.pending.has_events.notified()).await.is_ok() {
                sleep(debounce).await;
            }
            let eye = Arc::clone(&eye);
            let batch = spawn_blocking(move || eye.take_batch()).await.unwrap_or_else(|error| {
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
        // notify takes it for granted that its thread is there.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(watcher)));
    }
}

/// What tells one folder from another that has its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FolderIdentity {
    #[cfg(unix)]
    device: u64,
    #[cfg(unix)]
    inode: u64,
}

impl FolderIdentity {
    fn read(named: &Path) -> Result<(Self, std::path::PathBuf), WatchError> {
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

/// Where each folder is watched by itself.
fn is_inotify() -> bool {
    RecommendedWatcher::kind() == WatcherKind::Inotify
}

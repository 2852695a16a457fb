//! The watcher of one root: notify's, and what it has told.
//!
//! notify calls back from a thread of its own. What it tells is gathered under a lock, in bounded space; nobody there ever
//! waits for the actor.

use std::fmt;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use notify::{Config, Event, EventHandler, RecommendedWatcher, RecursiveMode, Watcher, WatcherKind};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::batch::{Batch, Scope};
use super::fault::{Trouble, WatchFault};
use super::place::Place;

/// How often a folder is tried that is gone and there again while it is looked at.
const ATTEMPTS: u32 = 3;

/// A root that is watched. Dropped, it no longer is.
pub(super) struct Eye {
    pub(super) scope: Arc<Scope>,
    pub(super) gathered: Arc<Gathered>,
    identity: Identity,
    watcher: Mutex<Option<RecommendedWatcher>>,
}

impl fmt::Debug for Eye {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Eye").field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// What a watcher has told and nobody has carried out yet.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    batch: Mutex<Batch>,
    has_something: Notify,
    is_to_end: AtomicBool,
}

impl Gathered {
    pub(super) fn batch(&self) -> MutexGuard<'_, Batch> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the watcher's thread panic at its next event.
    #[cfg(debug_assertions)]
    pub(super) fn end_watcher(&self) {
        self.is_to_end.store(true, Ordering::Relaxed);
    }
}

/// notify's end of what is gathered. It is dropped with the watcher's thread, however that ends.
struct Listener {
    scope: Arc<Scope>,
    gathered: Arc<Gathered>,
}

impl EventHandler for Listener {
    #[allow(clippy::panic, reason = "this is the fault switch of debug builds")]
    fn handle_event(&mut self, told: notify::Result<Event>) {
        if cfg!(debug_assertions) && self.gathered.is_to_end.load(Ordering::Relaxed) {
            panic!("asked to panic");
        }
        if self.gathered.batch().note(&self.scope, told) {
            self.gathered.has_something.notify_one();
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.gathered.batch().fail(WatchFault::Ended.into());
        self.gathered.has_something.notify_one();
    }
}

impl Eye {
    /// Watches a folder. What changes in it after this has returned is told. Blocks.
    pub(super) fn open(named: &Path) -> Result<Self, Trouble> {
        let (identity, real) = Identity::of(named)?;
        let place = Place::of(&real).ok_or_else(|| Trouble {
            fault: WatchFault::Failed,
            details: Some("it leads to where a path is no UTF-8, or to another machine".to_owned()),
        })?;
        let scope = Arc::new(Scope { named: named.to_path_buf(), real, place });
        let gathered = Arc::<Gathered>::default();
        let listener = Listener { scope: Arc::clone(&scope), gathered: Arc::clone(&gathered) };
        let config = Config::default().with_follow_symlinks(false);
        let watcher = RecommendedWatcher::new(listener, config).map_err(|error| Trouble::from(&error))?;
        let eye = Self { scope, gathered, identity, watcher: Mutex::new(Some(watcher)) };
        if is_inotify() {
            // Nothing is told of a folder that moves together with one above it. What is not allowed here is left to
            // the look at the root that is taken now and then.
            let above = eye.scope.named.ancestors().skip(1).chain(eye.scope.real.ancestors().skip(1));
            for folder in above {
                let _ = eye.watch(folder, RecursiveMode::NonRecursive);
            }
        }
        eye.watch(&eye.scope.real, RecursiveMode::Recursive)?;
        eye.look()?;
        Ok(eye)
    }

    fn watch(&self, folder: &Path, mode: RecursiveMode) -> Result<(), Trouble> {
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(watcher) = watcher.as_mut() else { return Err(WatchFault::Ended.into()) };
        // notify takes it for granted that its thread is there.
        let watched = catch_unwind(AssertUnwindSafe(|| watcher.watch(folder, mode)));
        match watched {
            Ok(watched) => watched.map_err(|error| Trouble::from(&error)),
            Err(_) => Err(WatchFault::Ended.into()),
        }
    }

    /// Whether the root is still the one that is watched.
    fn look(&self) -> Result<(), Trouble> {
        let (identity, real) = Identity::of(&self.scope.named)?;
        let is_same = identity == self.identity && real == self.scope.real;
        if is_same { Ok(()) } else { Err(WatchFault::Moved.into()) }
    }

    /// Sees to it that new folders are watched. notify does so by itself, but not always: it gives up a tree in which
    /// something vanishes while it looks through it, and says nothing. And when this returns, it has done so: what changed
    /// in them unseen did so before.
    fn watch_new(&self, batch: &Batch) -> Result<(), Trouble> {
        if is_inotify() {
            batch.folders.iter().try_for_each(|folder| self.watch_new_folder(folder))?;
        }
        Ok(())
    }

    fn watch_new_folder(&self, folder: &Path) -> Result<(), Trouble> {
        let mut attempt = 1;
        loop {
            let is_folder = fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_dir());
            if !is_folder {
                return Ok(());
            }
            match self.watch(folder, RecursiveMode::Recursive) {
                Err(trouble) if trouble.fault == WatchFault::Moved && attempt < ATTEMPTS => attempt += 1,
                Err(trouble) if trouble.fault == WatchFault::Moved && !folder.exists() => return Ok(()),
                watched => return watched,
            }
        }
    }

    /// Takes what was gathered, and sees to the watcher. Blocks.
    fn take(&self) -> Batch {
        let mut batch = std::mem::take(&mut *self.gathered.batch());
        if batch.trouble.is_none()
            && let Err(trouble) = self.watch_new(&batch).and_then(|()| self.look())
        {
            batch.fail(trouble);
        }
        batch
    }

    /// Waits until something has happened, then for as long as it may go on, and brings it. Where nothing happens, it
    /// looks at the root every `look_every`: of a mount there is no event.
    pub(super) async fn attend(eye: Arc<Self>, debounce: Duration, look_every: Duration) -> Batch {
        loop {
            if timeout(look_every, eye.gathered.has_something.notified()).await.is_ok() {
                sleep(debounce).await;
            }
            let eye = Arc::clone(&eye);
            let batch = spawn_blocking(move || eye.take()).await.unwrap_or_else(|error| {
                let mut batch = Batch::default();
                batch.fail(Trouble { fault: WatchFault::Failed, details: Some(error.to_string()) });
                batch
            });
            if !batch.is_empty() {
                return batch;
            }
        }
    }
}

impl Drop for Eye {
    fn drop(&mut self) {
        let watcher = self.watcher.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // notify takes it for granted that its thread is there.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(watcher)));
    }
}

/// What tells one folder from another that has its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    #[cfg(unix)]
    device: u64,
    #[cfg(unix)]
    inode: u64,
}

impl Identity {
    fn of(named: &Path) -> Result<(Self, std::path::PathBuf), Trouble> {
        let found = fs::canonicalize(named).and_then(|real| Ok((fs::metadata(&real)?, real)));
        let (metadata, real) = found.map_err(|error| Trouble::from(&error))?;
        if !metadata.is_dir() {
            return Err(WatchFault::NotAFolder.into());
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

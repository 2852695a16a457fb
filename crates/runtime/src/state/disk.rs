//! States on disk: one redb file, one thread that writes it.
//!
//! - `record`: one state as bytes, with its checksum
//! - `file`: the database, and what can go wrong with it
//! - `ledger`: what is in memory, and what waits for the disk
//! - `writer`: the thread

mod file;
mod record;
mod write_queue;
mod writer;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use redb::Database;
use thiserror::Error;
use tokio::sync::watch;

use super::{
    DamagedState, FlushError, FlushFuture, PendingSnapshot, QuarantinedState, StateDegraded, StateStore,
    StoredState,
};
use crate::journal::Journal;
use crate::path::ActorPath;
use file::{LoadedStates, StateFile, StateFileError};
use write_queue::WriteQueue;
use writer::StateWriter;

/// What a store may take, and how often it writes.
#[derive(Debug, Clone)]
pub struct RedbConfig {
    /// The longest state, encoded. A longer one is not kept, and the one before it stays. At most 4 GiB.
    pub state_bytes_max: usize,
    /// What all states may take together. They are held in memory as well as on disk.
    pub total_bytes_max: usize,
    /// The least time between two writes that nobody waits for. What a process that is killed loses was handed in
    /// within this time.
    pub commit_interval: Duration,
}

impl Default for RedbConfig {
    /// 8 MiB a state, 128 MiB in all, ten writes a second.
    fn default() -> Self {
        Self {
            state_bytes_max: 8 * 1024 * 1024,
            total_bytes_max: 128 * 1024 * 1024,
            commit_interval: Duration::from_millis(100),
        }
    }
}

/// Why a store could not be opened.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another process, or another store in this one, has the file.
    #[error("another runtime is using {file}", file = file.display())]
    InUse {
        /// The file.
        file: PathBuf,
    },
    /// The states in the file take more than they may.
    #[error("the states in {file} take {bytes} bytes; at most {max} are allowed", file = file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// What they take.
        bytes: usize,
        /// What they may take: [`RedbConfig::total_bytes_max`].
        max: usize,
    },
    /// The file or its folder could not be read or made.
    #[error("the states in {file} cannot be opened: {source}", file = file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A store on disk.
///
/// All states are in memory as well, so loading reads no disk and a disk that is lost costs none that the process
/// still has. Handing in never blocks: the newest state of each path waits for the writing thread, which encodes it,
/// and writes all that waits in one transaction. A state that is the one on disk already is not written again.
///
/// - **A state whose bytes have changed** is refused, said so, and set aside. The others are loaded.
/// - **A file that is no whole database** is renamed to `<file>.damaged-1` (or the next free number) and an empty one
///   begun; `state_degraded` tells.
/// - **A disk that refuses** is told of once (`state_degraded`) and tried again every second. States wait in memory,
///   one a path; nothing else stops.
///
/// The file and `<file>.lock`, which stays locked while the store lives, are for their owner alone. Dropping the store
/// does not wait for the thread to end; [`close`](Self::close) does.
pub struct RedbStore {
    inner: Arc<Inner>,
    writer_thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the store and its thread share.
struct Inner {
    config: RedbConfig,
    write_queue: Mutex<WriteQueue>,
    wakeup: Condvar,
    progress: watch::Sender<WriteProgress>,
    reporter: Mutex<Reporter>,
    /// For reading what was set aside.
    database: Mutex<Option<Arc<Database>>>,
    commits: AtomicU64,
    /// More paths wait than may.
    is_overflowing: AtomicBool,
}

/// How far the writer is.
#[derive(Debug, Clone, Default)]
struct WriteProgress {
    /// Of the changes handed in, how many it has tried to save.
    accepted: u64,
    is_closed: bool,
    /// Why not all of them are safe.
    unsaved_reason: Option<String>,
}

/// Where the store's own events go.
#[derive(Default)]
struct Reporter {
    journal: Option<Journal>,
    /// What happened before there was a journal.
    unreported: VecDeque<(ActorPath, StateDegraded)>,
}

/// Events kept until there is a journal.
const UNREPORTED_MAX: usize = 64;

impl RedbStore {
    /// Opens the store in `file`, or makes it, with the folders above it.
    ///
    /// This reads the whole file and checks it, so it blocks: call it before the tree starts.
    ///
    /// # Errors
    /// When the file is in use, cannot be read or made, or holds more than `config` allows. Damage is no error; a disk
    /// that takes nothing is none either, unless the file was not closed in order and has to be repaired first.
    pub fn open(file: &Path, config: RedbConfig) -> Result<Self, StoreError> {
        let refused = |fault| match fault {
            StateFileError::InUse => StoreError::InUse { file: file.to_owned() },
            StateFileError::Io(source) => StoreError::Io { file: file.to_owned(), source },
            StateFileError::Damaged(reason) => {
                StoreError::Io { file: file.to_owned(), source: std::io::Error::other(reason) }
            }
        };
        let mut reporter = Reporter::default();
        let (state_file, found) = match StateFile::open(file) {
            Err(StateFileError::Damaged(reason)) => {
                let (state_file, kept_as) = StateFile::open_recreated(file).map_err(refused)?;
                reporter.report(&ActorPath::state_store(), recreated_message(&kept_as, &reason));
                (state_file, LoadedStates::default())
            }
            Err(fault) => return Err(refused(fault)),
            Ok((state_file, found, None)) => (state_file, found),
            Ok((state_file, found, Some(error))) => {
                let reason = format!("the file can be read and not written: {error}");
                reporter.report(&ActorPath::state_store(), reason);
                (state_file, found)
            }
        };
        let reasons = found.damaged.iter().map(|(path, remains)| (path.clone(), remains.reason.clone()));
        let ledger = WriteQueue::new(found.states, reasons.collect());
        let (bytes, max) = (ledger.bytes(), config.total_bytes_max);
        if bytes > max {
            return Err(StoreError::TooLarge { file: file.to_owned(), bytes, max });
        }
        let shared = Arc::new(Inner {
            config,
            write_queue: Mutex::new(ledger),
            wakeup: Condvar::new(),
            progress: watch::Sender::new(WriteProgress::default()),
            reporter: Mutex::new(reporter),
            database: Mutex::new(state_file.database()),
            commits: AtomicU64::new(0),
            is_overflowing: AtomicBool::new(false),
        });
        let io = |source| StoreError::Io { file: file.to_owned(), source };
        let writer = StateWriter::start(Arc::clone(&shared), state_file, found.damaged).map_err(io)?;
        Ok(Self { inner: shared, writer_thread: Mutex::new(Some(writer)) })
    }

    /// Transactions committed since the store was opened.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.inner.commits.load(Ordering::Relaxed)
    }

    /// The states that were set aside and are on disk, by path and then by age. Blocks on the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn quarantined(&self) -> Result<Vec<QuarantinedState>, FlushError> {
        let database = self.inner.database().clone();
        let database = database.ok_or_else(|| FlushError("the disk refuses states".to_owned()))?;
        file::read_quarantined(&database).map_err(|fault| FlushError(fault.to_string()))
    }

    /// Writes what was handed in, ends the thread and gives the file free. What is handed in after this stays in memory.
    pub async fn close(&self) {
        self.inner.request_close();
        let writer = self.writer_thread.lock().take();
        if let Some(writer) = writer {
            // The join fails only if the thread panicked or the process is ending: there is nothing left to close.
            let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        }
        *self.inner.database() = None;
    }
}

impl Drop for RedbStore {
    /// The thread writes what it has, and then ends by itself.
    fn drop(&mut self) {
        self.inner.request_close();
    }
}

impl StateStore for RedbStore {
    fn load(&self, path: &ActorPath) -> Result<Option<StoredState>, DamagedState> {
        let (drafts, stored) = {
            let mut ledger = self.inner.write_queue();
            ledger.take_damage(path)?;
            ledger.newest_snapshots(path)
        };
        Ok(drafts.iter().find_map(|draft| draft.encode().ok()).or(stored))
    }

    fn save(&self, path: &ActorPath, draft: PendingSnapshot) {
        let taken = self.inner.update_queue(|ledger| ledger.save(path, draft));
        self.inner.record_capacity(path, taken.is_ok());
    }

    fn quarantine(&self, path: &ActorPath, why: &str) {
        let taken = self.inner.update_queue(|ledger| ledger.quarantine(path, why));
        self.inner.record_capacity(path, taken);
    }

    fn remove(&self, path: &ActorPath) {
        let taken = self.inner.update_queue(|ledger| ledger.remove(path));
        self.inner.record_capacity(path, taken);
    }

    fn flush(&self) -> FlushFuture {
        let mut progress = self.inner.progress.subscribe();
        let handed = {
            let mut ledger = self.inner.write_queue();
            ledger.is_flush_requested |= progress.borrow().accepted < ledger.accepted;
            ledger.accepted
        };
        self.inner.wakeup.notify_one();
        Box::pin(async move {
            let tried = progress.wait_for(|progress| progress.accepted >= handed || progress.is_closed).await;
            let Ok(progress) = tried else { return Err(FlushError("the store is gone".to_owned())) };
            match &progress.unsaved_reason {
                Some(reason) => Err(FlushError(reason.clone())),
                None if progress.accepted < handed => Err(FlushError("the store is closed".to_owned())),
                None => Ok(()),
            }
        })
    }

    fn attach_journal(&self, journal: &Journal) {
        let mut reporter = self.inner.reporter();
        for (path, degraded) in std::mem::take(&mut reporter.unreported) {
            journal.record(&path, 0, &degraded);
        }
        reporter.journal = Some(journal.clone());
    }
}

impl Inner {
    fn write_queue(&self) -> MutexGuard<'_, WriteQueue> {
        self.write_queue.lock()
    }

    fn reporter(&self) -> MutexGuard<'_, Reporter> {
        self.reporter.lock()
    }

    fn database(&self) -> MutexGuard<'_, Option<Arc<Database>>> {
        self.database.lock()
    }

    /// Changes the ledger, and wakes the writer if that is needed.
    fn update_queue<T>(&self, change: impl FnOnce(&mut WriteQueue) -> T) -> T {
        let (result, wake) = {
            let mut ledger = self.write_queue();
            (change(&mut ledger), std::mem::take(&mut ledger.is_writer_idle))
        };
        if wake {
            self.wakeup.notify_one();
        }
        result
    }

    fn report_degraded(&self, path: &ActorPath, reason: String) {
        self.reporter().report(path, reason);
    }

    fn request_close(&self) {
        self.write_queue().is_closing = true;
        self.wakeup.notify_one();
    }

    /// Says once that there are more paths than a store takes, until there is room again.
    fn record_capacity(&self, path: &ActorPath, has_room: bool) {
        let was_overflowing = self.is_overflowing.load(Ordering::Relaxed);
        if was_overflowing == has_room {
            self.is_overflowing.store(!has_room, Ordering::Relaxed);
        }
        if !has_room && !was_overflowing {
            let max = write_queue::PENDING_PATHS_MAX;
            self.report_degraded(
                path,
                format!("changes of {max} states wait for the disk already; more are lost"),
            );
        }
    }
}

impl Reporter {
    fn report(&mut self, path: &ActorPath, reason: String) {
        let degraded = StateDegraded { reason };
        if let Some(journal) = &self.journal {
            return journal.record(path, 0, &degraded);
        }
        if self.unreported.len() == UNREPORTED_MAX {
            self.unreported.pop_front();
        }
        self.unreported.push_back((path.clone(), degraded));
    }
}

fn recreated_message(kept_as: &Path, reason: &str) -> String {
    format!("the file was damaged ({reason}); it is kept as {} and an empty one begun", kept_as.display())
}

#[cfg(test)]
mod tests;

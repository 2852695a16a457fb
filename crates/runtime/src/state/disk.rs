//! States on disk: one redb file, and one thread that writes it.
//!
//! - `record`: one state as bytes, with its checksum
//! - `file`: the database and its faults
//! - `write_queue`: the states in memory, and the changes that wait for the disk
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
use crate::journal::{FaultPhase, Journal};
use crate::path::ActorPath;
use crate::private_files::PathKind;
use file::{LoadedStates, StateFile, StateFileError};
use write_queue::WriteQueue;
use writer::StateWriter;

/// The limits of a store, and the pace of its writes.
#[derive(Debug, Clone)]
pub struct RedbConfig {
    /// The longest state, encoded, in bytes. A longer one is not kept, and the previous one stays. At most 4 GiB.
    pub state_bytes_max: usize,
    /// The most bytes of all states together. They are held in memory as well as on disk.
    pub total_bytes_max: usize,
    /// The least time between two writes that no caller waits for. A process that is killed loses at most what was
    /// saved within this time.
    pub commit_interval: Duration,
}

impl Default for RedbConfig {
    /// Returns limits of 8 MiB a state, 128 MiB in all and ten writes a second.
    fn default() -> Self {
        Self {
            state_bytes_max: 8 * 1024 * 1024,
            total_bytes_max: 128 * 1024 * 1024,
            commit_interval: Duration::from_millis(100),
        }
    }
}

/// A store could not be opened.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A different process, or a different store in this one, has the file.
    #[error("another runtime is using {file}", file = file.display())]
    InUse {
        /// The file.
        file: PathBuf,
    },
    /// The states in the file are larger than allowed.
    #[error("the states in {file} have {bytes} bytes; at most {max} are allowed", file = file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// The size of the states, in bytes.
        bytes: usize,
        /// The allowed size: [`RedbConfig::total_bytes_max`].
        max: usize,
    },
    /// The file or its folder could not be read or created.
    #[error("the states cannot be opened: {source}")]
    Io {
        /// The file.
        file: PathBuf,
        /// The system's error, with the path.
        source: std::io::Error,
    },
}

/// A store on disk.
///
/// All states are in memory as well, so loading reads no disk, and a lost disk loses none that the process still has.
/// Saving never blocks. The newest state of each path waits for the writing thread, which encodes it and writes
/// everything that waits in one transaction. A state equal to the one on disk is not written again.
///
/// - **A state whose bytes have changed** is refused, reported and quarantined. The others are loaded.
/// - **A file that is no whole database** is renamed to `<file>.damaged-1` (or the next free number), and an empty
///   one begins; `state_degraded` reports it.
/// - **A file that is deleted, replaced or emptied** while it is open is reported, and all states are written to a new
///   one. Quarantined states in it are lost.
/// - **A disk that refuses** is reported once (`state_degraded`) and tried again every second. States wait in memory,
///   one a path; nothing else stops.
///
/// The file and `<file>.lock`, which stays locked while the store lives, are for their owner only. Dropping the store
/// does not wait for the thread to end; [`close`](Self::close) does.
pub struct RedbStore {
    inner: Arc<Inner>,
    writer_thread: Mutex<Option<JoinHandle<()>>>,
}

/// The data that the store and its thread share.
struct Inner {
    config: RedbConfig,
    write_queue: Mutex<WriteQueue>,
    wakeup: Condvar,
    progress: watch::Sender<WriteProgress>,
    reporter: Mutex<Reporter>,
    /// Used for reading quarantined states.
    database: Mutex<Option<Arc<Database>>>,
    commits: AtomicU64,
    /// More paths wait than allowed.
    is_overflowing: AtomicBool,
}

/// The progress of the writer.
#[derive(Debug, Clone, Default)]
struct WriteProgress {
    /// The number of accepted changes that it has tried to write.
    accepted: u64,
    is_closed: bool,
    /// The reason why not all of them are safe.
    unsaved_reason: Option<String>,
}

/// The destination of the store's own events.
#[derive(Default)]
struct Reporter {
    journal: Option<Journal>,
    /// Events from before there was a journal.
    unreported: VecDeque<(ActorPath, StateDegraded)>,
}

/// The most events that are kept until there is a journal.
const UNREPORTED_MAX: usize = 64;

impl RedbStore {
    /// Opens the store in `file`, or creates it, with the folders above it.
    ///
    /// This reads the whole file and checks it, so it blocks: call it before the tree starts.
    ///
    /// # Errors
    /// Returns an error if the file is in use, cannot be read or created, or holds more than `config` allows. Damage
    /// is no error. A disk that takes nothing is no error either, unless the file was not closed in order and needs a
    /// repair first.
    pub fn open(file: &Path, config: RedbConfig) -> Result<Self, StoreError> {
        let located = PathKind::File.error_at(file);
        let refused = |fault| match fault {
            StateFileError::InUse => StoreError::InUse { file: file.to_owned() },
            StateFileError::Io(source) => StoreError::Io { file: file.to_owned(), source },
            StateFileError::Damaged(reason) => {
                StoreError::Io { file: file.to_owned(), source: located(std::io::Error::other(reason)) }
            }
        };
        let mut reporter = Reporter::default();
        let (state_file, found) = match StateFile::open(file) {
            Err(StateFileError::Damaged(reason)) => {
                let (state_file, kept_as) = StateFile::open_recreated(file).map_err(refused)?;
                let message =
                    recreated_message(kept_as.as_deref(), &damage_text(&reason), "an empty one begins");
                reporter
                    .report(&ActorPath::state_store(), StateDegraded { message, phase: FaultPhase::Once });
                (state_file, LoadedStates::default())
            }
            Err(fault) => return Err(refused(fault)),
            Ok((state_file, found, None)) => (state_file, found),
            Ok((state_file, found, Some(error))) => {
                let message = format!("the file can be read and not written: {error}");
                reporter
                    .report(&ActorPath::state_store(), StateDegraded { message, phase: FaultPhase::Once });
                (state_file, found)
            }
        };
        let reasons = found.damaged.iter().map(|(path, remains)| (path.clone(), remains.reason.clone()));
        let queue = WriteQueue::new(found.states, reasons.collect());
        let (bytes, max) = (queue.bytes(), config.total_bytes_max);
        if bytes > max {
            return Err(StoreError::TooLarge { file: file.to_owned(), bytes, max });
        }
        let shared = Arc::new(Inner {
            config,
            write_queue: Mutex::new(queue),
            wakeup: Condvar::new(),
            progress: watch::Sender::new(WriteProgress::default()),
            reporter: Mutex::new(reporter),
            database: Mutex::new(state_file.database()),
            commits: AtomicU64::new(0),
            is_overflowing: AtomicBool::new(false),
        });
        let io = |source| StoreError::Io { file: file.to_owned(), source: located(source) };
        let writer = StateWriter::start(Arc::clone(&shared), state_file, found.damaged).map_err(io)?;
        Ok(Self { inner: shared, writer_thread: Mutex::new(Some(writer)) })
    }

    /// Returns the number of transactions committed since the store was opened.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.inner.commits.load(Ordering::Relaxed)
    }

    /// Returns the quarantined states that are on disk, by path and then by age. Blocks on the disk.
    ///
    /// # Errors
    /// Returns an error if the disk refuses.
    pub fn quarantined(&self) -> Result<Vec<QuarantinedState>, FlushError> {
        let database = self.inner.database().clone();
        let database = database.ok_or_else(|| FlushError("the disk refuses states".to_owned()))?;
        file::read_quarantined(&database).map_err(|fault| FlushError(fault.to_string()))
    }

    /// Writes what was saved, ends the thread and releases the file. What is saved after this stays in memory.
    pub async fn close(&self) {
        self.inner.request_close();
        let writer = self.writer_thread.lock().take();
        if let Some(writer) = writer {
            // The join fails only if the thread panicked or the process is ending, and then nothing is left to close.
            let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        }
        *self.inner.database() = None;
    }
}

impl Drop for RedbStore {
    /// Closes the queue: the thread writes what it has, and then ends by itself.
    fn drop(&mut self) {
        self.inner.request_close();
    }
}

impl StateStore for RedbStore {
    fn load(&self, path: &ActorPath) -> Result<Option<StoredState>, DamagedState> {
        let (candidates, stored) = {
            let mut queue = self.inner.write_queue();
            queue.take_damage(path)?;
            queue.newest_snapshots(path)
        };
        Ok(candidates.iter().find_map(|pending| pending.encode().ok()).or(stored))
    }

    fn save(&self, path: &ActorPath, pending: PendingSnapshot) {
        let taken = self.inner.update_queue(|queue| queue.save(path, pending));
        self.inner.record_capacity(path, taken.is_ok());
    }

    fn quarantine(&self, path: &ActorPath, why: &str) {
        let taken = self.inner.update_queue(|queue| queue.quarantine(path, why));
        self.inner.record_capacity(path, taken);
    }

    fn remove(&self, path: &ActorPath) {
        let taken = self.inner.update_queue(|queue| queue.remove(path));
        self.inner.record_capacity(path, taken);
    }

    fn flush(&self) -> FlushFuture {
        let mut progress = self.inner.progress.subscribe();
        let handed = {
            let mut queue = self.inner.write_queue();
            queue.is_flush_requested |= progress.borrow().accepted < queue.accepted;
            queue.accepted
        };
        self.inner.wakeup.notify_one();
        Box::pin(async move {
            let tried = progress.wait_for(|progress| progress.accepted >= handed || progress.is_closed).await;
            let Ok(progress) = tried else { return Err(FlushError("the store was dropped".to_owned())) };
            match &progress.unsaved_reason {
                Some(reason) => Err(FlushError(reason.clone())),
                None if progress.accepted < handed => Err(FlushError("the store is closed".to_owned())),
                None => Ok(()),
            }
        })
    }

    fn degraded(&self) -> Option<String> {
        self.inner.progress.borrow().unsaved_reason.clone()
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

    /// Changes the queue, and wakes the writer if necessary.
    fn update_queue<T>(&self, change: impl FnOnce(&mut WriteQueue) -> T) -> T {
        let (result, wake) = {
            let mut queue = self.write_queue();
            (change(&mut queue), std::mem::take(&mut queue.is_writer_idle))
        };
        if wake {
            self.wakeup.notify_one();
        }
        result
    }

    fn report_degraded(&self, path: &ActorPath, phase: FaultPhase, message: String) {
        self.reporter().report(path, StateDegraded { message, phase });
    }

    fn request_close(&self) {
        self.write_queue().is_closing = true;
        self.wakeup.notify_one();
    }

    /// Reports once that there are more paths than a store takes, until there is room again.
    fn record_capacity(&self, path: &ActorPath, has_room: bool) {
        let was_overflowing = self.is_overflowing.load(Ordering::Relaxed);
        if was_overflowing == has_room {
            self.is_overflowing.store(!has_room, Ordering::Relaxed);
        }
        if !has_room && !was_overflowing {
            let max = write_queue::PENDING_PATHS_MAX;
            self.report_degraded(
                path,
                FaultPhase::Once,
                format!("changes of {max} states wait for the disk already; more are lost"),
            );
        }
    }
}

impl Reporter {
    fn report(&mut self, path: &ActorPath, degraded: StateDegraded) {
        if let Some(journal) = &self.journal {
            return journal.record(path, 0, &degraded);
        }
        if self.unreported.len() == UNREPORTED_MAX {
            self.unreported.pop_front();
        }
        self.unreported.push_back((path.clone(), degraded));
    }
}

fn recreated_message(kept_as: Option<&Path>, what: &str, then: &str) -> String {
    match kept_as {
        Some(kept_as) => format!("{what}; it is kept as {}, and {then}", kept_as.display()),
        None => format!("{what}; {then}"),
    }
}

fn damage_text(reason: &str) -> String {
    format!("the file was damaged ({reason})")
}

#[cfg(test)]
mod tests;

//! States on disk: one redb file, one thread that writes it.
//!
//! - `record`: one state as bytes, with its checksum
//! - `file`: the database, and what can go wrong with it
//! - `ledger`: what is in memory, and what waits for the disk
//! - `writer`: the thread

mod file;
mod ledger;
mod record;
mod writer;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use redb::Database;
use thiserror::Error;
use tokio::sync::watch;

use super::{Damaged, Draft, Flushed, SetAside, StateDegraded, StateStore, StoredState, Unsaved};
use crate::journal::Journal;
use crate::path::ActorPath;
use file::{Fault, Found, StateFile};
use ledger::Ledger;
use writer::Writer;

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
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What the store and its thread share.
struct Shared {
    config: RedbConfig,
    ledger: Mutex<Ledger>,
    bell: Condvar,
    progress: watch::Sender<Progress>,
    reporter: Mutex<Reporter>,
    /// For reading what was set aside.
    database: Mutex<Option<Arc<Database>>>,
    commits: AtomicU64,
    /// More paths wait than may.
    overflowing: AtomicBool,
}

/// How far the writer is.
#[derive(Debug, Clone, Default)]
struct Progress {
    /// Of the changes handed in, how many it has tried to save.
    handed: u64,
    ended: bool,
    /// Why not all of them are safe.
    unsaved: Option<String>,
}

/// Where the store's own events go.
#[derive(Default)]
struct Reporter {
    journal: Option<Journal>,
    /// What happened before there was a journal.
    untold: VecDeque<(ActorPath, StateDegraded)>,
}

/// Events kept until there is a journal.
const UNTOLD_MAX: usize = 64;

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
            Fault::InUse => StoreError::InUse { file: file.to_owned() },
            Fault::Refused(source) => StoreError::Io { file: file.to_owned(), source },
            Fault::Damaged(reason) => {
                StoreError::Io { file: file.to_owned(), source: std::io::Error::other(reason) }
            }
        };
        let mut reporter = Reporter::default();
        let (state_file, found) = match StateFile::open(file) {
            Err(Fault::Damaged(reason)) => {
                let (state_file, kept_as) = StateFile::open_anew(file).map_err(refused)?;
                reporter.tell(&ActorPath::of_state_store(), moved(&kept_as, &reason));
                (state_file, Found::default())
            }
            Err(fault) => return Err(refused(fault)),
            Ok((state_file, found, None)) => (state_file, found),
            Ok((state_file, found, Some(error))) => {
                let reason = format!("the file can be read and not written: {error}");
                reporter.tell(&ActorPath::of_state_store(), reason);
                (state_file, found)
            }
        };
        let reasons = found.damaged.iter().map(|(path, remains)| (path.clone(), remains.why.clone()));
        let ledger = Ledger::new(found.states, reasons.collect());
        let (bytes, max) = (ledger.bytes(), config.total_bytes_max);
        if bytes > max {
            return Err(StoreError::TooLarge { file: file.to_owned(), bytes, max });
        }
        let shared = Arc::new(Shared {
            config,
            ledger: Mutex::new(ledger),
            bell: Condvar::new(),
            progress: watch::Sender::new(Progress::default()),
            reporter: Mutex::new(reporter),
            database: Mutex::new(state_file.database()),
            commits: AtomicU64::new(0),
            overflowing: AtomicBool::new(false),
        });
        let io = |source| StoreError::Io { file: file.to_owned(), source };
        let writer = Writer::start(Arc::clone(&shared), state_file, found.damaged).map_err(io)?;
        Ok(Self { shared, writer: Mutex::new(Some(writer)) })
    }

    /// Transactions committed since the store was opened.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.shared.commits.load(Ordering::Relaxed)
    }

    /// The states that were set aside and are on disk, by path and then by age. Blocks on the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn asides(&self) -> Result<Vec<SetAside>, Unsaved> {
        let database = self.shared.database().clone();
        let database = database.ok_or_else(|| Unsaved("the disk refuses states".to_owned()))?;
        file::read_asides(&database).map_err(|fault| Unsaved(fault.to_string()))
    }

    /// Writes what was handed in, ends the thread and gives the file free. What is handed in after this stays in memory.
    pub async fn close(&self) {
        self.shared.end();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // The join fails only if the thread panicked or the process is ending: there is nothing left to close.
            let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        }
        *self.shared.database() = None;
    }
}

impl Drop for RedbStore {
    /// The thread writes what it has, and then ends by itself.
    fn drop(&mut self) {
        self.shared.end();
    }
}

impl StateStore for RedbStore {
    fn load(&self, path: &ActorPath) -> Result<Option<StoredState>, Damaged> {
        let (drafts, stored) = {
            let mut ledger = self.shared.ledger();
            ledger.damage(path)?;
            ledger.drafts(path)
        };
        Ok(drafts.iter().find_map(|draft| draft.encode().ok()).or(stored))
    }

    fn save(&self, path: &ActorPath, draft: Draft) {
        let taken = self.shared.change(|ledger| ledger.save(path, draft));
        self.shared.note_room(path, taken.is_ok());
    }

    fn set_aside(&self, path: &ActorPath, why: &str) {
        let taken = self.shared.change(|ledger| ledger.set_aside(path, why));
        self.shared.note_room(path, taken);
    }

    fn remove(&self, path: &ActorPath) {
        let taken = self.shared.change(|ledger| ledger.remove(path));
        self.shared.note_room(path, taken);
    }

    fn flush(&self) -> Flushed {
        let mut progress = self.shared.progress.subscribe();
        let handed = {
            let mut ledger = self.shared.ledger();
            ledger.urgent |= progress.borrow().handed < ledger.handed;
            ledger.handed
        };
        self.shared.bell.notify_one();
        Box::pin(async move {
            let tried = progress.wait_for(|progress| progress.handed >= handed || progress.ended).await;
            let Ok(progress) = tried else { return Err(Unsaved("the store is gone".to_owned())) };
            match &progress.unsaved {
                Some(reason) => Err(Unsaved(reason.clone())),
                None if progress.handed < handed => Err(Unsaved("the store is closed".to_owned())),
                None => Ok(()),
            }
        })
    }

    fn report_to(&self, journal: &Journal) {
        let mut reporter = self.shared.reporter();
        for (path, degraded) in std::mem::take(&mut reporter.untold) {
            journal.record(&path, 0, &degraded);
        }
        reporter.journal = Some(journal.clone());
    }
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reporter(&self) -> MutexGuard<'_, Reporter> {
        self.reporter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn database(&self) -> MutexGuard<'_, Option<Arc<Database>>> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the ledger, and wakes the writer if that is needed.
    fn change<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> T {
        let (result, wake) = {
            let mut ledger = self.ledger();
            (change(&mut ledger), std::mem::take(&mut ledger.asleep))
        };
        if wake {
            self.bell.notify_one();
        }
        result
    }

    fn tell(&self, path: &ActorPath, reason: String) {
        self.reporter().tell(path, reason);
    }

    fn end(&self) {
        self.ledger().closing = true;
        self.bell.notify_one();
    }

    /// Says once that there are more paths than a store takes, until there is room again.
    fn note_room(&self, path: &ActorPath, has_room: bool) {
        let was_overflowing = self.overflowing.load(Ordering::Relaxed);
        if was_overflowing == has_room {
            self.overflowing.store(!has_room, Ordering::Relaxed);
        }
        if !has_room && !was_overflowing {
            let max = ledger::CHANGES_MAX;
            self.tell(path, format!("changes of {max} states wait for the disk already; more are lost"));
        }
    }
}

impl Reporter {
    fn tell(&mut self, path: &ActorPath, reason: String) {
        let degraded = StateDegraded { reason };
        if let Some(journal) = &self.journal {
            return journal.record(path, 0, &degraded);
        }
        if self.untold.len() == UNTOLD_MAX {
            self.untold.pop_front();
        }
        self.untold.push_back((path.clone(), degraded));
    }
}

fn moved(kept_as: &Path, reason: &str) -> String {
    format!("the file was damaged ({reason}); it is kept as {} and an empty one begun", kept_as.display())
}

#[cfg(test)]
mod tests;

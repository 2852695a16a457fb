//! Who sees to it that no process outlives the runtime.

use parking_lot::{Mutex, MutexGuard};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::{fmt, io};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use super::spec::SpawnError;
use super::system::{ProcessRegistry, RecoveredOrphans};

/// So many troubles are kept for one who does not listen.
const WARNINGS_MAX: usize = 16;

/// Keeps what must not outlive the runtime. One a runtime; cheap to clone.
///
/// When the last clone and the last [`Process`](super::Process) are dropped, or the runtime dies in any other way,
/// everything that still runs is ended.
#[derive(Debug, Clone)]
pub struct ProcessManager(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Once it has begun.
    registry: OnceLock<Arc<ProcessRegistry>>,
    /// One task a process.
    tasks: Mutex<JoinSet<()>>,
    closing: watch::Sender<bool>,
    warnings: broadcast::Sender<ManagerWarning>,
}

/// A warden, and what it found.
#[derive(Debug)]
#[non_exhaustive]
pub struct StartReport {
    /// The warden.
    pub manager: ProcessManager,
    /// What a run before had left behind. It has been ended.
    pub orphans: Vec<Orphan>,
    /// How many lines of the record could not be read: what they told of is not known. A copy is set aside as
    /// `processes.damaged`.
    pub damaged_lines: usize,
}

/// A process of a run before that was still there, or something that it had started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphan {
    /// What it was called.
    pub name: String,
    /// Its id, as recorded.
    pub pid: u32,
    /// How many processes were found to be left of it.
    pub processes: usize,
    /// The ids of those that could not be ended.
    pub survivors: Vec<u32>,
}

/// Something is wrong with the precautions. Processes run on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "trouble", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ManagerWarning {
    /// The guardian has ended or does not answer; another is started, and told of everything.
    WatchdogLost {
        /// What is known of its end.
        why: String,
    },
    /// No guardian can be started. Until one can, nothing new is started, and if the program is killed, what runs is
    /// ended only at its next start.
    WatchdogUnavailable {
        /// Why not.
        why: String,
    },
    /// The record on disk cannot be written. Leftovers of a run that ends now would not be found.
    PidFileFailed {
        /// Why not.
        why: String,
    },
}

impl fmt::Display for ManagerWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WatchdogLost { why } => {
                write!(f, "the guardian of processes was lost ({why}); another is started")
            }
            Self::WatchdogUnavailable { why } => write!(f, "no guardian of processes can be started: {why}"),
            Self::PidFileFailed { why } => write!(f, "the record of processes cannot be written: {why}"),
        }
    }
}

/// Why there is no warden.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another runtime has the same data folder.
    #[error("another runtime uses the record of processes already ({})", file.display())]
    InUse {
        /// The lock.
        file: PathBuf,
    },
    /// The record, or its lock, can be neither read nor made.
    #[error("the record of processes cannot be used ({}): {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The warden has begun already.
    #[error("the warden of processes has begun already")]
    AlreadyStarted,
    /// The system gives no random number.
    #[error("the system gives no random number: {0}")]
    Random(String),
}

impl Default for ProcessManager {
    fn default() -> Self {
        Self::new()
    }
}

impl ProcessManager {
    /// One that has not begun yet: nothing can be started until it has.
    #[must_use]
    pub fn new() -> Self {
        let troubles = broadcast::Sender::new(WARNINGS_MAX);
        let (custody, lives) = (OnceLock::new(), Mutex::default());
        Self(Arc::new(Inner {
            registry: custody,
            tasks: lives,
            closing: watch::Sender::new(false),
            warnings: troubles,
        }))
    }

    /// One that has begun; see [`begin`](Self::begin).
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn open(data_dir: Option<&Path>) -> Result<StartReport, OpenError> {
        Self::new().start(data_dir).await
    }

    /// Ends what a run before has left behind, as far as the record in the folder tells of it, and begins a record of its
    /// own. That takes a few seconds where something does not want to end. Without a folder nothing is recorded.
    ///
    /// # Errors
    ///
    /// If another runtime has the record, or it can be neither read nor made; or if this has begun already.
    pub async fn start(&self, data_dir: Option<&Path>) -> Result<StartReport, OpenError> {
        let (custody, found) = ProcessRegistry::open(data_dir, self.0.warnings.clone()).await?;
        self.0.registry.set(Arc::new(custody)).map_err(|_| OpenError::AlreadyStarted)?;
        let RecoveredOrphans { orphans: leftovers, damaged_lines } = found;
        Ok(StartReport { manager: self.clone(), orphans: leftovers, damaged_lines })
    }

    /// What goes wrong with the precautions from now on; at most the last 16 are kept for a reader that is late.
    #[must_use]
    pub fn warnings(&self) -> broadcast::Receiver<ManagerWarning> {
        self.0.warnings.subscribe()
    }

    /// Stops everything that still runs, each process with the grace that it has, and returns when nothing is left.
    /// Nothing can be started after that.
    pub async fn close(&self) {
        self.0.closing.send_replace(true);
        let mut lives = std::mem::take(&mut *self.tasks());
        while lives.join_next().await.is_some() {}
        if let Some(custody) = self.0.registry.get() {
            custody.close().await;
        }
    }

    pub(super) fn registry(&self) -> Result<&Arc<ProcessRegistry>, SpawnError> {
        let absent = || SpawnError::NoWatchdog("the warden of processes has not begun".to_owned());
        self.0.registry.get().ok_or_else(absent)
    }

    pub(super) fn closing(&self) -> watch::Receiver<bool> {
        self.0.closing.subscribe()
    }

    /// Has a process's task run until its end.
    pub(super) fn track(&self, life: impl Future<Output = ()> + Send + 'static) -> Result<(), SpawnError> {
        let mut lives = self.tasks();
        if *self.0.closing.borrow() {
            return Err(SpawnError::Stopping);
        }
        while lives.try_join_next().is_some() {}
        lives.spawn(life);
        Ok(())
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.tasks.lock()
    }
}

//! Makes sure that no process outlives the runtime.

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

/// The number of warnings that are kept for a slow receiver.
const WARNINGS_MAX: usize = 16;

/// Manages the processes of one runtime. Cheap to clone.
///
/// All processes are ended when the last clone and the last [`Process`](super::Process) are dropped, and when the
/// runtime dies in any other way.
#[derive(Debug, Clone)]
pub struct ProcessManager(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Set when the manager has started.
    registry: OnceLock<Arc<ProcessRegistry>>,
    /// The tasks, one for each process.
    tasks: Mutex<JoinSet<()>>,
    closing: watch::Sender<bool>,
    warnings: broadcast::Sender<ManagerWarning>,
}

/// A started manager, and what it found.
#[derive(Debug)]
#[non_exhaustive]
pub struct StartReport {
    /// The manager.
    pub manager: ProcessManager,
    /// The processes that an earlier run had left. They have been ended.
    pub orphans: Vec<Orphan>,
    /// The number of unreadable lines in the PID file; the processes in them are not known. A copy is kept as
    /// `processes.damaged`.
    pub damaged_lines: usize,
}

/// A process of an earlier run that was still there, or a descendant of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Orphan {
    /// The name of the process.
    pub name: String,
    /// The id of the process, as recorded.
    pub pid: u32,
    /// The number of its processes that were found.
    pub processes: usize,
    /// The ids of those that could not be ended.
    pub survivors: Vec<u32>,
}

/// A failure of the safeguards. The processes run on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(tag = "warning", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ManagerWarning {
    /// The watchdog has exited or does not answer. Another is started, with everything to watch.
    WatchdogLost {
        /// The reason, for a person, as far as it is known.
        message: String,
    },
    /// No watchdog can be started. Until one can, nothing new is started. If the program is killed, the processes end
    /// only at its next start.
    WatchdogUnavailable {
        /// The reason, for a person.
        message: String,
    },
    /// The PID file cannot be written. Orphans of this run would not be found.
    PidFileFailed {
        /// The reason, for a person.
        message: String,
    },
}

impl fmt::Display for ManagerWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WatchdogLost { message } => {
                write!(f, "the watchdog of processes was lost ({message}); another is started")
            }
            Self::WatchdogUnavailable { message } => {
                write!(f, "no watchdog of processes can be started: {message}")
            }
            Self::PidFileFailed { message } => {
                write!(f, "the PID file of processes cannot be written: {message}")
            }
        }
    }
}

/// Says why there is no manager.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The data folder is in use by another runtime.
    #[error("another runtime uses the PID file of processes already ({})", file.display())]
    InUse {
        /// The lock.
        file: PathBuf,
    },
    /// The PID file or its lock cannot be read or created.
    #[error("the PID file of processes cannot be used: {source}")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's error, with the path.
        source: io::Error,
    },
    /// The manager has started already.
    #[error("the process manager has started already")]
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
    /// Creates a manager that has not started: until then no process can be started.
    #[must_use]
    pub fn new() -> Self {
        let warnings = broadcast::Sender::new(WARNINGS_MAX);
        let (registry, tasks) = (OnceLock::new(), Mutex::default());
        Self(Arc::new(Inner { registry, tasks, closing: watch::Sender::new(false), warnings }))
    }

    /// Creates a manager and starts it; see [`start`](Self::start).
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn open(data_dir: Option<&Path>) -> Result<StartReport, OpenError> {
        Self::new().start(data_dir).await
    }

    /// Ends the orphans that the folder's PID file names, and begins a new PID file.
    ///
    /// This takes a few seconds if a process is slow to end. Without a folder nothing is recorded.
    ///
    /// # Errors
    ///
    /// Another runtime uses the PID file, the file cannot be read or created, or the manager has started already.
    pub async fn start(&self, data_dir: Option<&Path>) -> Result<StartReport, OpenError> {
        let (registry, found) = ProcessRegistry::open(data_dir, self.0.warnings.clone()).await?;
        self.0.registry.set(Arc::new(registry)).map_err(|_| OpenError::AlreadyStarted)?;
        let RecoveredOrphans { orphans, damaged_lines } = found;
        Ok(StartReport { manager: self.clone(), orphans, damaged_lines })
    }

    /// Subscribes to the failures of the safeguards; at most the last 16 are kept for a slow receiver.
    #[must_use]
    pub fn warnings(&self) -> broadcast::Receiver<ManagerWarning> {
        self.0.warnings.subscribe()
    }

    /// Stops every process that still runs, each with its grace, and returns when nothing is left. Nothing can be
    /// started after that.
    pub async fn close(&self) {
        self.0.closing.send_replace(true);
        let mut tasks = std::mem::take(&mut *self.tasks());
        while tasks.join_next().await.is_some() {}
        if let Some(registry) = self.0.registry.get() {
            registry.close().await;
        }
    }

    pub(super) fn registry(&self) -> Result<&Arc<ProcessRegistry>, SpawnError> {
        let absent = || SpawnError::NoWatchdog("the process manager has not started".to_owned());
        self.0.registry.get().ok_or_else(absent)
    }

    pub(super) fn closing(&self) -> watch::Receiver<bool> {
        self.0.closing.subscribe()
    }

    /// Runs a process's task to its end.
    pub(super) fn track(&self, task: impl Future<Output = ()> + Send + 'static) -> Result<(), SpawnError> {
        let mut tasks = self.tasks();
        if *self.0.closing.borrow() {
            return Err(SpawnError::Stopping);
        }
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
        Ok(())
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.tasks.lock()
    }
}

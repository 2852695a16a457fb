//! The link between the sources of lines and the thread that writes them.

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use mainstay_runtime::journal::Journal;
use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::watch;

use super::files::FileLimits;
use super::flood::LogRate;
use super::line::LogLine;

/// A log whose lines wait for the writer.
pub(super) trait LineSource: Send + Sync {
    /// Returns the log's id.
    fn id(&self) -> &str;

    /// Takes the lines that wait.
    fn take_lines(&self) -> VecDeque<LogLine>;

    /// Returns whether the program prints so much that lines are left out.
    fn is_noisy(&self) -> bool;

    /// Ends a flood that is over. Returns whether one goes on.
    fn end_flood_if_quiet(self: Arc<Self>) -> bool;
}

/// Returns whether two sources are the same one.
pub(super) fn is_same_source(a: &Arc<dyn LineSource>, b: &Arc<dyn LineSource>) -> bool {
    std::ptr::addr_eq(Arc::as_ptr(a), Arc::as_ptr(b))
}

/// The limits of each log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSettings {
    /// The size at which a new file begins, in bytes.
    pub file_bytes: u64,
    /// The most files of one log, at least two.
    pub files: usize,
    /// The rate that a log takes for any time.
    pub rate: LogRate,
}

/// The link between the sources and the writer: settings, tasks and wake-ups.
pub(super) struct WriterLink {
    settings: LogSettings,
    started: OnceLock<Started>,
    tasks: Mutex<WriterTasks>,
    wakeup: Condvar,
    /// The number of groups of lines that were written.
    written: watch::Sender<u64>,
    has_ended: watch::Sender<bool>,
}

/// The parts that are known once the runtime has started.
pub(super) struct Started {
    pub(super) journal: Journal,
    /// The folder; `None` for a runtime that writes no files.
    pub(super) dir: Option<PathBuf>,
}

/// The tasks of the writer.
#[derive(Default)]
pub(super) struct WriterTasks {
    /// The logs that have lines to write.
    pub(super) waiting: Vec<Arc<dyn LineSource>>,
    /// The logs with a flood that goes on.
    pub(super) noisy: Vec<Arc<dyn LineSource>>,
    /// The ids of all logs of this runtime.
    pub(super) known: BTreeSet<String>,
    pub(super) is_closing: bool,
    /// The reason why lines are not written.
    pub(super) failure: Option<String>,
}

impl WriterLink {
    pub(super) fn new(settings: LogSettings) -> Self {
        Self {
            settings,
            started: OnceLock::new(),
            tasks: Mutex::default(),
            wakeup: Condvar::new(),
            written: watch::Sender::new(0),
            has_ended: watch::Sender::new(false),
        }
    }

    pub(super) fn settings(&self) -> &LogSettings {
        &self.settings
    }

    /// Sets what is known once the runtime has started. Returns `false` if it was set already.
    pub(super) fn start(&self, started: Started) -> bool {
        self.started.set(started).is_ok()
    }

    /// Subscribes to the number of groups of lines that were written.
    pub(super) fn written(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    /// Waits for the end of the writer.
    pub(super) async fn ended(&self) {
        let _ = self.has_ended.subscribe().wait_for(|has_ended| *has_ended).await;
    }

    pub(super) fn started(&self) -> Option<&Started> {
        self.started.get()
    }

    pub(super) fn limits(&self) -> FileLimits {
        FileLimits { file_bytes: self.settings.file_bytes, files: self.settings.files.max(2) }
    }

    /// Has the writer write the lines of a log.
    pub(super) fn wake_writer(&self, log: Arc<dyn LineSource>) {
        let mut tasks = self.tasks.lock();
        if !tasks.waiting.iter().any(|waiting| is_same_source(waiting, &log)) {
            tasks.waiting.push(log);
        }
        self.wakeup.notify_one();
    }

    /// Has the writer watch for the end of a flood.
    pub(super) fn watch_flood(&self, log: Arc<dyn LineSource>) {
        let mut tasks = self.tasks.lock();
        if !tasks.noisy.iter().any(|noisy| is_same_source(noisy, &log)) {
            tasks.noisy.push(log);
        }
        self.wakeup.notify_one();
    }

    pub(super) fn tasks(&self) -> MutexGuard<'_, WriterTasks> {
        self.tasks.lock()
    }

    /// Waits until there is a task, for at most `limit` if there is one.
    pub(super) fn wait<'a>(
        &'a self,
        mut tasks: MutexGuard<'a, WriterTasks>,
        limit: Option<Duration>,
    ) -> MutexGuard<'a, WriterTasks> {
        match limit {
            Some(limit) => drop(self.wakeup.wait_for(&mut tasks, limit)),
            None => self.wakeup.wait(&mut tasks),
        }
        tasks
    }

    /// Wakes those who follow a log.
    pub(super) fn notify_readers(&self) {
        self.written.send_modify(|groups| *groups += 1);
    }

    pub(super) fn mark_ended(&self) {
        self.has_ended.send_replace(true);
    }

    /// Has the writer write what waits, and end.
    pub(super) fn close(&self) {
        self.tasks.lock().is_closing = true;
        self.wakeup.notify_one();
    }
}

/// Returns the present time.
#[allow(clippy::disallowed_methods, reason = "pipes and disks are real, so their time must be too")]
pub(super) fn now() -> Instant {
    Instant::now()
}

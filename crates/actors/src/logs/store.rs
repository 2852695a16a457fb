//! The logs of one runtime.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use mainstay_runtime::ActorPath;
use mainstay_runtime::journal::Journal;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::process_log::ProcessLog;
use super::writer;
use super::writer_link::{LogSettings, Started, WriterLink};

/// The logs of one runtime. Cheap to clone.
///
/// When the last clone is dropped, what waits is still written.
#[derive(Clone)]
pub struct LogStore(Arc<Inner>);

struct Inner {
    link: Arc<WriterLink>,
    logs: Mutex<BTreeMap<String, ProcessLog>>,
}

impl fmt::Debug for LogStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogStore").field("settings", &self.0.link.settings()).finish_non_exhaustive()
    }
}

impl LogStore {
    /// Creates a store that writes nothing before it is started.
    #[must_use]
    pub fn new(settings: LogSettings) -> Self {
        Self(Arc::new(Inner { link: Arc::new(WriterLink::new(settings)), logs: Mutex::default() }))
    }

    /// Starts the writer. Without a folder, no files are written, and each log has its last lines only. Call it once,
    /// before a program starts.
    ///
    /// A folder that cannot be used is no error: the logs are degraded until it can.
    ///
    /// # Errors
    /// Fails if the system starts no thread.
    pub fn start(&self, dir: Option<&Path>, journal: Journal) -> std::io::Result<()> {
        let link = &self.0.link;
        if link.start(Started { journal, dir: dir.map(Path::to_owned) }) {
            writer::spawn(Arc::clone(link))?;
        }
        Ok(())
    }

    /// Returns the log of a program, which is created if there is none. Its events are recorded under `path`.
    #[must_use]
    pub fn get_or_create(&self, id: &str, path: Option<ActorPath>) -> ProcessLog {
        self.0.link.tasks().known.insert(id.to_owned());
        let mut logs = self.0.logs.lock();
        let create = || {
            ProcessLog::new(id.to_owned(), path, Some(Arc::clone(&self.0.link)), self.0.link.settings().rate)
        };
        logs.entry(id.to_owned()).or_insert_with(create).clone()
    }

    /// Returns the log of a program, if it has one.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<ProcessLog> {
        self.0.logs.lock().get(id).cloned()
    }

    /// Forgets the log of a program that was removed. Its files stay.
    pub fn forget(&self, id: &str) {
        self.0.link.tasks().known.remove(id);
        self.0.logs.lock().remove(id);
    }

    /// Returns the folder of the files, if files are written.
    #[must_use]
    pub fn dir(&self) -> Option<&Path> {
        self.0.link.started()?.dir.as_deref()
    }

    /// Returns the reason why lines are not written, while that is so.
    #[must_use]
    pub fn degraded(&self) -> Option<String> {
        self.0.link.tasks().failure.clone()
    }

    /// Subscribes to the number of groups of lines that were written.
    pub(super) fn written(&self) -> watch::Receiver<u64> {
        self.0.link.written()
    }

    /// Writes what waits, and ends the writer. Nothing is written after that.
    pub async fn close(&self) {
        if self.0.link.started().is_some() {
            self.0.link.close();
            self.0.link.ended().await;
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.link.close();
    }
}

//! The journal: every exit, decision and change, in order, with what caused it.
//!
//! - [`event`](Event): what can be recorded; any crate adds kinds of its own
//! - `line`: one event as one line of JSON with a checksum
//! - `memory`: the newest lines, for subscribers
//! - `segment`: the files on disk; `writer`: the thread that fills them
//! - [`Reader`]: reads the files, in this process or another, while they are written; [`Lines`]: reads one stream
//! - [`Subscription`]: follows the journal from a sequence number: memory first, the disk behind it
//!
//! Recording never blocks: a line is numbered and kept in memory under a short lock, and handed to the writer
//! thread through a bounded channel. When the disk cannot follow, the loss is itself an event
//! (`journal_degraded`) and nothing else stops.

mod event;
mod line;
mod lines;
mod memory;
pub(crate) mod private;
mod reader;
mod record;
mod segment;
mod subscription;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

pub use event::{Event, Level};
pub use line::LineError;
pub use lines::Lines;
pub use reader::{Entry, Reader};
pub use record::Record;
pub use subscription::{Delivery, Subscription};

use crate::clock::Clock;
use crate::path::ActorPath;
use memory::{Line, Memory};
use writer::Writer;

/// How a journal is kept.
#[derive(Clone)]
pub struct JournalConfig {
    /// A segment that has reached this many bytes is closed and the next one begun.
    pub segment_bytes_max: u64,
    /// Segments kept; older ones are deleted.
    pub segments_max: usize,
    /// Lines kept in memory for subscribers.
    pub memory_lines_max: usize,
    /// Whether events that are marked verbose are recorded.
    pub verbose: bool,
    /// Texts that must never reach a file: each occurrence is replaced before a line is made.
    pub secrets: Vec<String>,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self {
            segment_bytes_max: 16 * 1024 * 1024,
            segments_max: 8,
            memory_lines_max: 4096,
            verbose: false,
            secrets: Vec::new(),
        }
    }
}

/// Why a journal could not be opened.
#[derive(Debug, Error)]
pub enum JournalError {
    /// Another process writes to this folder.
    #[error("another runtime is using {dir}", dir = dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder or a file in it could not be read or made.
    #[error("the journal in {dir} cannot be opened: {source}", dir = dir.display())]
    Io {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Lines were lost, or the disk is not being written to. Recorded by the journal itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalDegraded {
    /// What is wrong, or that it is mended.
    pub reason: String,
    /// The first sequence number that is missing on disk, if any is.
    pub lost_from: Option<u64>,
    /// The last sequence number that is missing on disk, if any is.
    pub lost_to: Option<u64>,
}

impl Event for JournalDegraded {
    const KIND: &'static str = "journal_degraded";
    const LEVEL: Level = Level::Warn;
}

/// A handle on the journal. Cheap to clone; all clones write to the same one.
#[derive(Clone)]
pub struct Journal(Arc<Shared>);

struct Shared {
    boot: String,
    clock: Arc<dyn Clock>,
    epoch: Instant,
    began_after: u64,
    config: JournalConfig,
    dir: Option<PathBuf>,
    log: Mutex<Log>,
    newest: watch::Sender<u64>,
    /// Under which path the journal speaks of itself.
    path: ActorPath,
}

/// What is behind the lock: the numbering and everything that must follow its order.
struct Log {
    seq: u64,
    memory: Memory,
    writer: Option<Writer>,
}

impl Journal {
    /// A journal that lives in memory alone.
    #[must_use]
    pub fn in_memory(boot: impl Into<String>, clock: Arc<dyn Clock>, config: JournalConfig) -> Self {
        Self::assemble(boot.into(), clock, config, None, 0, None)
    }

    /// Opens or creates the journal in `dir`, and goes on numbering where the last one ended.
    ///
    /// A last line that was torn off by a crash is cut away; every whole line stays.
    ///
    /// # Errors
    /// When another process writes to `dir`, or when the folder cannot be read or written.
    pub fn open(
        dir: &Path,
        boot: impl Into<String>,
        clock: Arc<dyn Clock>,
        config: JournalConfig,
    ) -> Result<Self, JournalError> {
        let (writer, seq) = Writer::open(dir, &config)?;
        let journal = Self::assemble(boot.into(), clock, config, Some(dir.to_owned()), seq, Some(writer));
        Ok(journal)
    }

    fn assemble(
        boot: String,
        clock: Arc<dyn Clock>,
        config: JournalConfig,
        dir: Option<PathBuf>,
        seq: u64,
        writer: Option<Writer>,
    ) -> Self {
        let memory = Memory::new(config.memory_lines_max);
        let newest = watch::Sender::new(seq);
        let log = Mutex::new(Log { seq, memory, writer });
        #[allow(clippy::disallowed_methods, reason = "tokio's clock is the paused one in tests")]
        let epoch = Instant::now();
        let path = ActorPath::of_journal();
        let shared = Shared { boot, clock, epoch, began_after: seq, config, dir, log, newest, path };
        Self(Arc::new(shared))
    }

    /// Records `event` of `actor`'s incarnation `generation` (0 where there is none). Never blocks.
    pub fn record<E: Event>(&self, actor: &ActorPath, generation: u64, event: &E) {
        if E::VERBOSE && !self.0.config.verbose {
            return;
        }
        let fields = match serde_json::to_string(event) {
            Ok(json) => self.redacted(json),
            Err(error) => {
                let degraded = JournalDegraded {
                    reason: format!("an event of kind {} cannot be written: {error}", E::KIND),
                    lost_from: None,
                    lost_to: None,
                };
                return self.record(actor, generation, &degraded);
            }
        };
        event::trace::<E>(actor, generation, &fields);
        let mut log = self.log();
        if let Some(degraded) = log.writer.as_mut().and_then(Writer::account_for_loss) {
            let account = serde_json::to_string(&degraded).unwrap_or_default();
            self.append(&mut log, JournalDegraded::KIND, &self.0.path, 0, &account);
        }
        self.append(&mut log, E::KIND, actor, generation, &fields);
        let seq = log.seq;
        drop(log);
        self.0.newest.send_replace(seq);
    }

    /// Numbers, keeps and hands on one line.
    fn append(&self, log: &mut Log, kind: &str, actor: &ActorPath, generation: u64, fields: &str) {
        log.seq += 1;
        let header = line::Header {
            seq: log.seq,
            boot: &self.0.boot,
            at: self.wall_time(),
            mono_ms: millis(self.now()),
            actor: actor.as_str(),
            generation,
            kind,
        };
        let line = Arc::new(Line { seq: log.seq, text: line::encode(&header, fields) });
        log.memory.push(Arc::clone(&line));
        if let Some(writer) = &mut log.writer {
            writer.write(line);
        }
    }

    fn redacted(&self, mut json: String) -> String {
        for secret in self.0.config.secrets.iter().filter(|secret| !secret.is_empty()) {
            let escaped = serde_json::to_string(secret).unwrap_or_default();
            let escaped = escaped.trim_matches('"');
            if json.contains(escaped) {
                json = json.replace(escaped, "[redacted]");
            }
        }
        json
    }

    /// Follows the journal from the event after `seq` on. A number that has not been reached yet, as one from another
    /// journal may be, counts as the newest.
    #[must_use]
    pub fn subscribe_after(&self, seq: u64) -> Subscription {
        Subscription::new(self.clone(), seq.min(self.seq()))
    }

    /// The newest sequence number.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.log().seq
    }

    /// The newest sequence number when this run began: its own events come after.
    #[must_use]
    pub fn began_after(&self) -> u64 {
        self.0.began_after
    }

    /// The id of this run.
    #[must_use]
    pub fn boot(&self) -> &str {
        &self.0.boot
    }

    /// The folder on disk, if there is one.
    #[must_use]
    pub fn dir(&self) -> Option<&Path> {
        self.0.dir.as_deref()
    }

    /// The time since the journal was opened, in whole milliseconds: what `mono_ms` says.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_millis(millis(self.0.epoch.elapsed()))
    }

    /// The wall time now.
    #[must_use]
    pub fn wall_time(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// The instant that [`now`](Self::now) counts from.
    #[must_use]
    pub fn epoch(&self) -> Instant {
        self.0.epoch
    }

    /// Returns when everything recorded so far is on disk, or has failed to get there.
    pub async fn flush(&self) {
        let written = {
            let (done, written) = oneshot::channel();
            match &mut self.log().writer {
                Some(writer) => writer.flush(done),
                None => return,
            }
            written
        };
        // An error says that the writer has ended, and then there is nothing left to wait for.
        let _ = written.await;
    }

    /// Writes what was recorded, ends the writer and gives the folder free. What is recorded after this stays in
    /// memory.
    pub async fn close(&self) {
        let writer = self.log().writer.take();
        if let Some(writer) = writer {
            // The join fails only if the thread panicked or the process is ending: there is nothing left to close.
            let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whole milliseconds of `duration`.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

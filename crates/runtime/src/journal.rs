//! The journal: every exit, decision and change, in order, with what caused it.
//!
//! - [`event`](Event): what can be recorded; any crate adds kinds of its own
//! - [`Redaction`]: takes secrets out; `line`: one event as one line of JSON with a checksum
//! - `log`: the numbering; `memory`: the newest lines; `ledger`: both, shared, and who wakes whom
//! - `numbers`: which numbers are spoken for; `segment`: the files on disk; `files`: the folder with both
//! - `writer`: the thread that brings lines to disk
//! - [`Reader`]: reads the files, in this process or another, while they are written; [`Lines`]: reads one stream
//! - [`Subscription`]: follows the journal from a sequence number: memory first, the disk behind it
//!
//! Recording never blocks: a line is numbered and kept in memory under a short lock, and the writer takes it from
//! there. When the disk cannot follow, that is itself an event (`journal_degraded`), the lines that are lost are named,
//! and nothing else stops.
//!
//! A number is never given twice, by this run or a later one: lines are shown only under numbers that have been reserved
//! on disk. After a run that did not end in order, the numbers that it had reserved and not written are left out; readers
//! say so ([`Entry::Missing`]), and so does the next run's first event.

mod config;
mod degraded;
mod error;
mod event;
mod files;
mod shared_log;
mod line;
mod lines;
mod log;
mod recent_lines;
mod numbers;
pub(crate) mod permissions;
mod reader;
mod record;
mod redaction;
mod segment;
mod timestamp;
mod subscription;
mod writer;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

pub use config::JournalConfig;
pub use degraded::JournalDegraded;
pub use error::{JournalError, JournalLoss};
pub use event::{Event, Level};
pub use line::LineError;
pub use lines::Lines;
pub use reader::{Entry, Reader};
pub use record::Record;
pub use redaction::Redaction;
pub use subscription::{Delivery, Subscription};

use crate::clock::Clock;
use crate::path::ActorPath;
use files::{Disk, JournalFiles, RecoveredState};
use shared_log::SharedLog;
use log::{DiskBacklog, Log, RESERVED_NUMBERS};

/// The longest event, as JSON. A line that holds one is well within what readers take.
const EVENT_BYTES_MAX: usize = 1024 * 1024;
/// Most events need no more room than this.
const EVENT_BYTES_TYPICAL: usize = 512;

/// A handle on the journal. Cheap to clone; all clones write to the same one.
///
/// When the last one is dropped, what was recorded is still written, but nobody waits for it: see
/// [`close`](Self::close).
#[derive(Clone)]
pub struct Journal(Arc<Inner>);

struct Inner {
    boot: String,
    seq_before_run: u64,
    is_verbose: bool,
    dir: Option<PathBuf>,
    shared_log: Arc<SharedLog>,
}

impl Journal {
    /// A journal that lives in memory alone.
    #[must_use]
    pub fn in_memory(boot: impl Into<String>, clock: Arc<dyn Clock>, config: JournalConfig) -> Self {
        Self::new(boot.into(), clock, &config, None, 0, None)
    }

    /// Opens or creates the journal in `dir`, and goes on numbering after every number that was ever given.
    ///
    /// A last line that was torn off by a crash is cut away; every whole line stays. If the last run lost lines, or did not
    /// end in order, the first event is a [`JournalDegraded`] that names the numbers that are not there.
    ///
    /// # Errors
    /// When another process writes to `dir`, or when the folder cannot be read or written.
    pub fn open(
        dir: &Path,
        boot: impl Into<String>,
        clock: Arc<dyn Clock>,
        config: JournalConfig,
    ) -> Result<Self, JournalError> {
        let (files, legacy) = JournalFiles::open(dir, &config)?;
        let dir = dir.to_owned();
        let started = Self::on_disk(
            Some(dir.clone()),
            boot.into(),
            clock,
            &config,
            files,
            &legacy,
            writer::RETRY_DELAY,
        );
        started.map_err(|source| JournalError::Io { dir, source })
    }

    fn on_disk(
        dir: Option<PathBuf>,
        boot: String,
        clock: Arc<dyn Clock>,
        config: &JournalConfig,
        mut disk: impl Disk,
        legacy: &RecoveredState,
        retry_after: Duration,
    ) -> std::io::Result<Self> {
        let reserved = disk.reserve(legacy.last_seq + RESERVED_NUMBERS);
        let debt =
            DiskBacklog::empty(legacy.last_seq, reserved.as_ref().map_or(u64::MAX, |()| legacy.last_seq + RESERVED_NUMBERS));
        let journal = Self::new(boot, clock, config, dir, legacy.last_seq, Some(debt));
        let ledger = &journal.0.shared_log;
        legacy.to_event().into_iter().for_each(|account| ledger.record_internal(&account));
        if let Err(error) = reserved {
            ledger.record_internal(&writer::no_numbers(&error));
        }
        writer::spawn(Arc::clone(ledger), disk, retry_after)?;
        Ok(journal)
    }

    fn new(
        boot: String,
        clock: Arc<dyn Clock>,
        config: &JournalConfig,
        dir: Option<PathBuf>,
        seq: u64,
        debt: Option<DiskBacklog>,
    ) -> Self {
        let redaction = Redaction::new(&config.secrets);
        let log = Log::new(&redaction.redact(&boot), seq, config.memory_lines_max, debt);
        let ledger = Arc::new(SharedLog::new(log, clock, redaction));
        Self(Arc::new(Inner { boot, seq_before_run: seq, is_verbose: config.verbose, dir, shared_log: ledger }))
    }

    /// Records `event` of `actor`'s incarnation `generation` (0 where there is none). Never blocks and never fails: an event
    /// that cannot be written, because it is no JSON object or has more than 1 MiB, is replaced by a [`JournalDegraded`].
    ///
    /// After [`close`](Self::close) the event goes to `tracing` alone.
    pub fn record<E: Event>(&self, actor: &ActorPath, generation: u64, event: &E) {
        if !self.should_record::<E>() {
            return;
        }
        match to_json_object(event) {
            Ok(fields) => self.0.shared_log.record::<E>(actor, generation, &fields),
            Err(why) => {
                let reason = format!("an event of kind {} was left out: {why}", E::KIND);
                self.record(actor, generation, &JournalDegraded::new(reason, None));
            }
        }
    }

    /// Whether events of this kind are recorded: those that are verbose only if the journal is.
    #[must_use]
    pub fn should_record<E: Event>(&self) -> bool {
        !E::VERBOSE || self.0.is_verbose
    }

    /// The text without what must not be told, as the journal would write it.
    #[must_use]
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.0.shared_log.redact(text)
    }

    /// Follows the journal from the event after `seq` on. A number that has not been reached yet, as one from another
    /// journal may be, counts as the newest.
    #[must_use]
    pub fn subscribe_after(&self, seq: u64) -> Subscription {
        Subscription::new(self.clone(), seq.min(self.seq()))
    }

    /// The newest sequence number that a subscriber can have.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.0.shared_log.log().visible_seq()
    }

    /// The newest sequence number that may have been given when this run began: its own events come after.
    #[must_use]
    pub fn seq_before_run(&self) -> u64 {
        self.0.seq_before_run
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
        Duration::from_millis(millis(self.epoch().elapsed()))
    }

    /// The wall time now.
    #[must_use]
    pub fn wall_time(&self) -> Timestamp {
        self.0.shared_log.wall_time()
    }

    /// The instant that [`now`](Self::now) counts from.
    #[must_use]
    pub fn epoch(&self) -> Instant {
        self.0.shared_log.epoch()
    }

    /// Returns when everything recorded so far is on disk, or when the disk refuses it.
    pub async fn flush(&self) {
        let newest = self.0.shared_log.log().newest_seq();
        self.0.shared_log.wait_until_written(newest).await;
    }

    /// Writes what was recorded, ends the writer and gives the folder free. A journal in memory goes on as before. May be
    /// called again, to learn how it ended.
    ///
    /// # Errors
    /// When the disk refused the last lines to the end. They are lost; subscribers still get those that memory has.
    pub async fn close(&self) -> Result<(), JournalLoss> {
        self.0.shared_log.request_close();
        self.0.shared_log.wait_until_closed().await
    }
}

#[cfg(test)]
impl Journal {
    /// Keeps the journal's lock for as long as what is returned lives.
    pub(crate) fn lock(&self) -> impl Drop {
        self.0.shared_log.log()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared_log.request_close();
    }
}

/// The event's own JSON object, or what is wrong with it.
fn to_json_object<E: Event>(event: &E) -> Result<String, String> {
    let mut json = Vec::with_capacity(EVENT_BYTES_TYPICAL);
    serde_json::to_writer(&mut json, event).map_err(|error| error.to_string())?;
    let json = String::from_utf8(json).map_err(|error| error.to_string())?;
    if !json.starts_with('{') {
        return Err("it does not serialise to a JSON object".to_owned());
    }
    if json.len() > EVENT_BYTES_MAX {
        return Err(format!("it has {} bytes, and {EVENT_BYTES_MAX} are allowed", json.len()));
    }
    Ok(json)
}

/// Whole milliseconds of `duration`.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

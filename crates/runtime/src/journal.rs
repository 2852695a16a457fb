//! The journal: every exit, decision and change, in order, with its cause.
//!
//! - [`Event`]: a kind of event; every crate adds its own kinds; [`EventType`]: such a kind as data
//! - [`Redaction`]: removes secrets, `known_secrets` has those known so far; `line`: encodes one event as a line of JSON with a checksum
//! - [`Cursor`]: the place of an event, `RUN.SEQ`
//! - `log`: the numbering; `recent_lines`: the newest lines; `shared_log`: both behind a lock, with their wake-ups
//! - [`Timeline`]: the wall time of each moment of the run
//! - `segment`: the files on disk; `files`: the folder that holds them
//! - `writer`: the thread that writes lines to disk
//! - [`Reader`]: reads the files while this process or another one writes them; [`Lines`]: reads one stream
//! - [`JournalSubscription`]: follows the journal from a cursor, from memory or else from disk
//!
//! Recording never blocks. A line is numbered and kept in memory under a short lock, and the writer takes it from
//! there. When the disk cannot follow, the event `journal_degraded` says so and names the lines that are lost.
//! Nothing else stops.
//!
//! # Runs
//!
//! Opening a folder's journal begins a run. Its number is the largest in the folder plus one. Within the run, events
//! are numbered 1, 2, 3 …. A run that ends without notice leaves no hole, because the next one begins at 1 again. The
//! first event of that next run says where the run ended ([`RunInterrupted`]).
//!
//! A subscriber may have seen events that a crash kept from the disk. Its cursor then lies beyond the last event of
//! that run. It continues with the first event of the next run, so no event is missing and none comes twice. That
//! requires that no two runs have the same number, so a run's events become visible only once its first line is on
//! disk. If the disk refuses even that line, events become visible all the same, and `journal_degraded` warns that
//! the number may be used again.

mod cursor;
mod degraded;
mod error;
mod event;
mod event_type;
mod files;
mod interrupted;
mod known_secrets;
mod line;
mod line_head;
mod lines;
mod log;
mod options;
mod reader;
mod recent_lines;
mod record;
mod redaction;
mod segment;
mod shared_log;
mod subscription;
mod timeline;
mod timestamp;
mod wording;
mod writer;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

pub use cursor::{Cursor, ParseCursorError};
pub use degraded::{FaultPhase, JournalDegraded};
pub use error::{JournalError, JournalLoss};
pub use event::{Event, Level};
pub use event_type::EventType;
pub use interrupted::RunInterrupted;
pub use known_secrets::KnownSecrets;
pub use line::LineError;
pub use line_head::LineHead;
pub use lines::Lines;
pub use options::JournalOptions;
pub use reader::{Entry, Reader, segment_files};
pub(crate) use record::RUN_END_KIND;
pub use record::Record;
pub use redaction::Redaction;
pub use subscription::{Delivery, JournalSubscription};
pub use timeline::Timeline;
pub use wording::{count, escape_controls, escape_json_controls, millis_text, word};

use crate::clock::Clock;
use crate::path::ActorPath;
use files::{Disk, JournalFiles, RecoveredState};
use log::{DiskBacklog, Log};
use shared_log::SharedLog;

/// The longest event, in bytes of JSON. Readers take longer lines than one that holds it.
const EVENT_BYTES_MAX: usize = 1024 * 1024;
/// Room, in bytes, that suffices for most events.
const EVENT_BYTES_TYPICAL: usize = 512;

/// A handle on the journal. Cheap to clone; all clones write to the same journal.
///
/// Dropping the last handle still writes what was recorded, without waiting for it: see [`close`](Self::close).
#[derive(Clone)]
pub struct Journal(Arc<Inner>);

struct Inner {
    boot: String,
    is_verbose: bool,
    dir: Option<PathBuf>,
    log: Arc<SharedLog>,
}

impl Journal {
    /// Makes a journal that lives in memory only. It has one run, number 1.
    #[must_use]
    pub fn in_memory(boot: impl Into<String>, clock: Arc<dyn Clock>, options: JournalOptions) -> Self {
        Self::new(boot.into(), clock, &options, None, 1, None)
    }

    /// Opens or creates the journal in `dir`, and begins the next run.
    ///
    /// A last line that a crash tore off is cut away; every whole line stays. If the previous run ended without
    /// notice, the first event is a [`RunInterrupted`]. Files of an earlier format, whose events have no run, are
    /// neither read nor deleted.
    ///
    /// # Errors
    /// Returns an error if another process writes to `dir`, or if the folder cannot be read or written.
    pub fn open(
        dir: &Path,
        boot: impl Into<String>,
        clock: Arc<dyn Clock>,
        options: JournalOptions,
    ) -> Result<Self, JournalError> {
        let (files, recovered) = JournalFiles::open(dir, &options)?;
        let place = Some(dir.to_owned());
        Self::on_disk(place, boot.into(), clock, &options, (files, recovered), writer::RETRY_DELAY)
            .map_err(|source| JournalError::Io { dir: dir.to_owned(), source })
    }

    fn on_disk(
        dir: Option<PathBuf>,
        boot: String,
        clock: Arc<dyn Clock>,
        options: &JournalOptions,
        (disk, recovered): (impl Disk, RecoveredState),
        retry_after: Duration,
    ) -> std::io::Result<Self> {
        let journal = Self::new(boot, clock, options, dir, recovered.run, Some(DiskBacklog::empty()));
        let log = &journal.0.log;
        if let Some(last_event) = recovered.interrupted_after {
            log.record_internal(&RunInterrupted { last_event });
        }
        writer::spawn(Arc::clone(log), disk, retry_after)?;
        Ok(journal)
    }

    fn new(
        boot: String,
        clock: Arc<dyn Clock>,
        options: &JournalOptions,
        dir: Option<PathBuf>,
        run: u64,
        backlog: Option<DiskBacklog>,
    ) -> Self {
        let log = Log::new(run, options.memory_lines_max, backlog);
        let log = Arc::new(SharedLog::new(log, clock, options.secrets.clone()));
        Self(Arc::new(Inner { boot, is_verbose: options.verbose, dir, log }))
    }

    /// Records `event` of `actor`'s incarnation `generation` (0 if there is none). Never blocks and never fails. An
    /// event that is not a JSON object, or is longer than 1 MiB, is replaced by a [`JournalDegraded`].
    ///
    /// After [`close`](Self::close) the event goes to `tracing` only.
    pub fn record<E: Event>(&self, actor: &ActorPath, generation: u64, event: &E) {
        if !self.should_record::<E>() {
            return;
        }
        match to_json_object(event) {
            Ok(fields) => self.0.log.record(actor, generation, event, &fields),
            Err(why) => {
                let reason = format!("an event of kind {} was left out: {why}", E::KIND);
                self.record(actor, generation, &JournalDegraded::new(reason, None));
            }
        }
    }

    /// Returns whether events of this kind are recorded. Verbose kinds need a verbose journal.
    #[must_use]
    pub fn should_record<E: Event>(&self) -> bool {
        !E::VERBOSE || self.0.is_verbose
    }

    /// Returns the text with its secrets redacted, as the journal would write it.
    #[must_use]
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.0.log.redact(text)
    }

    /// Redacts these texts as well, in every event from now on: see [`KnownSecrets::add`].
    pub fn add_secrets(&self, secrets: impl IntoIterator<Item = String>) {
        self.0.log.add_secrets(secrets);
    }

    /// Follows the journal from the oldest event that is kept.
    #[must_use]
    pub fn subscribe(&self) -> JournalSubscription {
        self.subscribe_after(Cursor::START)
    }

    /// Follows the journal from the event after `cursor`, across runs.
    ///
    /// A cursor beyond the last event of an earlier run continues with the first event of the next run. A cursor
    /// beyond this run, as one of another folder may be, counts as the newest.
    #[must_use]
    pub fn subscribe_after(&self, cursor: Cursor) -> JournalSubscription {
        let has_earlier_runs = self.0.dir.is_some() && self.run() > 1;
        let oldest = if has_earlier_runs { Cursor::START } else { self.run_start() };
        JournalSubscription::new(self.clone(), cursor.min(self.cursor()).max(oldest))
    }

    /// Returns the newest place that a subscriber can have reached.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        let log = self.0.log.log();
        Cursor::new(log.run(), log.visible_seq())
    }

    /// Returns the last events of an actor that memory still has, at most `count`, oldest first.
    #[must_use]
    pub fn last_events(&self, actor: &ActorPath, count: usize) -> Vec<Record> {
        // Parsing takes longer than the lock should be held.
        let lines = self.0.log.log().visible_lines();
        let actor = self.redact(actor.as_str());
        let member = serde_json::to_string(actor.as_ref()).unwrap_or_default();
        let mut records: Vec<Record> = lines
            .iter()
            .rev()
            .filter(|line| line.contains(&member))
            .filter_map(|line| Record::parse(line).ok())
            .filter(|record| record.actor == actor)
            .take(count)
            .collect();
        records.reverse();
        records
    }

    /// Returns the number of this run, from 1.
    #[must_use]
    pub fn run(&self) -> u64 {
        self.0.log.log().run()
    }

    /// Returns the place before every event of this run.
    #[must_use]
    pub fn run_start(&self) -> Cursor {
        Cursor::new(self.run(), 0)
    }

    /// Returns the random id of this run. It differs in every run of every folder.
    #[must_use]
    pub fn boot(&self) -> &str {
        &self.0.boot
    }

    /// Returns the folder on disk, if there is one.
    #[must_use]
    pub fn dir(&self) -> Option<&Path> {
        self.0.dir.as_deref()
    }

    /// Returns the time since the journal was opened, in whole milliseconds, as `mono_ms` has it.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.0.log.read_clocks().0
    }

    /// Returns the wall time now.
    #[must_use]
    pub fn wall_time(&self) -> Timestamp {
        self.0.log.read_clocks().1
    }

    /// Returns the dates of this run's times: a past time keeps its date, whatever the wall clock does later.
    #[must_use]
    pub fn timeline(&self) -> Arc<Timeline> {
        self.0.log.timeline()
    }

    /// Returns the instant from which [`now`](Self::now) counts.
    #[must_use]
    pub fn epoch(&self) -> Instant {
        self.0.log.epoch()
    }

    /// Returns why the disk does not take lines, as long as that is so.
    #[must_use]
    pub fn degraded(&self) -> Option<String> {
        self.0.log.log().backlog.as_ref().and_then(|backlog| backlog.refusal.clone())
    }

    /// Returns when everything recorded so far is on disk, or when the disk refuses it.
    pub async fn flush(&self) {
        let newest = self.0.log.log().newest_seq();
        self.0.log.wait_until_written(newest).await;
    }

    /// Writes what was recorded, ends the writer and releases the folder. A journal in memory continues as before.
    /// May be called again, to learn the outcome.
    ///
    /// # Errors
    /// Returns an error if the disk refused the last lines until the end. They are lost on disk; subscribers still
    /// get those that memory has.
    pub async fn close(&self) -> Result<(), JournalLoss> {
        self.0.log.request_close();
        self.0.log.wait_until_closed().await
    }
}

#[cfg(test)]
impl Journal {
    /// Keeps the journal's lock until the returned guard is dropped.
    pub(crate) fn lock(&self) -> impl Drop {
        self.0.log.log()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.log.request_close();
    }
}

/// Returns the event's own JSON object, or what is wrong with it.
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

/// Returns the whole milliseconds of `duration`.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

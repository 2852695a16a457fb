//! The thread that brings lines to disk: in groups, synced once a group.
//!
//! It is a thread and not a task because file systems block. It ends when the ledger asks it to, after it has written what
//! there is.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::degraded::JournalDegraded;
use super::error::JournalLoss;
use super::files::Disk;
use super::shared_log::SharedLog;
use super::log::{DiskBacklog, RESERVED_NUMBERS};

/// How long the first line of a group waits for others. Each group costs a wake-up of this thread and a sync: so a burst
/// costs few of them, and a line is not much later on disk than the sync alone would make it.
const BATCH_DELAY: Duration = Duration::from_millis(2);
/// How long the thread waits before it tries a disk again that refused.
pub(super) const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Starts the thread.
pub(super) fn spawn(ledger: Arc<SharedLog>, disk: impl Disk, retry_after: Duration) -> io::Result<()> {
    // Where the disk has let no numbers be reserved so far, that is tried again with each group.
    let are_numbers_refused = ledger.log().backlog.as_ref().is_some_and(|debt| debt.reserved == u64::MAX);
    let writer = JournalWriter {
        shared_log: Arc::clone(&ledger),
        disk,
        retry_delay: retry_after,
        retry_at: None,
        are_numbers_refused,
        reported_drops: 0,
    };
    let run = move || {
        let ending = ExitGuard { shared_log: ledger, outcome: None };
        ending.finish(writer.run());
    };
    thread::Builder::new().name("mainstay-journal".to_owned()).spawn(run).map(drop)
}

struct JournalWriter<D> {
    shared_log: Arc<SharedLog>,
    disk: D,
    retry_delay: Duration,
    /// When a disk that refused is tried again.
    retry_at: Option<Instant>,
    are_numbers_refused: bool,
    /// Lines lost since the disk began to refuse, as far as it was told.
    reported_drops: u64,
}

/// What there is to do.
struct WriterWork {
    /// Numbers up to this one are to be reserved.
    reserve: Option<u64>,
    /// The lines in hand are to be written.
    should_write: bool,
    /// Lines that there was no room for.
    lost_range: Option<(u64, u64)>,
    is_closing: bool,
}

/// What became of a group.
struct WriteOutcome {
    /// The disk took some of it.
    wrote_any: bool,
    outcome: io::Result<()>,
}

impl<D: Disk> JournalWriter<D> {
    /// Writes until it is asked to end. The disk is given free when this returns.
    fn run(mut self) -> Result<(), JournalLoss> {
        loop {
            let turn = self.next_work();
            if let Some(through) = turn.reserve {
                self.reserve(through);
            }
            if turn.lost_range.is_some() {
                self.record_degraded("the disk could not follow; these lines were never written", turn.lost_range);
            }
            let written = if turn.should_write { self.write() } else { WriteOutcome { wrote_any: false, outcome: Ok(()) } };
            if turn.is_closing
                && let Some(end) = self.try_finish(written)
            {
                return end;
            }
        }
    }

    fn next_work(&mut self) -> WriterWork {
        let ledger = Arc::clone(&self.shared_log);
        let mut log = ledger.log();
        let mut has_gathered = false;
        loop {
            let is_closing = log.backlog.as_ref().is_some_and(|debt| debt.is_closing);
            let may_write = is_closing || self.retry_at.is_none_or(|at| at <= now());
            let writes = may_write && log.has_unwritten();
            let reserves = log.is_short() || self.are_numbers_refused && writes;
            if !is_closing && !writes && !reserves {
                let patience = self.retry_at.map(|at| at.saturating_duration_since(now()));
                log = ledger.wait_for_work(log, patience);
                continue;
            }
            if writes && !has_gathered && !log.must_flush() {
                log = ledger.wait_for_batch(log, BATCH_DELAY);
                has_gathered = true;
                continue;
            }
            let reserve = reserves.then(|| log.newest_seq() + RESERVED_NUMBERS);
            let lost = if writes { log.take_batch() } else { None };
            return WriterWork { reserve, should_write: writes, lost_range: lost, is_closing };
        }
    }

    fn reserve(&mut self, through: u64) {
        let outcome = self.disk.reserve(through);
        let was_refused = std::mem::replace(&mut self.are_numbers_refused, outcome.is_err());
        // Where none can be reserved, lines are shown all the same.
        self.update_backlog(|debt| debt.reserved = if outcome.is_ok() { through } else { u64::MAX });
        self.shared_log.notify_subscribers();
        if let Err(error) = outcome
            && !was_refused
        {
            self.shared_log.record_internal(&no_numbers(&error));
        }
    }

    /// Writes the lines in hand.
    fn write(&mut self) -> WriteOutcome {
        let (first_seq, lines) = self.current_batch();
        let (taken, outcome) = self.disk.append(first_seq, &lines);
        let settled = self.shared_log.log().mark_written(taken);
        drop((lines, settled));
        match &outcome {
            Ok(()) => self.recover(),
            Err(error) => self.back_off(error),
        }
        self.shared_log.notify_flush_waiters();
        WriteOutcome { wrote_any: taken > 0, outcome }
    }

    fn recover(&mut self) {
        if self.retry_at.take().is_some() {
            self.update_backlog(|debt| debt.is_failing = false);
            // What comes next is taken in hand before this is told: memory may be full.
            let lost = self.shared_log.log().take_batch();
            self.record_degraded("the disk takes lines again", lost);
        }
    }

    fn back_off(&mut self, error: &io::Error) {
        let was_refusing = self.retry_at.replace(now() + self.retry_delay).is_some();
        if !was_refusing {
            self.update_backlog(|debt| debt.is_failing = true);
            self.reported_drops = 0;
            self.record_degraded(&format!("the disk refuses lines, they wait in memory: {error}"), None);
            return;
        }
        let dropped = self.shared_log.log().dropped_count();
        if dropped > self.reported_drops {
            self.record_degraded(&format!("the disk still refuses lines, {dropped} are lost so far: {error}"), None);
            // What was just told may have taken the room of another one.
            self.reported_drops = self.shared_log.log().dropped_count();
        }
    }

    fn current_batch(&self) -> (u64, Vec<Arc<str>>) {
        let log = self.shared_log.log();
        log.backlog
            .as_ref()
            .map_or((0, Vec::new()), |debt| (debt.settled_seq + 1, debt.batch.iter().cloned().collect()))
    }

    fn update_backlog(&self, change: impl FnOnce(&mut DiskBacklog)) {
        if let Some(debt) = &mut self.shared_log.log().backlog {
            change(debt);
        }
    }

    fn record_degraded(&self, reason: &str, lost: Option<(u64, u64)>) {
        self.shared_log.record_internal(&JournalDegraded::new(reason, lost));
    }

    /// How it ends, once nothing more can be done: everything is written, or the disk takes no more.
    fn try_finish(&mut self, written: WriteOutcome) -> Option<Result<(), JournalLoss>> {
        let (is_owed, settled, newest) = {
            let log = self.shared_log.log();
            (log.has_unwritten(), log.backlog.as_ref().map_or(0, |debt| debt.settled_seq), log.newest_seq())
        };
        let end = match written.outcome {
            Err(error) if !written.wrote_any => {
                Err(JournalLoss { from: settled + 1, to: newest, reason: error.to_string() })
            }
            _ if is_owed => return None,
            _ => Ok(()),
        };
        if let Err(error) = self.disk.finish(newest) {
            // The next run takes it for one that did not end in order, and leaves numbers out.
            tracing::warn!(target: "mainstay", %error, "the end of the journal cannot be noted");
        }
        Some(end)
    }
}

/// What there is to say when numbers cannot be reserved.
pub(super) fn no_numbers(error: &io::Error) -> JournalDegraded {
    let said = "no numbers can be reserved; if this run does not end in order, some may come again";
    JournalDegraded::new(format!("{said}: {error}"), None)
}

#[allow(clippy::disallowed_methods, reason = "the disk is real, and so is the time that it is given")]
fn now() -> Instant {
    Instant::now()
}

/// Says how the writer ended, also if it panicked.
struct ExitGuard {
    shared_log: Arc<SharedLog>,
    outcome: Option<Result<(), JournalLoss>>,
}

impl ExitGuard {
    fn finish(mut self, outcome: Result<(), JournalLoss>) {
        self.outcome = Some(outcome);
    }
}

impl Drop for ExitGuard {
    fn drop(&mut self) {
        let mut log = self.shared_log.log();
        let newest = log.newest_seq();
        if let Some(debt) = &mut log.backlog {
            let outcome = self.outcome.take().unwrap_or_else(|| {
                let reason = "the thread that writes it has ended".to_owned();
                Err(JournalLoss { from: debt.settled_seq + 1, to: newest, reason })
            });
            if let Err(loss) = &outcome {
                tracing::error!(target: "mainstay", from = loss.from, to = loss.to, "{loss}");
            }
            debt.reserved = u64::MAX;
            debt.writer_result = Some(outcome);
        }
        drop(log);
        self.shared_log.notify_subscribers();
        self.shared_log.notify_flush_waiters();
    }
}

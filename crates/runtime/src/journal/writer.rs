//! The thread that writes lines to disk, in groups that are synced once each.
//!
//! It is a thread and not a task because file systems block. It ends on request, after it has written everything.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::degraded::{FaultPhase, JournalDegraded};
use super::error::JournalLoss;
use super::files::{Disk, WriteOutcome};
use super::log::{Demand, DiskState, WriterState};
use super::shared_log::SharedLog;

/// The time that the first line of a group waits for others. Each group costs a wake-up of this thread and a sync, so
/// a burst costs few of them. The sync alone takes about as long, so a line is hardly later on disk.
const BATCH_DELAY: Duration = Duration::from_millis(2);
/// The time that the thread waits before it tries a disk again that refused.
pub(super) const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Starts the thread.
pub(super) fn spawn(log: Arc<SharedLog>, disk: impl Disk, retry_delay: Duration) -> io::Result<()> {
    let writer =
        JournalWriter { log: Arc::clone(&log), disk, retry_delay, retry_at: None, reported_drops: 0 };
    let run = move || {
        let guard = ExitGuard { log, outcome: None };
        guard.report(writer.run());
    };
    thread::Builder::new().name("mainstay-journal".to_owned()).spawn(run).map(drop)
}

struct JournalWriter<D> {
    log: Arc<SharedLog>,
    disk: D,
    retry_delay: Duration,
    /// The time of the next attempt after the disk refused.
    retry_at: Option<Instant>,
    /// The number of lines lost since the disk began to refuse, as last reported in an event.
    reported_drops: u64,
}

/// The writer's next step.
struct WriteBatch {
    /// True if there are lines to write.
    has_lines: bool,
    /// The first and the last line that found no room.
    lost_range: Option<(u64, u64)>,
    is_closing: bool,
}

impl<D: Disk> JournalWriter<D> {
    /// Writes until it is asked to end. The disk is closed when this returns.
    fn run(mut self) -> Result<(), JournalLoss> {
        loop {
            let batch = self.next_batch();
            if batch.lost_range.is_some() {
                self.record_degraded(
                    "the disk could not follow; these lines were never written",
                    FaultPhase::Once,
                    batch.lost_range,
                );
            }
            let outcome = if batch.has_lines { self.write() } else { WriteOutcome::nothing() };
            if batch.is_closing
                && let Some(end) = self.finish(outcome)
            {
                return end;
            }
        }
    }

    fn next_batch(&mut self) -> WriteBatch {
        let shared = Arc::clone(&self.log);
        let mut log = shared.log();
        let mut has_gathered = false;
        loop {
            let is_closing = log.backlog.as_ref().is_some_and(|backlog| backlog.demand == Demand::Close);
            let may_write = is_closing || self.retry_at.is_none_or(|at| at <= now());
            let has_lines = may_write && log.is_behind();
            if !is_closing && !has_lines {
                let limit = self.retry_at.map(|at| at.saturating_duration_since(now()));
                log = shared.wait_for_work(log, limit);
                continue;
            }
            if has_lines && !has_gathered && !log.must_flush() {
                log = shared.wait_for_batch(log, BATCH_DELAY);
                has_gathered = true;
                continue;
            }
            let lost_range = if has_lines { log.take_batch() } else { None };
            return WriteBatch { has_lines, lost_range, is_closing };
        }
    }

    fn write(&mut self) -> WriteOutcome {
        let (first_seq, lines) = self.batch();
        let mut outcome = self.disk.append(first_seq, &lines);
        let (settled, was_hidden) = {
            let mut log = self.log.log();
            let was_hidden = log.visible_seq() < log.newest_seq();
            (log.mark_written(outcome.written), was_hidden)
        };
        drop((lines, settled));
        if was_hidden {
            self.log.notify_subscribers();
        }
        if let Some(lost) = outcome.lost.take() {
            self.log.record_internal(&lost);
        }
        match &outcome.result {
            Ok(()) => self.recover(),
            Err(error) => self.back_off(error),
        }
        self.log.notify_flush_waiters();
        outcome
    }

    fn recover(&mut self) {
        if self.retry_at.take().is_some() {
            self.set_disk(DiskState::Taking);
            self.set_refusal(None);
            // The next batch is taken before this is recorded, because memory may be full.
            let lost = self.log.log().take_batch();
            self.record_degraded("the disk takes lines again", FaultPhase::Ends, lost);
        }
    }

    fn back_off(&mut self, error: &io::Error) {
        let was_refusing = self.retry_at.replace(now() + self.retry_delay).is_some();
        self.set_refusal(Some(error.to_string()));
        if !was_refusing {
            let has_nothing = self.set_disk(DiskState::Refusing) == Some(DiskState::Empty);
            self.reported_drops = 0;
            // No event of this run is on disk, and its events are shown from now on.
            let warning = if has_nothing {
                "; if the process is killed now, a later run has this run's number"
            } else {
                ""
            };
            let reason = format!("the disk refuses lines, they wait in memory: {error}{warning}");
            self.record_degraded(&reason, FaultPhase::Begins, None);
            return;
        }
        let dropped = self.log.log().dropped_count();
        if dropped > self.reported_drops {
            let reason = format!("the disk still refuses lines, {dropped} are lost so far: {error}");
            self.record_degraded(&reason, FaultPhase::Begins, None);
            // That line may have taken the place of another one.
            self.reported_drops = self.log.log().dropped_count();
        }
    }

    fn batch(&self) -> (u64, Vec<Arc<str>>) {
        let log = self.log.log();
        let batch = log.backlog.as_ref();
        batch.map_or((0, Vec::new()), |backlog| {
            (backlog.settled_seq + 1, backlog.batch.iter().cloned().collect())
        })
    }

    /// Sets the disk's state, and returns the previous one.
    fn set_disk(&self, state: DiskState) -> Option<DiskState> {
        let mut log = self.log.log();
        log.backlog.as_mut().map(|backlog| std::mem::replace(&mut backlog.disk, state))
    }

    fn set_refusal(&self, refusal: Option<String>) {
        if let Some(backlog) = &mut self.log.log().backlog {
            backlog.refusal = refusal;
        }
    }

    fn record_degraded(&self, reason: &str, phase: FaultPhase, lost: Option<(u64, u64)>) {
        self.log.record_internal(&JournalDegraded::new(reason, lost).with_phase(phase));
    }

    /// Returns the writer's outcome, once everything is written or the disk takes nothing more.
    fn finish(&self, outcome: WriteOutcome) -> Option<Result<(), JournalLoss>> {
        let log = self.log.log();
        match outcome.result {
            Err(error) if outcome.written == 0 => Some(Err(log.loss(error.to_string()))),
            _ if log.is_behind() => None,
            _ => Some(Ok(())),
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the disk is real, so its time must be too")]
fn now() -> Instant {
    Instant::now()
}

/// A guard that reports the writer's outcome, also if it panicked.
struct ExitGuard {
    log: Arc<SharedLog>,
    outcome: Option<Result<(), JournalLoss>>,
}

impl ExitGuard {
    fn report(mut self, outcome: Result<(), JournalLoss>) {
        self.outcome = Some(outcome);
    }
}

impl Drop for ExitGuard {
    fn drop(&mut self) {
        let mut log = self.log.log();
        let panicked = log.loss("the thread that writes it has ended".to_owned());
        if let Some(backlog) = &mut log.backlog {
            let outcome = self.outcome.take().unwrap_or(Err(panicked));
            if let Err(loss) = &outcome {
                tracing::error!(target: "mainstay", from = %loss.from, to = %loss.to, "{loss}");
            }
            if backlog.disk == DiskState::Empty {
                backlog.disk = DiskState::Refusing;
            }
            backlog.writer = WriterState::Ended(outcome);
        }
        drop(log);
        self.log.notify_subscribers();
        self.log.notify_flush_waiters();
    }
}

//! The state behind the journal's lock: the numbering, the newest lines, and the lines that the disk lacks.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;

use super::cursor::Cursor;
use super::error::JournalLoss;
use super::line::{LineEncoder, UnsequencedLine};
use super::recent_lines::RecentLines;

/// The most lines that are written and synced together.
const BATCH_LINES_MAX: usize = 512;
/// The most bytes that are written and synced together, except for a single longer line.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// The numbered lines of one run, and how many of them the disk has.
pub(super) struct Log {
    run: u64,
    seq: u64,
    recent: RecentLines,
    encoder: LineEncoder,
    /// The time of the newest line. No line seems older than the one before it.
    mono_ms: u64,
    /// `None` if the journal lives in memory only.
    pub(super) backlog: Option<DiskBacklog>,
}

/// The lines that the disk lacks, and the state of its writer.
pub(super) struct DiskBacklog {
    /// Every line up to this number is on disk, or known to be lost.
    pub(super) settled_seq: u64,
    /// The lines after `settled_seq` that the writer has taken. Lines that the disk has refused stay here until they
    /// are written. Readers may have seen them in the file and must find them there again.
    pub(super) batch: VecDeque<Arc<str>>,
    pub(super) disk: DiskState,
    /// The reason why the disk refuses lines, while it does.
    pub(super) refusal: Option<String>,
    pub(super) demand: Demand,
    pub(super) writer: WriterState,
}

/// The disk's treatment of this run's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DiskState {
    /// The disk has no line of this run yet. A run that leaves nothing on disk leaves its number to the next run, so
    /// its lines stay hidden until one is on disk.
    Empty,
    /// The disk takes lines.
    Taking,
    /// The disk refuses lines, and is tried again later.
    Refusing,
}

/// The callers' demand on the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Demand {
    /// Write when a group is full or old enough.
    WriteBatch,
    /// Write everything at once, because a caller waits for it.
    Flush,
    /// Take no more lines, write everything, and end.
    Close,
}

/// The state of the writer's thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WriterState {
    Working,
    /// The thread waits to be woken.
    Asleep,
    /// The thread waits briefly for more lines.
    Gathering,
    Ended(Result<(), JournalLoss>),
}

/// The place where a line of this run can be found.
#[derive(Debug, PartialEq)]
pub(super) enum LineLocation {
    /// The line is not recorded yet, or may not be shown yet.
    Pending,
    Memory(Arc<str>),
    Disk,
    /// The line, and every line up to this number, is lost.
    Lost(u64),
}

impl Log {
    /// Returns the empty log of run `run`.
    pub(super) fn new(run: u64, memory_lines_max: usize, backlog: Option<DiskBacklog>) -> Self {
        let recent = RecentLines::new(1, memory_lines_max);
        Self { run, seq: 0, recent, encoder: LineEncoder::new(run), mono_ms: 0, backlog }
    }

    /// Numbers and keeps a line.
    pub(super) fn append(&mut self, at: Timestamp, mono_ms: u64, unsequenced: &UnsequencedLine<'_>) {
        self.mono_ms = self.mono_ms.max(mono_ms);
        self.seq += 1;
        self.recent.push(self.encoder.encode(self.seq, at, self.mono_ms, unsequenced));
        let first_unwritten = self.first_unwritten();
        while self.recent.pop_excess(first_unwritten).is_some() {}
    }

    fn first_unwritten(&self) -> u64 {
        self.backlog.as_ref().map_or(u64::MAX, |backlog| backlog.settled_seq + 1)
    }

    pub(super) fn run(&self) -> u64 {
        self.run
    }

    /// Returns the newest number of this run.
    pub(super) fn newest_seq(&self) -> u64 {
        self.seq
    }

    /// Returns the newest number of this run that may be shown: 0 until a line of the run is on disk, or the disk
    /// refuses.
    pub(super) fn visible_seq(&self) -> u64 {
        match &self.backlog {
            Some(DiskBacklog { disk: DiskState::Empty, .. }) => 0,
            _ => self.seq,
        }
    }

    /// Returns the lines in memory that subscribers can have seen, in order.
    pub(super) fn visible_lines(&self) -> Vec<Arc<str>> {
        let visible = self.visible_seq();
        (self.recent.first_seq()..=visible).map_while(|seq| self.recent.get(seq).map(Arc::clone)).collect()
    }

    /// Returns the place of the line numbered `seq`.
    pub(super) fn locate(&self, seq: u64) -> LineLocation {
        if seq > self.visible_seq() {
            return LineLocation::Pending;
        }
        let in_batch = || self.backlog.as_ref().and_then(|backlog| backlog.in_batch(seq));
        if let Some(line) = self.recent.get(seq).or_else(in_batch) {
            return LineLocation::Memory(Arc::clone(line));
        }
        match &self.backlog {
            Some(backlog) if seq <= backlog.settled_seq => LineLocation::Disk,
            _ => LineLocation::Lost(self.recent.first_seq() - 1),
        }
    }

    /// Returns the number of the oldest line that memory has.
    pub(super) fn first_in_memory(&self) -> u64 {
        self.recent.first_seq()
    }

    /// Returns the last number of this run that only the disk can have.
    pub(super) fn last_disk_only_seq(&self) -> u64 {
        let settled_seq = self.backlog.as_ref().map_or(0, |backlog| backlog.settled_seq);
        settled_seq.min(self.recent.first_seq() - 1)
    }

    /// Returns whether the writer waits and has a reason to continue.
    pub(super) fn should_wake_writer(&self) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| match backlog.writer {
            WriterState::Asleep => {
                backlog.demand == Demand::Close || self.is_behind() && backlog.disk != DiskState::Refusing
            }
            WriterState::Gathering => self.must_flush(),
            WriterState::Working | WriterState::Ended(_) => false,
        })
    }

    /// Returns whether the lines that the disk lacks must be written without waiting for more.
    pub(super) fn must_flush(&self) -> bool {
        let behind = self.seq.saturating_sub(self.first_unwritten().saturating_sub(1));
        self.backlog.as_ref().is_some_and(|backlog| {
            backlog.demand != Demand::WriteBatch
                || backlog.disk == DiskState::Empty
                || !backlog.batch.is_empty()
                || behind >= BATCH_LINES_MAX as u64
        })
    }

    /// Returns whether the disk lacks a line.
    pub(super) fn is_behind(&self) -> bool {
        self.first_unwritten() <= self.seq
    }

    /// Fills the batch if it is empty. Lines that the disk lacks and memory no longer has are lost, and count as
    /// settled from now on. Returns the first and last number of those.
    pub(super) fn take_batch(&mut self) -> Option<(u64, u64)> {
        let backlog = self.backlog.as_mut().filter(|backlog| backlog.batch.is_empty())?;
        if backlog.demand == Demand::Flush {
            backlog.demand = Demand::WriteBatch;
        }
        let lost = (backlog.settled_seq + 1, self.recent.first_seq() - 1);
        backlog.settled_seq = backlog.settled_seq.max(lost.1);
        let mut bytes = 0;
        while backlog.batch.len() < BATCH_LINES_MAX
            && bytes < BATCH_BYTES_MAX
            && let Some(line) = self.recent.get(backlog.settled_seq + 1 + backlog.batch.len() as u64)
        {
            bytes += line.len();
            backlog.batch.push_back(Arc::clone(line));
        }
        (lost.0 <= lost.1).then_some(lost)
    }

    /// Notes that the first `written` lines of the batch are on disk. Returns lines that are no longer needed, so
    /// that the caller can drop them without the lock.
    pub(super) fn mark_written(&mut self, written: usize) -> Vec<Arc<str>> {
        let mut settled = Vec::new();
        if let Some(backlog) = &mut self.backlog {
            backlog.settled_seq += written as u64;
            settled.extend(backlog.batch.drain(..written));
            if written > 0 && backlog.disk == DiskState::Empty {
                backlog.disk = DiskState::Taking;
            }
        }
        let first_unwritten = self.first_unwritten();
        settled.extend(std::iter::from_fn(|| self.recent.pop_excess(first_unwritten)));
        settled
    }

    /// Returns how many lines found no room since the batch was taken.
    pub(super) fn dropped_count(&self) -> u64 {
        let in_batch = self.backlog.as_ref().map_or(0, |backlog| backlog.batch.len() as u64);
        self.recent.first_seq().saturating_sub(self.first_unwritten().saturating_add(in_batch))
    }

    /// Returns the loss of everything that the disk lacks.
    pub(super) fn loss(&self, reason: String) -> JournalLoss {
        let from = self.first_unwritten().min(self.seq);
        JournalLoss { from: Cursor::new(self.run, from), to: Cursor::new(self.run, self.seq), reason }
    }
}

impl DiskBacklog {
    /// Returns the backlog of a disk that has nothing of the run yet.
    pub(super) fn empty() -> Self {
        Self {
            settled_seq: 0,
            batch: VecDeque::new(),
            disk: DiskState::Empty,
            refusal: None,
            demand: Demand::WriteBatch,
            writer: WriterState::Working,
        }
    }

    fn in_batch(&self, seq: u64) -> Option<&Arc<str>> {
        self.batch.get(usize::try_from(seq.checked_sub(self.settled_seq + 1)?).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the log of a disk that has line 1, with `lines` more.
    fn log_with(lines: usize) -> Log {
        let mut log = Log::new(1, 8192, Some(DiskBacklog::empty()));
        for _ in 0..=lines {
            log.append(Timestamp::UNIX_EPOCH, 0, &UnsequencedLine::new("root", 1, "noted", "{}"));
            if log.newest_seq() == 1 {
                log.take_batch();
                log.mark_written(1);
            }
        }
        log
    }

    fn with(mut log: Log, change: impl FnOnce(&mut DiskBacklog)) -> Log {
        change(log.backlog.as_mut().unwrap());
        log
    }

    #[test]
    fn line_waits_until_group_is_full_or_flush_requested() {
        assert!(!log_with(1).must_flush());
        assert!(!log_with(BATCH_LINES_MAX - 1).must_flush());
        assert!(log_with(BATCH_LINES_MAX).must_flush());
        for demand in [Demand::Flush, Demand::Close] {
            assert!(with(log_with(1), |backlog| backlog.demand = demand).must_flush(), "{demand:?}");
        }
    }

    #[test]
    fn first_line_of_a_run_is_flushed_and_shown_once_on_disk() {
        let mut log = Log::new(1, 8192, Some(DiskBacklog::empty()));
        log.append(Timestamp::UNIX_EPOCH, 0, &UnsequencedLine::new("root", 1, "noted", "{}"));
        assert!(log.must_flush());
        assert_eq!((log.visible_seq(), log.locate(1)), (0, LineLocation::Pending));
        log.take_batch();
        log.mark_written(0);
        assert_eq!(log.visible_seq(), 0);
        log.mark_written(1);
        assert_eq!(log.visible_seq(), 1);
        assert!(matches!(log.locate(1), LineLocation::Memory(_)));
    }

    #[test]
    fn refused_first_line_makes_lines_visible() {
        let mut log = Log::new(1, 8192, Some(DiskBacklog::empty()));
        log.append(Timestamp::UNIX_EPOCH, 0, &UnsequencedLine::new("root", 1, "noted", "{}"));
        assert_eq!(with(log, |backlog| backlog.disk = DiskState::Refusing).visible_seq(), 1);
    }

    #[test]
    fn gathering_writer_wakes_only_for_a_demand() {
        let log = with(log_with(1), |backlog| backlog.writer = WriterState::Gathering);
        assert!(!log.should_wake_writer());
        assert!(with(log, |backlog| backlog.demand = Demand::Flush).should_wake_writer());
    }

    #[test]
    fn sleeping_writer_wakes_for_a_line_unless_disk_refuses() {
        let asleep = |log| with(log, |backlog| backlog.writer = WriterState::Asleep);
        assert!(!asleep(log_with(0)).should_wake_writer());
        assert!(asleep(log_with(1)).should_wake_writer());
        let refused = with(asleep(log_with(1)), |backlog| backlog.disk = DiskState::Refusing);
        assert!(!refused.should_wake_writer());
        assert!(with(refused, |backlog| backlog.demand = Demand::Close).should_wake_writer());
    }
}

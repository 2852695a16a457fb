//! What is behind the journal's lock: the numbering and everything that must follow its order.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;

use super::error::JournalLoss;
use super::line::{UnsequencedLine, LineEncoder};
use super::recent_lines::RecentLines;

/// Numbers that are reserved ahead, and so the most that a run which did not end in order leaves unused.
pub(super) const RESERVED_NUMBERS: u64 = 4096;
/// Lines written and synced together, at most.
const BATCH_LINES_MAX: usize = 512;
/// Bytes written and synced together, at most, but for a single line.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// The numbered lines, and how far the disk has them.
pub(super) struct Log {
    seq: u64,
    recent: RecentLines,
    encoder: LineEncoder,
    /// The newest line's: a line never seems older than the one before it.
    mono_ms: u64,
    /// Nothing where the journal lives in memory alone.
    pub(super) backlog: Option<DiskBacklog>,
}

/// What the disk still has to get, and how it is getting on.
pub(super) struct DiskBacklog {
    /// Every line up to this number is on disk, or known to be lost.
    pub(super) settled_seq: u64,
    /// The lines after that one, as far as the writer has taken them. What the disk has refused stays here until it is
    /// taken: readers may have seen it in the file, and must find it there again.
    pub(super) batch: VecDeque<Arc<str>>,
    /// Numbers up to this one are never used by another run. All of them while the disk lets none be reserved.
    pub(super) reserved: u64,
    /// The disk has refused, and will be tried again after a while.
    pub(super) is_failing: bool,
    /// The writer waits to be woken.
    pub(super) is_writer_waiting: bool,
    /// The writer lets a group come together.
    pub(super) is_writer_batching: bool,
    /// Somebody waits until the lines so far are on disk.
    pub(super) is_flush_requested: bool,
    /// No more lines are taken.
    pub(super) is_closing: bool,
    /// How the writer ended.
    pub(super) writer_result: Option<Result<(), JournalLoss>>,
}

/// Where a line is to be found.
#[derive(Debug, PartialEq)]
pub(super) enum LineLocation {
    /// It has not been recorded yet, or its number is not reserved yet.
    Pending,
    Memory(Arc<str>),
    Disk,
    /// It, and all up to this number, cannot be had any more.
    Lost(u64),
}

impl Log {
    /// A journal that goes on after number `seq`.
    pub(super) fn new(boot: &str, seq: u64, memory_lines_max: usize, debt: Option<DiskBacklog>) -> Self {
        let memory = RecentLines::new(seq + 1, memory_lines_max);
        Self { seq, recent: memory, encoder: LineEncoder::new(boot), mono_ms: 0, backlog: debt }
    }

    /// Numbers and keeps a line.
    pub(super) fn append(&mut self, at: Timestamp, mono_ms: u64, draft: &UnsequencedLine<'_>) {
        self.mono_ms = self.mono_ms.max(mono_ms);
        self.seq += 1;
        self.recent.push(self.encoder.encode(self.seq, at, self.mono_ms, draft));
        let owed_from = self.first_unwritten();
        while self.recent.pop_excess(owed_from).is_some() {}
    }

    fn first_unwritten(&self) -> u64 {
        self.backlog.as_ref().map_or(u64::MAX, |debt| debt.settled_seq + 1)
    }

    /// The newest number that has been given.
    pub(super) fn newest_seq(&self) -> u64 {
        self.seq
    }

    /// The newest number that may be shown: it must not come again even if the process ends at once.
    pub(super) fn visible_seq(&self) -> u64 {
        self.backlog.as_ref().map_or(self.seq, |debt| self.seq.min(debt.reserved))
    }

    /// Where the line numbered `seq` is to be found.
    pub(super) fn locate(&self, seq: u64) -> LineLocation {
        if seq > self.visible_seq() {
            return LineLocation::Pending;
        }
        let in_hand = || self.backlog.as_ref().and_then(|debt| debt.batched_line(seq));
        if let Some(line) = self.recent.get(seq).or_else(in_hand) {
            return LineLocation::Memory(Arc::clone(line));
        }
        match &self.backlog {
            Some(debt) if seq <= debt.settled_seq => LineLocation::Disk,
            _ => LineLocation::Lost(self.recent.first_seq() - 1),
        }
    }

    /// The last number that only the disk can have.
    pub(super) fn last_disk_only_seq(&self) -> u64 {
        let settled = self.backlog.as_ref().map_or(0, |debt| debt.settled_seq);
        settled.min(self.recent.first_seq() - 1)
    }

    /// Whether it should be woken up for what has happened since it went to sleep.
    pub(super) fn should_wake_writer(&self) -> bool {
        self.backlog.as_ref().is_some_and(|debt| {
            let work = debt.is_closing || self.has_unwritten() && !debt.is_failing || self.is_short();
            debt.is_writer_waiting && work || debt.is_writer_batching && self.must_flush()
        })
    }

    /// Whether the lines that the disk lacks should not wait for others to come together with them.
    pub(super) fn must_flush(&self) -> bool {
        let owed = self.seq.saturating_sub(self.first_unwritten().saturating_sub(1));
        self.is_short()
            || self.backlog.as_ref().is_some_and(|debt| {
                debt.is_closing || debt.is_flush_requested || !debt.batch.is_empty() || owed >= BATCH_LINES_MAX as u64
            })
    }

    /// Whether the disk lacks a line.
    pub(super) fn has_unwritten(&self) -> bool {
        self.first_unwritten() <= self.seq
    }

    /// Whether numbers should be reserved: in time, so that no line has to wait for it.
    pub(super) fn is_short(&self) -> bool {
        self.backlog.as_ref().is_some_and(|debt| debt.reserved - self.visible_seq() < RESERVED_NUMBERS / 2)
    }

    /// Takes the next lines in hand, if there are none. What the disk lacks and memory no longer has is lost, and counts as
    /// settled from now on.
    pub(super) fn take_batch(&mut self) -> Option<(u64, u64)> {
        let debt = self.backlog.as_mut().filter(|debt| debt.batch.is_empty())?;
        debt.is_flush_requested = false;
        let lost = (debt.settled_seq + 1, self.recent.first_seq() - 1);
        debt.settled_seq = debt.settled_seq.max(lost.1);
        let mut bytes = 0;
        while debt.batch.len() < BATCH_LINES_MAX
            && bytes < BATCH_BYTES_MAX
            && let Some(line) = self.recent.get(debt.settled_seq + 1 + debt.batch.len() as u64)
        {
            bytes += line.len();
            debt.batch.push_back(Arc::clone(line));
        }
        (lost.0 <= lost.1).then_some(lost)
    }

    /// The first `taken` lines in hand are on disk. Gives out what need not be kept any longer.
    pub(super) fn mark_written(&mut self, taken: usize) -> Vec<Arc<str>> {
        let mut settled = Vec::new();
        if let Some(debt) = &mut self.backlog {
            debt.settled_seq += taken as u64;
            settled.extend(debt.batch.drain(..taken));
        }
        let owed_from = self.first_unwritten();
        settled.extend(std::iter::from_fn(|| self.recent.pop_excess(owed_from)));
        settled
    }

    /// How many lines there was no room for since those in hand were taken.
    pub(super) fn dropped_count(&self) -> u64 {
        let in_hand = self.backlog.as_ref().map_or(0, |debt| debt.batch.len() as u64);
        self.recent.first_seq().saturating_sub(self.first_unwritten().saturating_add(in_hand))
    }
}

impl DiskBacklog {
    /// Of a disk that has every line up to number `seq`.
    pub(super) fn empty(seq: u64, reserved: u64) -> Self {
        Self {
            settled_seq: seq,
            batch: VecDeque::new(),
            reserved,
            is_failing: false,
            is_writer_waiting: false,
            is_writer_batching: false,
            is_flush_requested: false,
            is_closing: false,
            writer_result: None,
        }
    }

    fn batched_line(&self, seq: u64) -> Option<&Arc<str>> {
        self.batch.get(usize::try_from(seq.checked_sub(self.settled_seq + 1)?).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_with(lines: usize) -> Log {
        let mut log = Log::new("boot", 0, 8192, Some(DiskBacklog::empty(0, 1 << 20)));
        for _ in 0..lines {
            log.append(Timestamp::UNIX_EPOCH, 0, &UnsequencedLine::new("root", 1, "noted", "{}"));
        }
        log
    }

    #[test]
    fn log_flushes_on_full_batch_flush_request_or_close() {
        assert!(!log_with(1).must_flush());
        assert!(!log_with(BATCH_LINES_MAX - 1).must_flush());
        assert!(log_with(BATCH_LINES_MAX).must_flush());
        for press in [|debt: &mut DiskBacklog| debt.is_flush_requested = true, |debt: &mut DiskBacklog| debt.is_closing = true] {
            let mut log = log_with(1);
            log.backlog.iter_mut().for_each(press);
            assert!(log.must_flush());
        }
    }

    #[test]
    fn batching_writer_wakes_only_when_flush_is_needed() {
        let mut log = log_with(1);
        log.backlog.iter_mut().for_each(|debt| debt.is_writer_batching = true);
        assert!(!log.should_wake_writer());
        log.backlog.iter_mut().for_each(|debt| debt.is_flush_requested = true);
        assert!(log.should_wake_writer());
    }
}

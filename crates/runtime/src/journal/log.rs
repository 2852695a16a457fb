//! What is behind the journal's lock: the numbering and everything that must follow its order.

use std::sync::Arc;

use jiff::Timestamp;

use super::error::JournalLoss;
use super::line::{Draft, Scribe};
use super::memory::Memory;

/// Numbers that are reserved ahead, and so the most that a run which did not end in order leaves unused.
pub(super) const RESERVED_NUMBERS: u64 = 4096;
/// Lines written and synced together, at most.
const GROUP_LINES_MAX: usize = 512;
/// Bytes written and synced together, at most, but for a single line.
const GROUP_BYTES_MAX: usize = 1024 * 1024;

/// The numbered lines, and how far the disk has them.
pub(super) struct Log {
    seq: u64,
    memory: Memory,
    scribe: Scribe,
    /// The newest line's: a line never seems older than the one before it.
    mono_ms: u64,
    /// Nothing where the journal lives in memory alone.
    pub(super) debt: Option<Debt>,
}

/// What the disk still has to get, and how it is getting on.
pub(super) struct Debt {
    /// Every line up to this number is on disk, or known to be lost.
    pub(super) settled: u64,
    /// Numbers up to this one are never used by another run. All of them while the disk lets none be reserved.
    pub(super) reserved: u64,
    /// The disk has refused, and will be tried again after a while.
    pub(super) is_refusing: bool,
    /// The writer waits to be woken.
    pub(super) is_asleep: bool,
    /// No more lines are taken.
    pub(super) is_closing: bool,
    /// How the writer ended.
    pub(super) ended: Option<Result<(), JournalLoss>>,
}

/// Lines that go to disk together.
pub(super) struct Group {
    pub(super) first_seq: u64,
    pub(super) lines: Vec<Arc<str>>,
}

/// Where a line is to be found.
#[derive(Debug, PartialEq)]
pub(super) enum Place {
    /// It has not been recorded yet, or its number is not reserved yet.
    Ahead,
    Memory(Arc<str>),
    Disk,
    /// It is being written.
    Underway,
    /// It, and all up to this number, cannot be had any more.
    Gone(u64),
}

impl Log {
    /// A journal that goes on after number `seq`.
    pub(super) fn new(boot: &str, seq: u64, memory_lines_max: usize, debt: Option<Debt>) -> Self {
        let memory = Memory::new(seq + 1, memory_lines_max);
        Self { seq, memory, scribe: Scribe::new(boot), mono_ms: 0, debt }
    }

    /// Numbers and keeps a line.
    pub(super) fn append(&mut self, at: Timestamp, mono_ms: u64, draft: &Draft<'_>) {
        self.mono_ms = self.mono_ms.max(mono_ms);
        self.seq += 1;
        self.memory.push(self.scribe.line(self.seq, at, self.mono_ms, draft));
        let owed_from = self.owed_from();
        while self.memory.pop_surplus(owed_from).is_some() {}
    }

    fn owed_from(&self) -> u64 {
        self.debt.as_ref().map_or(u64::MAX, |debt| debt.settled + 1)
    }

    /// The newest number that has been given.
    pub(super) fn newest(&self) -> u64 {
        self.seq
    }

    /// The oldest number that memory has a line for, or the next one to be given.
    pub(super) fn oldest_in_memory(&self) -> u64 {
        self.memory.first_seq()
    }

    /// The newest number that may be shown: it must not come again even if the process ends at once.
    pub(super) fn shown(&self) -> u64 {
        self.debt.as_ref().map_or(self.seq, |debt| self.seq.min(debt.reserved))
    }

    /// Where the line numbered `seq` is to be found.
    pub(super) fn place(&self, seq: u64) -> Place {
        if seq > self.shown() {
            return Place::Ahead;
        }
        if let Some(line) = self.memory.get(seq) {
            return Place::Memory(Arc::clone(line));
        }
        match &self.debt {
            Some(debt) if seq <= debt.settled => Place::Disk,
            Some(debt) if !debt.is_refusing && debt.ended.is_none() => Place::Underway,
            _ => Place::Gone(self.memory.first_seq() - 1),
        }
    }

    /// The last number, from `seq` on, that only the disk can have.
    pub(super) fn last_on_disk_alone(&self) -> u64 {
        let settled = self.debt.as_ref().map_or(0, |debt| debt.settled);
        settled.min(self.memory.first_seq() - 1)
    }

    /// Whether it should be woken up for what has happened since it went to sleep.
    pub(super) fn wakes_writer(&self) -> bool {
        self.debt.as_ref().is_some_and(|debt| {
            debt.is_asleep && (debt.is_closing || self.is_owed() && !debt.is_refusing || self.is_short())
        })
    }

    /// Whether the disk lacks a line.
    pub(super) fn is_owed(&self) -> bool {
        self.owed_from() <= self.seq
    }

    /// Whether numbers should be reserved: in time, so that no line has to wait for it.
    pub(super) fn is_short(&self) -> bool {
        self.debt.as_ref().is_some_and(|debt| debt.reserved - self.shown() < RESERVED_NUMBERS / 2)
    }

    /// The next lines for the disk. What it lacks and memory no longer has is lost, and counts as settled from now on.
    pub(super) fn next_group(&mut self) -> (Group, Option<(u64, u64)>) {
        let lost = self.write_off();
        let first_seq = self.owed_from();
        let mut lines = Vec::new();
        let mut bytes = 0;
        while lines.len() < GROUP_LINES_MAX
            && bytes < GROUP_BYTES_MAX
            && let Some(line) = self.memory.get(first_seq + lines.len() as u64)
        {
            bytes += line.len();
            lines.push(Arc::clone(line));
        }
        (Group { first_seq, lines }, lost)
    }

    /// Counts as settled what the disk lacks and memory no longer has: it is lost.
    pub(super) fn write_off(&mut self) -> Option<(u64, u64)> {
        let lost = (self.owed_from(), self.memory.first_seq() - 1);
        let debt = self.debt.as_mut().filter(|_| lost.0 <= lost.1)?;
        debt.settled = lost.1;
        Some(lost)
    }

    /// The disk has every line up to number `through`. Gives out what need not be kept any longer.
    pub(super) fn settle(&mut self, through: u64) -> Vec<Arc<str>> {
        if let Some(debt) = &mut self.debt {
            debt.settled = through;
        }
        let owed_from = self.owed_from();
        std::iter::from_fn(|| self.memory.pop_surplus(owed_from)).collect()
    }
}

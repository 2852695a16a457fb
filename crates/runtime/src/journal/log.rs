//! What is behind the journal's lock: the numbering and everything that must follow its order.

use std::collections::VecDeque;
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
    /// The lines after that one, as far as the writer has taken them. What the disk has refused stays here until it is
    /// taken: readers may have seen it in the file, and must find it there again.
    pub(super) hand: VecDeque<Arc<str>>,
    /// Numbers up to this one are never used by another run. All of them while the disk lets none be reserved.
    pub(super) reserved: u64,
    /// The disk has refused, and will be tried again after a while.
    pub(super) is_refusing: bool,
    /// The writer waits to be woken.
    pub(super) is_asleep: bool,
    /// The writer lets a group come together.
    pub(super) is_gathering: bool,
    /// Somebody waits until the lines so far are on disk.
    pub(super) is_urgent: bool,
    /// No more lines are taken.
    pub(super) is_closing: bool,
    /// How the writer ended.
    pub(super) ended: Option<Result<(), JournalLoss>>,
}

/// Where a line is to be found.
#[derive(Debug, PartialEq)]
pub(super) enum Place {
    /// It has not been recorded yet, or its number is not reserved yet.
    Ahead,
    Memory(Arc<str>),
    Disk,
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

    /// The newest number that may be shown: it must not come again even if the process ends at once.
    pub(super) fn shown(&self) -> u64 {
        self.debt.as_ref().map_or(self.seq, |debt| self.seq.min(debt.reserved))
    }

    /// Where the line numbered `seq` is to be found.
    pub(super) fn place(&self, seq: u64) -> Place {
        if seq > self.shown() {
            return Place::Ahead;
        }
        let in_hand = || self.debt.as_ref().and_then(|debt| debt.in_hand(seq));
        if let Some(line) = self.memory.get(seq).or_else(in_hand) {
            return Place::Memory(Arc::clone(line));
        }
        match &self.debt {
            Some(debt) if seq <= debt.settled => Place::Disk,
            _ => Place::Gone(self.memory.first_seq() - 1),
        }
    }

    /// The last number that only the disk can have.
    pub(super) fn last_on_disk_alone(&self) -> u64 {
        let settled = self.debt.as_ref().map_or(0, |debt| debt.settled);
        settled.min(self.memory.first_seq() - 1)
    }

    /// Whether it should be woken up for what has happened since it went to sleep.
    pub(super) fn wakes_writer(&self) -> bool {
        self.debt.as_ref().is_some_and(|debt| {
            let work = debt.is_closing || self.is_owed() && !debt.is_refusing || self.is_short();
            debt.is_asleep && work || debt.is_gathering && self.is_pressing()
        })
    }

    /// Whether the lines that the disk lacks should not wait for others to come together with them.
    pub(super) fn is_pressing(&self) -> bool {
        let owed = self.seq.saturating_sub(self.owed_from().saturating_sub(1));
        self.is_short()
            || self.debt.as_ref().is_some_and(|debt| {
                debt.is_closing || debt.is_urgent || !debt.hand.is_empty() || owed >= GROUP_LINES_MAX as u64
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

    /// Takes the next lines in hand, if there are none. What the disk lacks and memory no longer has is lost, and counts as
    /// settled from now on.
    pub(super) fn take_in_hand(&mut self) -> Option<(u64, u64)> {
        let debt = self.debt.as_mut().filter(|debt| debt.hand.is_empty())?;
        debt.is_urgent = false;
        let lost = (debt.settled + 1, self.memory.first_seq() - 1);
        debt.settled = debt.settled.max(lost.1);
        let mut bytes = 0;
        while debt.hand.len() < GROUP_LINES_MAX
            && bytes < GROUP_BYTES_MAX
            && let Some(line) = self.memory.get(debt.settled + 1 + debt.hand.len() as u64)
        {
            bytes += line.len();
            debt.hand.push_back(Arc::clone(line));
        }
        (lost.0 <= lost.1).then_some(lost)
    }

    /// The first `taken` lines in hand are on disk. Gives out what need not be kept any longer.
    pub(super) fn settle(&mut self, taken: usize) -> Vec<Arc<str>> {
        let mut settled = Vec::new();
        if let Some(debt) = &mut self.debt {
            debt.settled += taken as u64;
            settled.extend(debt.hand.drain(..taken));
        }
        let owed_from = self.owed_from();
        settled.extend(std::iter::from_fn(|| self.memory.pop_surplus(owed_from)));
        settled
    }

    /// How many lines there was no room for since those in hand were taken.
    pub(super) fn dropped(&self) -> u64 {
        let in_hand = self.debt.as_ref().map_or(0, |debt| debt.hand.len() as u64);
        self.memory.first_seq().saturating_sub(self.owed_from().saturating_add(in_hand))
    }
}

impl Debt {
    /// Of a disk that has every line up to number `seq`.
    pub(super) fn none(seq: u64, reserved: u64) -> Self {
        Self {
            settled: seq,
            hand: VecDeque::new(),
            reserved,
            is_refusing: false,
            is_asleep: false,
            is_gathering: false,
            is_urgent: false,
            is_closing: false,
            ended: None,
        }
    }

    fn in_hand(&self, seq: u64) -> Option<&Arc<str>> {
        self.hand.get(usize::try_from(seq.checked_sub(self.settled + 1)?).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_with(lines: usize) -> Log {
        let mut log = Log::new("boot", 0, 8192, Some(Debt::none(0, 1 << 20)));
        for _ in 0..lines {
            log.append(Timestamp::UNIX_EPOCH, 0, &Draft::new("root", 1, "noted", "{}"));
        }
        log
    }

    #[test]
    fn a_line_may_wait_for_others_until_a_group_is_full_or_somebody_waits_for_it() {
        assert!(!log_with(1).is_pressing());
        assert!(!log_with(GROUP_LINES_MAX - 1).is_pressing());
        assert!(log_with(GROUP_LINES_MAX).is_pressing());
        for press in [|debt: &mut Debt| debt.is_urgent = true, |debt: &mut Debt| debt.is_closing = true] {
            let mut log = log_with(1);
            log.debt.iter_mut().for_each(press);
            assert!(log.is_pressing());
        }
    }

    #[test]
    fn a_writer_that_gathers_is_woken_by_what_presses_and_by_nothing_else() {
        let mut log = log_with(1);
        log.debt.iter_mut().for_each(|debt| debt.is_gathering = true);
        assert!(!log.wakes_writer());
        log.debt.iter_mut().for_each(|debt| debt.is_urgent = true);
        assert!(log.wakes_writer());
    }
}

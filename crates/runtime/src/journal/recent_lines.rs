//! The newest lines of this run, bounded: for subscribers, and for the disk until it has them.

use std::collections::VecDeque;
use std::sync::Arc;

/// The most lines that wait for the disk.
pub(super) const UNWRITTEN_LINES_MAX: usize = 8192;
/// The most bytes of all lines together, except for a single longer line.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// A bounded run of lines with consecutive numbers.
#[derive(Debug)]
pub(super) struct RecentLines {
    /// The number of the oldest line here, or of the next one if there is none.
    first_seq: u64,
    lines: VecDeque<Arc<str>>,
    lines_max: usize,
    bytes: usize,
}

impl RecentLines {
    /// Returns an empty store, whose first line will have the number `first_seq`.
    pub(super) fn new(first_seq: u64, lines_max: usize) -> Self {
        Self { first_seq, lines: VecDeque::new(), lines_max: lines_max.max(1), bytes: 0 }
    }

    /// Adds the line with the next number.
    pub(super) fn push(&mut self, line: Arc<str>) {
        self.bytes += line.len();
        self.lines.push_back(line);
    }

    /// Removes the oldest line if there are too many. The disk still lacks those from number `first_unwritten` on.
    pub(super) fn pop_excess(&mut self, first_unwritten: u64) -> Option<Arc<str>> {
        if !self.is_too_much(first_unwritten) {
            return None;
        }
        let oldest = self.lines.pop_front()?;
        self.first_seq += 1;
        self.bytes -= oldest.len();
        Some(oldest)
    }

    fn is_too_much(&self, first_unwritten: u64) -> bool {
        let is_unwritten = self.first_seq >= first_unwritten;
        let lines_max = if is_unwritten { self.lines_max.max(UNWRITTEN_LINES_MAX) } else { self.lines_max };
        self.lines.len() > lines_max || self.bytes > BYTES_MAX && self.lines.len() > 1
    }

    /// Returns the line numbered `seq`, if it is still here.
    pub(super) fn get(&self, seq: u64) -> Option<&Arc<str>> {
        self.lines.get(usize::try_from(seq.checked_sub(self.first_seq)?).ok()?)
    }

    /// Returns the number of the oldest line here, or of the next one if there is none.
    pub(super) fn first_seq(&self) -> u64 {
        self.first_seq
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Removes the lines that are too many, and returns their number.
    fn trim(memory: &mut RecentLines, first_unwritten: u64) -> usize {
        std::iter::from_fn(|| memory.pop_excess(first_unwritten)).count()
    }

    /// Returns a memory of two lines, after lines 1 to `newest`, of which the disk lacks those from `first_unwritten`
    /// on.
    fn memory(newest: u64, first_unwritten: u64) -> RecentLines {
        let mut memory = RecentLines::new(1, 2);
        for seq in 1..=newest {
            memory.push(seq.to_string().into());
            trim(&mut memory, first_unwritten);
        }
        memory
    }

    #[test]
    fn newest_lines_are_found_by_their_seq() {
        let memory = memory(5, u64::MAX);
        assert_eq!(memory.first_seq(), 4);
        assert_eq!(memory.get(3), None);
        assert_eq!(memory.get(5).map(|line| &**line), Some("5"));
        assert_eq!(memory.get(6), None);
    }

    #[test]
    fn unwritten_lines_exceed_the_limit_until_written() {
        let mut memory = memory(10, 4);
        assert_eq!(memory.first_seq(), 4);
        assert_eq!(trim(&mut memory, 8), 4);
        assert_eq!(memory.first_seq(), 8);
        assert_eq!(trim(&mut memory, 11), 1);
        assert_eq!(memory.first_seq(), 9);
    }

    #[test]
    fn unwritten_lines_stay_bounded() {
        let memory = memory(UNWRITTEN_LINES_MAX as u64 + 7, 1);
        assert_eq!(memory.first_seq(), 8);
    }

    #[test]
    fn large_lines_are_bounded_by_bytes_except_the_newest() {
        let large: Arc<str> = "x".repeat(BYTES_MAX / 2 + 1).into();
        let mut memory = RecentLines::new(1, 100);
        memory.push(Arc::clone(&large));
        assert_eq!(trim(&mut memory, 1), 0);
        memory.push(large);
        assert_eq!(trim(&mut memory, 1), 1);
        assert_eq!(memory.first_seq(), 2);
    }
}

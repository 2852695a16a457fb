//! The newest lines, bounded.

use std::collections::VecDeque;
use std::sync::Arc;

/// A numbered line, without its line break.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) seq: u64,
    pub(super) text: String,
}

/// A bounded run of lines with consecutive numbers.
#[derive(Debug)]
pub(super) struct Memory {
    lines: VecDeque<Arc<Line>>,
    lines_max: usize,
}

impl Memory {
    pub(super) fn new(lines_max: usize) -> Self {
        Self { lines: VecDeque::new(), lines_max: lines_max.max(1) }
    }

    pub(super) fn push(&mut self, line: Arc<Line>) {
        if self.lines.len() == self.lines_max {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// The line numbered `seq`, if it is still here.
    pub(super) fn get(&self, seq: u64) -> Option<Arc<Line>> {
        let first = self.first()?;
        let at = usize::try_from(seq.checked_sub(first)?).ok()?;
        self.lines.get(at).map(Arc::clone)
    }

    /// The number of the oldest line here.
    pub(super) fn first(&self) -> Option<u64> {
        self.lines.front().map(|line| line.seq)
    }
}

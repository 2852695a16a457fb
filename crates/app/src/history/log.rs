//! The fold of events into steps, with copies of the states between them. Pure.

use std::collections::VecDeque;
use std::iter;
use std::mem;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_runtime::journal::{Cursor, Record};

use super::lanes::{HistoryLanes, LanesBuilder};
use super::moment::{HistoryMoment, States};
use super::part::{HistoryPart, StepReader};
use super::step::HistoryStep;

/// The bounds of a log.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogLimits {
    /// The most steps that are kept. The oldest block goes first, and what it led to is kept.
    pub(super) steps_max: usize,
    /// The fewest steps of a complete block.
    pub(super) block_steps_min: usize,
}

impl Default for LogLimits {
    /// Returns the bounds with which the steps take about 30 MiB, and a moment is computed from about 1,000 of them.
    fn default() -> Self {
        Self { steps_max: 300_000, block_steps_min: 1024 }
    }
}

impl LogLimits {
    /// Returns the number of steps that complete a block whose copy of the states has so many actors. A copy has at most one
    /// actor for every four steps of its block, unless the block is a fourth of the whole log.
    fn block_steps(self, actors: usize) -> usize {
        (4 * actors).max(self.block_steps_min).min(self.steps_max / 4)
    }
}

/// Keeps the changes of the actors' states. It takes the events in order, across runs.
///
/// A clone shares the complete blocks, so it takes about as long as a moment.
#[derive(Debug, Clone, Default)]
pub struct HistoryLog {
    limits: LogLimits,
    reader: StepReader,
    /// The complete blocks, oldest first.
    blocks: VecDeque<Arc<StepBlock>>,
    /// The number of steps in complete blocks.
    complete_steps: usize,
    /// The block that the next step is added to.
    newest: StepBlock,
    /// The states after the last step.
    states: States,
}

/// Steps that follow each other, with a copy of the states before them.
#[derive(Debug, Clone)]
struct StepBlock {
    before: States,
    steps: Vec<HistoryStep>,
    /// The earliest time of a step. It need not be that of the first one, because clocks are set back.
    earliest: Timestamp,
}

impl Default for StepBlock {
    fn default() -> Self {
        Self { before: States::default(), steps: Vec::new(), earliest: Timestamp::MAX }
    }
}

impl HistoryLog {
    #[cfg(test)]
    pub(super) fn with_limits(limits: LogLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Returns the number of actors in the copy of the states, and the number of steps, of each block.
    #[cfg(test)]
    pub(super) fn block_sizes(&self) -> Vec<(usize, usize)> {
        self.blocks().map(|block| (block.before.actors.len(), block.steps.len())).collect()
    }

    /// Takes the next event.
    pub fn apply(&mut self, record: &Record) {
        self.reader.read(record).into_iter().flatten().for_each(|step| self.push(step));
    }

    /// Takes the events of a later part of the journal, which was read on its own.
    pub(crate) fn append(&mut self, later: HistoryPart) {
        let HistoryPart { reader, steps } = later;
        let (Some((first, last)), Some((begin, end))) = (reader.ends, reader.span) else { return };
        let places: Vec<u32> = reader.paths.iter().map(|path| self.reader.place(path)).collect();
        let run_end = self.reader.note((first, begin), (last, end));
        run_end.into_iter().for_each(|step| self.push(step));
        for step in steps {
            let actor = places.get(step.actor as usize).copied().unwrap_or_default();
            self.push(HistoryStep { actor, ..step });
        }
    }

    fn push(&mut self, step: HistoryStep) {
        self.states.apply(&step);
        self.newest.earliest = self.newest.earliest.min(step.at);
        self.newest.steps.push(step);
        if self.newest.steps.len() >= self.limits.block_steps(self.newest.before.actors.len()) {
            let next = StepBlock { before: self.states.clone(), ..StepBlock::default() };
            let mut block = mem::replace(&mut self.newest, next);
            block.steps.shrink_to_fit();
            self.complete_steps += block.steps.len();
            self.blocks.push_back(Arc::new(block));
        }
        if self.complete_steps + self.newest.steps.len() > self.limits.steps_max {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(block) = self.blocks.pop_front() else { return };
        self.complete_steps -= block.steps.len();
        if let (Some((first, _)), Some(oldest)) = (&mut self.reader.span, block.steps.last()) {
            *first = oldest.at;
        }
    }

    /// Returns all blocks, oldest first.
    fn blocks(&self) -> impl DoubleEndedIterator<Item = &StepBlock> {
        self.blocks.iter().map(|block| &**block).chain(iter::once(&self.newest))
    }

    /// Returns the states before the first step that is kept.
    fn first_states(&self) -> &States {
        self.blocks.front().map_or(&self.newest.before, |block| &block.before)
    }

    /// Returns the last event.
    pub(crate) fn cursor(&self) -> Cursor {
        self.reader.ends.map_or(Cursor::START, |(_, last)| last)
    }

    /// Returns the tree and the verdict as they were at `at`. Times of day in the verdict are those of `zone`.
    #[must_use]
    pub fn at(&self, at: Timestamp, zone: &TimeZone) -> HistoryMoment {
        self.states_at(at).moment(at, zone, &self.reader.paths)
    }

    /// Returns the states after the last step whose time is not after `at`.
    fn states_at(&self, at: Timestamp) -> States {
        let Some(block) = self.blocks().rfind(|block| block.earliest <= at) else {
            let is_known = self.reader.span.is_some_and(|(first, _)| first <= at);
            return if is_known { self.first_states().clone() } else { States::default() };
        };
        let steps = block.steps.iter().rposition(|step| step.at <= at).map_or(0, |last| last + 1);
        let mut states = block.before.clone();
        block.steps.iter().take(steps).for_each(|step| states.apply(step));
        states
    }

    /// Returns the states of the actors from `from` to `to`; without one of these, from the first event that is kept, or to
    /// the last one.
    #[must_use]
    pub fn lanes(&self, from: Option<Timestamp>, to: Option<Timestamp>) -> HistoryLanes {
        let Some((first, last)) = self.reader.span else { return HistoryLanes::default() };
        let (from, to) = (from.unwrap_or(first).max(first), to.unwrap_or(last).min(last));
        let mut lanes = LanesBuilder::new(from, to);
        let mut states = self.first_states().clone();
        lanes.begin(first, &states);
        for step in self.blocks().flat_map(|block| &block.steps) {
            lanes.step(step, &mut states);
        }
        lanes.finish(last, &self.reader.paths)
    }
}

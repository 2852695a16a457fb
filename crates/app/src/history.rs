//! The history of the tree: what each actor's state was at any moment of the journal, and how it changed.
//!
//! [`HistoryLog`] is a pure fold. It keeps each change of a state as one short step, so that any moment is computed from memory.
//!
//! - `step`: the change that an event makes
//! - `moment`: the states at one moment, and the verdict about them
//! - `lanes`: the states of each actor over a span of time
//! - `log`: the fold

mod lanes;
mod log;
mod moment;
mod step;
#[cfg(test)]
mod tests;

pub use lanes::{HistoryLanes, Lane, LaneMark, LaneSpan, RunSpan};
pub use log::HistoryLog;
pub use moment::{HistoryMoment, HistoryNode};
pub use step::HistoryState;

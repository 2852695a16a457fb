//! The history of the tree: what each actor's state was at any moment of the journal, and how it changed.
//!
//! [`HistoryLog`] is a pure fold. It keeps each change of a state as one short step, and a copy of the states every 1,000 steps or
//! more. Any moment is computed from the copy before it.
//!
//! - `step`: the change that an event makes
//! - `moment`: the states at one moment, and the verdict about them
//! - `lanes`: the states of each actor over a span of time
//! - `part`: the steps of a file of the journal
//! - `log`: the fold

mod lanes;
mod log;
mod moment;
mod part;
mod step;
#[cfg(test)]
mod tests;

pub use lanes::{HistoryLanes, Lane, LaneMark, LaneSpan, RunSpan};
pub use log::HistoryLog;
pub use moment::{HistoryMoment, HistoryNode};
pub(crate) use part::HistoryPart;
pub use step::HistoryState;

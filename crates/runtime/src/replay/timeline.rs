//! The knowledge about one actor during the replay of a run.

use std::sync::Arc;
use std::time::Duration;

use crate::journal::Cursor;
use crate::policy::{ChildHistory, ChildPolicy, ExitCause, SupervisorHistory, SupervisorPolicy};

/// A value that is known, and the event since which it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Known<T> {
    pub(super) value: T,
    pub(super) since: Cursor,
}

/// The knowledge about one actor. `None` means unknown.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ActorTimeline {
    pub(super) policy: Option<Known<Arc<ChildPolicy>>>,
    pub(super) history: Option<Known<ChildHistory>>,
    pub(super) incarnation: Option<IncarnationTimeline>,
    pub(super) expected_start: Option<ExpectedStart>,
    /// The inputs of its own decisions, if it is a supervisor.
    pub(super) as_supervisor: SupervisorTimeline,
}

/// The knowledge about a supervisor's current incarnation.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct SupervisorTimeline {
    /// The event that it started with, if everything since has been read. Children that appear later are then new.
    pub(super) complete_since: Option<Cursor>,
    pub(super) policy: Option<Known<SupervisorPolicy>>,
    pub(super) history: Option<Known<SupervisorHistory>>,
    /// The time of its last decision.
    pub(super) decided_ms: u64,
}

impl SupervisorTimeline {
    /// Returns the timeline of a supervisor that has just started, and remembers nothing.
    pub(super) fn new(since: Cursor) -> Self {
        let history = Some(Known { value: SupervisorHistory::default(), since });
        Self { complete_since: Some(since), history, ..Self::default() }
    }
}

/// The knowledge about an actor's current incarnation.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct IncarnationTimeline {
    pub(super) generation: u64,
    /// The time when it started; everything since has been read.
    pub(super) started_ms: Option<u64>,
    pub(super) ready_ms: Option<u64>,
    /// True if it began from a checkpoint.
    pub(super) from_checkpoint: Option<bool>,
    /// The decision by which it was to begin without a state.
    pub(super) fresh_start_decision: Option<Cursor>,
    /// The incarnation's recorded end.
    pub(super) exit: Option<RecordedExit>,
    /// The decision about its end.
    pub(super) exit_decision: Option<Cursor>,
}

impl IncarnationTimeline {
    pub(super) fn new(generation: u64) -> Self {
        Self {
            generation,
            started_ms: None,
            ready_ms: None,
            from_checkpoint: None,
            fresh_start_decision: None,
            exit: None,
            exit_decision: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RecordedExit {
    pub(super) event: Cursor,
    pub(super) cause: ExitCause,
    pub(super) is_abandoned: bool,
    pub(super) is_unrecoverable: bool,
    pub(super) mono_ms: u64,
}

/// The decision about the next start, or the end of a planned one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ExpectedStart {
    /// The event.
    pub(super) by: Cursor,
    /// The earliest time of the start; `None` if it may not start.
    pub(super) due: Option<Duration>,
    /// True if it begins without a state.
    pub(super) is_fresh: bool,
}

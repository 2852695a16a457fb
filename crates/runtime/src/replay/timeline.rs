//! What is known of one actor on the way through a run.

use std::sync::Arc;
use std::time::Duration;

use crate::journal::Cursor;
use crate::policy::{ChildHistory, ChildPolicy, ExitCause, SupervisorHistory, SupervisorPolicy};

/// Something that is known, and since which event.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Known<T> {
    pub(super) value: T,
    pub(super) since: Cursor,
}

/// What is known of one actor. Whatever is `None` is not known.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ActorTimeline {
    pub(super) policy: Option<Known<Arc<ChildPolicy>>>,
    pub(super) history: Option<Known<ChildHistory>>,
    pub(super) incarnation: Option<IncarnationTimeline>,
    pub(super) expected_start: Option<ExpectedStart>,
    /// What it decided by, if it is a supervisor.
    pub(super) as_supervisor: SupervisorTimeline,
}

/// What is known of a supervisor's present incarnation.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct SupervisorTimeline {
    /// The event that it started with, if everything since has been read: children that come new to it are then known
    /// to be new.
    pub(super) complete_since: Option<Cursor>,
    pub(super) policy: Option<Known<SupervisorPolicy>>,
    pub(super) history: Option<Known<SupervisorHistory>>,
    /// When it decided last.
    pub(super) decided_ms: u64,
}

impl SupervisorTimeline {
    /// A supervisor that has just started, and remembers nothing.
    pub(super) fn new(since: Cursor) -> Self {
        let history = Some(Known { value: SupervisorHistory::default(), since });
        Self { complete_since: Some(since), history, ..Self::default() }
    }
}

/// What is known of an actor's present incarnation.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct IncarnationTimeline {
    pub(super) generation: u64,
    /// When it started; everything since has been read.
    pub(super) started_ms: Option<u64>,
    pub(super) ready_ms: Option<u64>,
    /// Whether it began from a checkpoint.
    pub(super) restored: Option<bool>,
    /// The decision by which it was to begin from nothing.
    pub(super) fresh_start_decision: Option<Cursor>,
    /// How it ended.
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
            restored: None,
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
    pub(super) mono_ms: u64,
}

/// What was decided about the next start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ExpectedStart {
    /// The decision.
    pub(super) by: Cursor,
    /// When it may come at the earliest; `None`: not at all.
    pub(super) due: Option<Duration>,
    /// Whether it begins from nothing.
    pub(super) is_fresh: bool,
}

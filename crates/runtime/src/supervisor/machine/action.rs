//! The actions of the machine, and the outcomes that they report.

use std::time::Duration;

use crate::events::RestartCanceller;
use crate::policy::{ChildHistory, Decision, DecisionContext, Exit, SupervisorHistory};

/// The id of a child; ids count up in the order of registration.
pub(crate) type ChildId = u64;

/// An action for the supervisor to carry out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SupervisorAction {
    /// Start the child's next incarnation.
    Launch { id: ChildId },
    /// Discard the child's checkpoint.
    DiscardCheckpoint { id: ChildId },
    /// Ask the child to stop.
    RequestStop { id: ChildId },
    /// Kill the child.
    Kill { id: ChildId, reason: KillReason },
    /// Check the child's progress, and report it.
    Inspect { id: ChildId },
    /// Abandon the child, which was killed and does not end.
    Abandon { id: ChildId },
    /// Record the decision about an exit.
    Record { id: ChildId, record: Box<DecisionRecord> },
    /// Record that the child's planned start is cancelled.
    RecordCancelledRestart { id: ChildId, by: RestartCanceller },
    /// Answer the callers that wait for the child: it has settled.
    ResolveWaiters { id: ChildId, outcome: ChildOutcome },
    /// Remove the child.
    Deregister { id: ChildId },
    /// The initial children are ready.
    Ready,
    /// The supervisor has to exit.
    Exit(ShutdownReason),
}

/// The reason for which a child is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KillReason {
    /// A command or its supervisor ends it.
    Requested,
    /// The child makes no progress.
    Stuck,
}

/// The reason for which a supervisor exits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShutdownReason {
    /// The parent supervisor or the runtime stops it.
    Requested,
    /// An initial child did not start.
    ChildStartFailed(ChildId),
    /// The restart budget is spent; this child failed last.
    TooManyFailures(ChildId),
    /// The significant children have ended; this one ended last.
    SignificantEnded(ChildId),
}

/// A decision with all of its inputs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DecisionRecord {
    pub(crate) decision: Decision,
    pub(crate) context: DecisionContext,
    pub(crate) exit: Exit,
    pub(crate) history: ChildHistory,
    pub(crate) siblings: SupervisorHistory,
    /// Restarts that count against the budget after this decision.
    pub(crate) budget_used: u32,
    /// The children that the decision affects, in order.
    pub(crate) affected: Vec<ChildId>,
}

/// The state in which a child has settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChildOutcome {
    /// The child runs.
    Running,
    /// The child waits for its next incarnation, which is due at this time.
    Restarting(Duration),
    /// The child waits for its turn in a group restart, which is due at this time.
    Postponed(Duration),
    /// The child is stopped.
    Stopped,
    /// The child declined to start.
    Declined,
    /// The child could not be started, and nothing of it is kept.
    AddFailed,
    /// The child stays failed until it is reset.
    Failed,
}

/// The reason for which the machine rejects a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommandRejection {
    /// The child runs.
    Running,
    /// The child is between two incarnations.
    Restarting,
    /// The supervisor itself is stopping.
    Stopping,
}

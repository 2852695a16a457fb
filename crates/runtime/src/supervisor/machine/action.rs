//! What goes out of a roster: what has to be done, and how it came out.

use std::time::Duration;

use crate::policy::{ChildHistory, Decision, DecisionContext, Exit, SupervisorHistory};

/// A child, numbered in the order of its coming.
pub(crate) type ChildId = u64;

/// What the supervisor has to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SupervisorAction {
    /// Start the child's next incarnation.
    Launch { key: ChildId },
    /// Set the child's checkpoint aside.
    DiscardCheckpoint { key: ChildId },
    /// Ask the child to end in order.
    RequestStop { key: ChildId },
    /// Kill the child.
    Kill { key: ChildId, reason: KillReason },
    /// Look whether the child makes progress, and report it.
    Inspect { key: ChildId },
    /// The child was killed and does not end: cut it off.
    Abandon { key: ChildId },
    /// Record what was decided about an exit.
    Record { key: ChildId, record: Box<DecisionRecord> },
    /// The child has come to rest: whoever waits for it learns how.
    ResolveWaiters { key: ChildId, outcome: ChildOutcome },
    /// Drop the child altogether.
    Deregister { key: ChildId },
    /// All children that were there from the start are ready.
    Ready,
    /// The supervisor has ended.
    Exit(ShutdownReason),
}

/// Why a child is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KillReason {
    /// It was asked to end, or is to end at once.
    Requested,
    /// It makes no progress.
    Stuck,
}

/// Why a supervisor ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShutdownReason {
    /// It was asked to.
    Requested,
    /// A child that was there from the start did not start.
    ChildStartFailed(ChildId),
    /// Its children failed too often, this one last.
    TooManyFailures(ChildId),
    /// Its significant children have ended, this one last.
    SignificantEnded(ChildId),
}

/// A decision with everything that it followed from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DecisionRecord {
    pub(crate) decision: Decision,
    pub(crate) context: DecisionContext,
    pub(crate) exit: Exit,
    pub(crate) history: ChildHistory,
    pub(crate) siblings: SupervisorHistory,
    /// Restarts that count against the budget after this decision.
    pub(crate) budget_used: u32,
    /// Whom the decision concerns, in order.
    pub(crate) affected: Vec<ChildId>,
}

/// How a child has come to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChildOutcome {
    /// It runs.
    Running,
    /// It waits for its next incarnation, due at this time.
    Restarting(Duration),
    /// It waits for its turn in the restart of its group, which is due at this time.
    Postponed(Duration),
    /// It is stopped.
    Stopped,
    /// It declined to start.
    Declined,
    /// It could not be started, and nothing of it is kept.
    AddFailed,
    /// It stays failed until it is reset.
    Failed,
}

/// Why an order was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommandRejection {
    /// The child runs.
    Running,
    /// The child is between two incarnations.
    Restarting,
    /// The supervisor itself is stopping.
    Stopping,
}

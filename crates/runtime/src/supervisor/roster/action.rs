//! What goes out of a roster: what has to be done, and how it came out.

use std::time::Duration;

use crate::policy::{ChildHistory, Decision, Exit, Moment, SupervisorHistory};

/// A child, numbered in the order of its coming.
pub(crate) type Key = u64;

/// What the supervisor has to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Start the child's next incarnation.
    Launch { key: Key },
    /// Set the child's checkpoint aside.
    DiscardCheckpoint { key: Key },
    /// Ask the child to end in order.
    AskToStop { key: Key },
    /// Kill the child.
    Kill { key: Key, verdict: Verdict },
    /// Look whether the child makes progress, and report it.
    Inspect { key: Key },
    /// The child was killed and does not end: cut it off.
    CutOff { key: Key },
    /// Record what was decided about an exit.
    Record { key: Key, decided: Box<Ruling> },
    /// The child has come to rest: whoever waits for it learns how.
    Settle { key: Key, rest: Rest },
    /// Drop the child altogether.
    Forget { key: Key },
    /// All children that were there from the start are ready.
    ComeUp,
    /// The supervisor has ended.
    Finish(Ending),
}

/// Why a child is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was asked to end, or is to end at once.
    Ordered,
    /// It makes no progress.
    Stuck,
}

/// Why a supervisor ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It was asked to.
    Asked,
    /// A child that was there from the start did not start.
    ChildNotStarted(Key),
    /// Its children failed too often, this one last.
    TooManyFailures(Key),
    /// Its significant children have ended, this one last.
    SignificantEnded(Key),
}

/// A decision with everything that it followed from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ruling {
    pub(crate) decision: Decision,
    pub(crate) moment: Moment,
    pub(crate) exit: Exit,
    pub(crate) history: ChildHistory,
    pub(crate) siblings: SupervisorHistory,
    /// Restarts that count against the budget after this decision.
    pub(crate) budget_used: u32,
    /// Whom the decision concerns, in order.
    pub(crate) scope: Vec<Key>,
}

/// How a child has come to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
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
    Refused,
    /// It stays failed until it is reset.
    Failed,
}

/// Why an order was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Objection {
    /// The child runs.
    Running,
    /// The child is between two incarnations.
    Restarting,
    /// The supervisor itself is stopping.
    Stopping,
}

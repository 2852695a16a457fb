//! The events that the runtime itself records.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::journal::{Event, Level, RUN_END_KIND, millis};
use crate::path::ActorPath;
use crate::policy::{
    Budget, ChildHistory, ChildPolicy, Decision, Exit, ExitCause, StateSource, SupervisorHistory,
    SupervisorPolicy,
};

macro_rules! event {
    ($type:ty, $kind:literal) => {
        event!($type, $kind, Info);
    };
    ($type:ty, $kind:literal, $level:ident) => {
        impl Event for $type {
            const KIND: &'static str = $kind;
            const LEVEL: Level = Level::$level;
        }
    };
}

/// The runtime has started; its tree comes up next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeStarted {
    /// The process.
    pub pid: u32,
    /// The version of this crate.
    pub version: String,
    /// The random id of the run. A client that remembers it notices that a folder is another one.
    pub boot: String,
}
event!(RuntimeStarted, "runtime_started");

/// The runtime has been asked to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeStopping {}
event!(RuntimeStopping, "runtime_stopping");

/// The tree is down. The last event of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeStopped {
    /// How the root ended.
    pub cause: ExitCause,
    /// What it had to say, if it did not end in order.
    pub message: Option<String>,
}
impl Event for RuntimeStopped {
    const KIND: &'static str = RUN_END_KIND;
}

/// An incarnation has been spawned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorStarted {}
event!(ActorStarted, "actor_started", Debug);

/// An incarnation is ready for its first message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorReady {
    /// How long it took.
    pub start_ms: u64,
}
event!(ActorReady, "actor_ready");

/// An incarnation has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorExited {
    /// Why.
    pub cause: ExitCause,
    /// What it had to say.
    pub message: Option<String>,
    /// Where a panic happened: `file:line:column`.
    pub location: Option<String>,
    /// How a panic came about, where backtraces are enabled (`RUST_BACKTRACE`): from what panicked down to the handler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backtrace: Option<String>,
    /// A permanent child ended of itself while its supervisor went down.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unexpected: bool,
    /// It was killed, did not end and was abandoned: it may still be at work.
    #[serde(default, skip_serializing_if = "is_false")]
    pub abandoned: bool,
}
event!(ActorExited, "actor_exited", Warn);

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// An incarnation that had been abandoned has ended after all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbandonedEnded {}
event!(AbandonedEnded, "abandoned_ended");

/// From what the successor of an exited incarnation began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateOrigin {
    /// From the last checkpoint.
    Restored,
    /// From nothing.
    Fresh,
}

/// A restarted incarnation is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorRestarted {
    /// From the exit to now.
    pub downtime_ms: u64,
    /// From what it began.
    pub state: StateOrigin,
    /// Messages that waited for it.
    pub backlog: usize,
}
event!(ActorRestarted, "actor_restarted");

/// How much of a budget is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetUse {
    /// Restarts that count now, this one included.
    pub used: u32,
    /// Restarts granted.
    pub max: u32,
    /// Within this time.
    pub window_ms: u64,
}

/// What the supervisor will do about an exit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// `restart`, `leave`, `abandon`, `escalate` or `shut_down`.
    pub decision: String,
    /// How long the restart waits.
    pub delay_ms: Option<u64>,
    /// The number of this restart since the child was last stable.
    pub attempt: Option<u32>,
    /// From which state it will begin.
    pub state: Option<StateSource>,
    /// The child's budget after this decision, if it has one.
    pub budget: Option<BudgetUse>,
    /// Whom the decision concerns.
    pub scope: Vec<ActorPath>,
    /// Everything that the decision followed from.
    pub inputs: DecisionInputs,
}
event!(Decided, "decision");

/// Everything that a decision followed from, so that it can be decided again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecisionInputs {
    /// Time since the runtime started.
    pub now_ms: u64,
    /// The random number that was drawn.
    pub jitter: f64,
    /// Other significant children that had not ended.
    pub significant_others: u32,
    /// The exit.
    pub exit: Exit,
    /// What was remembered of the child before.
    pub history: ChildHistory,
    /// What was remembered of all children together before.
    pub siblings: SupervisorHistory,
    /// The child's policy.
    pub child: Arc<ChildPolicy>,
    /// The supervisor's policy.
    pub supervisor: SupervisorPolicy,
}

impl Decided {
    pub(crate) fn new(
        decision: Decision,
        budget_used: u32,
        scope: Vec<ActorPath>,
        inputs: DecisionInputs,
    ) -> Self {
        let used = |Budget { restarts_max, window }| BudgetUse {
            used: budget_used,
            max: restarts_max,
            window_ms: millis(window),
        };
        let budget = inputs.child.budget.map(used);
        let base = |decision: &str| Self {
            decision: decision.to_owned(),
            delay_ms: None,
            attempt: None,
            state: None,
            budget,
            scope,
            inputs,
        };
        match decision {
            Decision::Leave => base("leave"),
            Decision::Abandon => base("abandon"),
            Decision::Escalate => base("escalate"),
            Decision::ShutDown => base("shut_down"),
            Decision::Restart { scope: _, delay, attempt, state } => Self {
                delay_ms: Some(millis(delay)),
                attempt: Some(attempt),
                state: Some(state),
                ..base("restart")
            },
        }
    }
}

/// A child's whole budget was given back by hand: what was remembered of its restarts is forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetReset {}
event!(BudgetReset, "budget_reset");

/// What a child was told by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartOrder {
    /// To start, having been stopped or given up.
    Start,
    /// To restart, whatever it was doing.
    Restart,
}

/// A child is to start by hand: now, whatever was decided about it. Where its group is being restarted, the group's
/// delay is cut short with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartOrdered {
    /// What it was told.
    pub order: StartOrder,
}
event!(StartOrdered, "start_ordered");

/// A child's budget is spent; it stays failed until it is reset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GaveUp {
    /// Restarts that were granted and did not help.
    pub restarts: u32,
    /// Why the last incarnation ended.
    pub last_error: Option<String>,
    /// What brings it back.
    pub next_step: String,
}
event!(GaveUp, "gave_up", Error);

/// A supervisor ends itself, and leaves the decision to its own parent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escalated {
    /// Why.
    pub reason: String,
}
event!(Escalated, "escalated", Error);

/// A supervisor ends itself because its significant children have ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoShutDown {
    /// The significant child whose end ended it.
    pub by: ActorPath,
}
event!(AutoShutDown, "auto_shutdown");

/// A checkpoint crashed its successors again and again, and was set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointDiscarded {
    /// Crashes in a row that it is blamed for.
    pub crashes: u32,
}
event!(CheckpointDiscarded, "checkpoint_discarded", Error);

/// Why a message was not handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadLetterReason {
    /// The actor crashed on it.
    Crashed,
    /// The actor was stopped, or failed for good, with the message waiting.
    Stopped,
    /// It waited beyond its deadline.
    Expired,
    /// It was delivered again after a crash, and the actor crashed on it too often.
    Poison,
}

/// A message was accepted and not handled to the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Why.
    pub reason: DeadLetterReason,
    /// What kind of message it was.
    pub label: String,
    /// How often the actor crashed on it, where it is poison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crashes: Option<u32>,
}
event!(DeadLetter, "dead_letter", Warn);

impl DeadLetter {
    pub(crate) fn new(reason: DeadLetterReason, label: &str) -> Self {
        Self { reason, label: label.to_owned(), crashes: None }
    }
}

/// A message that an earlier incarnation did not handle to the end is delivered again, as its type asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redelivered {
    /// What kind of message it is.
    pub label: String,
    /// Crashes on it so far; 0 if its handler was only killed by order.
    pub crashes: u32,
    /// With this many it is poison.
    pub crashes_max: u32,
}
event!(Redelivered, "redelivered");

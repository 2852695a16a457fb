//! The events that the runtime itself records, and the list of their types.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::journal::{
    Event, EventType, JournalDegraded, Level, RUN_END_KIND, RunInterrupted, count, millis, millis_text, word,
};
use crate::path::ActorPath;
use crate::policy::{
    Budget, ChildHistory, ChildPolicy, Decision, Exit, ExitCause, StateSource, SupervisorHistory,
    SupervisorPolicy,
};
use crate::state::{StateDegraded, StateLoaded, StateMigrated, StateRefused};

/// The runtime has started, and its tree starts next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct RuntimeStarted {
    /// The id of the process.
    pub pid: u32,
    /// The version of the runtime.
    pub version: String,
    /// The random id of the run. A client that remembers it notices when a data folder is another one.
    pub boot: String,
}

impl Event for RuntimeStarted {
    const KIND: &'static str = "runtime_started";

    fn describe(&self) -> String {
        format!("the runtime has started as process {}", self.pid)
    }
}

/// The runtime has been asked to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct RuntimeStopping {}

impl Event for RuntimeStopping {
    const KIND: &'static str = "runtime_stopping";

    fn describe(&self) -> String {
        "the runtime is stopping".to_owned()
    }
}

/// The tree has stopped. This is the last event of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct RuntimeStopped {
    /// The cause of the root's end.
    pub cause: ExitCause,
    /// The root's error, unless it ended in order.
    pub message: Option<String>,
}

impl Event for RuntimeStopped {
    const KIND: &'static str = RUN_END_KIND;

    fn describe(&self) -> String {
        match &self.message {
            Some(message) => format!("the runtime has stopped, cause {}: {message}", word(&self.cause)),
            None => "the runtime has stopped".to_owned(),
        }
    }
}

/// An incarnation has been spawned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct ActorStarted {}

impl Event for ActorStarted {
    const KIND: &'static str = "actor_started";
    const LEVEL: Level = Level::Debug;

    fn describe(&self) -> String {
        "a new incarnation is starting".to_owned()
    }
}

/// An incarnation is ready for its first message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct ActorReady {
    /// The time that the start took.
    pub start_ms: u64,
}

impl Event for ActorReady {
    const KIND: &'static str = "actor_ready";

    fn describe(&self) -> String {
        format!("the new incarnation is ready after {}", millis_text(self.start_ms))
    }
}

/// An incarnation has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct ActorExited {
    /// The cause of the end.
    pub cause: ExitCause,
    /// The actor's error or the panic's message, if there is one.
    pub message: Option<String>,
    /// The place of a panic: `file:line:column`.
    pub location: Option<String>,
    /// The backtrace of a panic, if backtraces are enabled (`RUST_BACKTRACE`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub backtrace: Option<String>,
    /// True if a permanent child ended by itself while its supervisor stopped.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unexpected: bool,
    /// True if the incarnation was killed, did not end, and was abandoned. It may still be at work.
    #[serde(default, skip_serializing_if = "is_false")]
    pub abandoned: bool,
    /// True if no restart can heal the error.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unrecoverable: bool,
}

impl Event for ActorExited {
    const KIND: &'static str = "actor_exited";
    const LEVEL: Level = Level::Warn;

    fn level(&self) -> Level {
        if self.cause == ExitCause::Normal { Level::Info } else { Self::LEVEL }
    }

    fn describe(&self) -> String {
        let Self { cause, message, location, abandoned, .. } = self;
        let mut text = match (cause, abandoned) {
            (_, true) => "was killed and did not end, so it is abandoned".to_owned(),
            (ExitCause::Normal, _) => "ended in order".to_owned(),
            (ExitCause::Shutdown, _) => "ended itself as a supervisor".to_owned(),
            (ExitCause::Error, _) => "ended with an error".to_owned(),
            (ExitCause::Panic, _) => "panicked".to_owned(),
            (ExitCause::Killed, _) => "was killed".to_owned(),
            (ExitCause::Stuck, _) => "made no progress and was killed".to_owned(),
            (ExitCause::StartFailed, _) => "failed to start".to_owned(),
        };
        if let Some(message) = message {
            text.push_str(&format!(": {message}"));
        }
        if let Some(location) = location {
            text.push_str(&format!(" (at {location})"));
        }
        text
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// An abandoned incarnation has ended after all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct AbandonedEnded {}

impl Event for AbandonedEnded {
    const KIND: &'static str = "abandoned_ended";

    fn describe(&self) -> String {
        "an abandoned incarnation has ended after all".to_owned()
    }
}

/// A restarted incarnation is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct ActorRestarted {
    /// The time from the exit to now.
    pub downtime_ms: u64,
    /// The state from which it began.
    pub state: StateSource,
    /// The number of messages that waited for it.
    pub backlog: usize,
}

impl Event for ActorRestarted {
    const KIND: &'static str = "actor_restarted";

    fn describe(&self) -> String {
        let Self { downtime_ms, state, backlog } = self;
        let state = match state {
            StateSource::Checkpoint => "its last checkpoint",
            StateSource::Fresh => "a fresh state",
        };
        let downtime = millis_text(*downtime_ms);
        let waited = match backlog {
            0 => String::new(),
            backlog => format!(", and {} waited", count(*backlog, "message")),
        };
        format!("restarted after {downtime} from {state}{waited}")
    }
}

/// The use of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct BudgetUse {
    /// The restarts that count now, this one included.
    pub used: u32,
    /// The restarts that are granted.
    pub max: u32,
    /// The time within which restarts count.
    pub window_ms: u64,
}

/// The kind of a decision; see [`Decision`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum DecisionKind {
    /// Restart the child, and others as the strategy says.
    Restart,
    /// Leave the child ended.
    Leave,
    /// Give the child up: its budget is spent, or no restart can heal it.
    GiveUp,
    /// End the supervisor, so that its parent decides.
    Escalate,
    /// End the supervisor, because its significant children have ended.
    ShutDown,
}

/// A supervisor has decided what follows an exit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Decided {
    /// The decision.
    pub decision: DecisionKind,
    /// The delay before the restart.
    pub delay_ms: Option<u64>,
    /// The number of this restart since the child was last stable.
    pub attempt: Option<u32>,
    /// The state from which the next incarnation begins.
    pub state: Option<StateSource>,
    /// The child's budget after this decision, if it has one.
    pub budget: Option<BudgetUse>,
    /// The children that the decision concerns.
    pub scope: Vec<ActorPath>,
    /// The inputs of the decision, with which a replay repeats it. A duration in it is an object, `secs` and `nanos`.
    pub inputs: DecisionInputs,
}

impl Event for Decided {
    const KIND: &'static str = "decision";

    fn level(&self) -> Level {
        match self.decision {
            DecisionKind::Restart => Level::Warn,
            DecisionKind::GiveUp | DecisionKind::Escalate => Level::Error,
            DecisionKind::Leave | DecisionKind::ShutDown => Self::LEVEL,
        }
    }

    fn describe(&self) -> String {
        self.outcome().describe(self.inputs.exit.unrecoverable)
    }
}

/// A decision without its inputs, which are most of its text. A reader of many decisions need not parse them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct DecisionOutcome {
    /// The decision.
    pub decision: DecisionKind,
    /// The delay before the restart.
    pub delay_ms: Option<u64>,
    /// The number of this restart since the child was last stable.
    pub attempt: Option<u32>,
    /// The child's budget after this decision, if it has one.
    pub budget: Option<BudgetUse>,
}

impl DecisionOutcome {
    /// Returns the decision as one sentence; `unrecoverable` is that of the exit.
    #[must_use]
    pub fn describe(&self, unrecoverable: bool) -> String {
        let budget = match self.budget {
            Some(BudgetUse { used, max, .. }) => format!(" ({used} of {max} restarts used)"),
            None => String::new(),
        };
        match self.decision {
            DecisionKind::Restart => {
                let delay = self.delay_ms.map(|ms| format!(" in {}", millis_text(ms))).unwrap_or_default();
                let attempt = self.attempt.map(|attempt| format!(", attempt {attempt}")).unwrap_or_default();
                format!("decided: restart{delay}{attempt}{budget}")
            }
            DecisionKind::GiveUp if unrecoverable => "decided: give up, since no restart can help".to_owned(),
            DecisionKind::GiveUp => format!("decided: give up{budget}"),
            DecisionKind::Escalate => format!("decided: the parent supervisor decides{budget}"),
            DecisionKind::ShutDown => "decided: the supervisor ends itself".to_owned(),
            DecisionKind::Leave => "decided: leave it stopped".to_owned(),
        }
    }
}

/// The inputs of a decision, complete enough to repeat it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct DecisionInputs {
    /// The time since the runtime started.
    pub now_ms: u64,
    /// The random number that was drawn.
    pub jitter: f64,
    /// The number of other significant children that had not ended.
    pub significant_others: u32,
    /// The exit.
    pub exit: Exit,
    /// The child's history before the exit.
    pub history: ChildHistory,
    /// The history of all children together before the exit.
    pub siblings: SupervisorHistory,
    /// The child's policy.
    pub child: Arc<ChildPolicy>,
    /// The supervisor's policy.
    pub supervisor: SupervisorPolicy,
}

impl Decided {
    /// Returns the decision without its inputs.
    #[must_use]
    pub fn outcome(&self) -> DecisionOutcome {
        let Self { decision, delay_ms, attempt, budget, .. } = *self;
        DecisionOutcome { decision, delay_ms, attempt, budget }
    }

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
        let base =
            |decision| Self { decision, delay_ms: None, attempt: None, state: None, budget, scope, inputs };
        match decision {
            Decision::Leave => base(DecisionKind::Leave),
            Decision::GiveUp => base(DecisionKind::GiveUp),
            Decision::Escalate => base(DecisionKind::Escalate),
            Decision::ShutDown => base(DecisionKind::ShutDown),
            Decision::Restart { scope: _, delay, attempt, state } => Self {
                delay_ms: Some(millis(delay)),
                attempt: Some(attempt),
                state: Some(state),
                ..base(DecisionKind::Restart)
            },
        }
    }
}

/// A command has reset a child's restart budget and history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct BudgetReset {}

impl Event for BudgetReset {
    const KIND: &'static str = "budget_reset";

    fn describe(&self) -> String {
        "a command has reset the restart budget".to_owned()
    }
}

/// A command that starts a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum StartOrder {
    /// Start a child that was stopped or given up.
    Start,
    /// Restart a child in any state.
    Restart,
}

/// A command starts a child at once, whatever was decided about it. If its group is being restarted, the group's delay
/// ends too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct StartOrdered {
    /// The command.
    pub order: StartOrder,
}

impl Event for StartOrdered {
    const KIND: &'static str = "start_ordered";

    fn describe(&self) -> String {
        format!("a command asks it to {}", word(&self.order))
    }
}

/// The origin of a cancelled restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum RestartCanceller {
    /// A command stops the child.
    Command,
    /// The supervisor stops all of its children.
    Supervisor,
}

/// A planned restart is cancelled, and the child stays stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct RestartCancelled {
    /// The origin of the cancellation.
    pub by: RestartCanceller,
}

impl Event for RestartCancelled {
    const KIND: &'static str = "restart_cancelled";

    fn describe(&self) -> String {
        let origin = match self.by {
            RestartCanceller::Command => "a command stops it",
            RestartCanceller::Supervisor => "its supervisor stops",
        };
        format!("{origin}, so its restart is cancelled")
    }
}

/// A child is given up: its restart budget is spent, or no restart can heal it. It stays failed until it is reset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct GaveUp {
    /// The number of restarts that were granted.
    pub restarts: u32,
    /// True if no restart can heal the last error.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unrecoverable: bool,
    /// The error of the last incarnation.
    pub last_error: Option<String>,
    /// The next step, in words: what a person corrects first, or which actor is to be reset.
    pub next_step: String,
}

impl Event for GaveUp {
    const KIND: &'static str = "gave_up";
    const LEVEL: Level = Level::Error;

    fn describe(&self) -> String {
        let Self { restarts, unrecoverable, last_error, next_step } = self;
        let error = last_error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
        match unrecoverable {
            true => format!("given up, since no restart can help{error}: {next_step}"),
            false => format!("given up after {}{error}: {next_step}", count(*restarts, "restart")),
        }
    }
}

/// A supervisor ends itself, and its own parent decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Escalated {
    /// The reason, for a person.
    pub message: String,
}

impl Event for Escalated {
    const KIND: &'static str = "escalated";
    const LEVEL: Level = Level::Error;

    fn describe(&self) -> String {
        format!("the supervisor ends itself, and its parent decides: {}", self.message)
    }
}

/// A supervisor ends itself because its significant children have ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct AutoShutDown {
    /// The significant child whose end ended the supervisor.
    pub child: ActorPath,
}

impl Event for AutoShutDown {
    const KIND: &'static str = "auto_shutdown";

    fn describe(&self) -> String {
        format!("the supervisor ends itself, because {} has ended", self.child)
    }
}

/// A checkpoint crashed several incarnations in a row, and was quarantined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct CheckpointDiscarded {
    /// The number of crashes in a row.
    pub crashes: u32,
}

impl Event for CheckpointDiscarded {
    const KIND: &'static str = "checkpoint_discarded";
    const LEVEL: Level = Level::Error;

    fn describe(&self) -> String {
        format!("the checkpoint is quarantined after {} in a row", count(self.crashes, "crash"))
    }
}

/// The reason why a message was not handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum DeadLetterReason {
    /// The actor crashed on the message.
    Crashed,
    /// The actor stopped, or failed for good, while the message waited.
    Stopped,
    /// The message waited beyond its deadline.
    Expired,
    /// The message was redelivered after a crash, and the actor crashed on it too often.
    Poison,
}

/// A message was accepted, and not handled to the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct DeadLetter {
    /// The reason.
    pub reason: DeadLetterReason,
    /// The kind of the message.
    pub label: String,
    /// The number of crashes on it, if it is poison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub crashes: Option<u32>,
}

impl Event for DeadLetter {
    const KIND: &'static str = "dead_letter";
    const LEVEL: Level = Level::Warn;

    fn describe(&self) -> String {
        format!("message {} was not handled: {}", self.label, self.explain())
    }
}

impl DeadLetter {
    pub(crate) fn new(reason: DeadLetterReason, label: &str) -> Self {
        Self { reason, label: label.to_owned(), crashes: None }
    }

    /// Returns the reason as a part of a sentence.
    #[must_use]
    pub fn explain(&self) -> String {
        match self.reason {
            DeadLetterReason::Crashed => "the actor crashed on it".to_owned(),
            DeadLetterReason::Stopped => "the actor has ended".to_owned(),
            DeadLetterReason::Expired => "its time has run out".to_owned(),
            DeadLetterReason::Poison => match self.crashes {
                Some(crashes) => format!("it is poison, with {}", count(crashes, "crash")),
                None => "it is poison".to_owned(),
            },
        }
    }
}

/// A message that an earlier incarnation did not handle to the end is redelivered, as its type asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Redelivered {
    /// The kind of the message.
    pub label: String,
    /// The number of crashes on it so far; 0 if its handler was only killed by command.
    pub crashes: u32,
    /// The number of crashes that make it poison.
    pub crashes_max: u32,
}

impl Event for Redelivered {
    const KIND: &'static str = "redelivered";

    fn describe(&self) -> String {
        let Self { label, crashes, crashes_max } = self;
        format!("message {label} is redelivered after {crashes} of at most {crashes_max} crashes")
    }
}

/// The types of all events that this crate records.
pub const EVENT_TYPES: &[EventType] = &[
    EventType::of::<RuntimeStarted>(),
    EventType::of::<RuntimeStopping>(),
    EventType::of::<RuntimeStopped>(),
    EventType::of::<RunInterrupted>(),
    EventType::of::<JournalDegraded>(),
    EventType::of::<ActorStarted>(),
    EventType::of::<ActorReady>(),
    EventType::of::<ActorExited>(),
    EventType::of::<AbandonedEnded>(),
    EventType::of::<Decided>(),
    EventType::of::<ActorRestarted>(),
    EventType::of::<BudgetReset>(),
    EventType::of::<StartOrdered>(),
    EventType::of::<RestartCancelled>(),
    EventType::of::<GaveUp>(),
    EventType::of::<Escalated>(),
    EventType::of::<AutoShutDown>(),
    EventType::of::<CheckpointDiscarded>(),
    EventType::of::<DeadLetter>(),
    EventType::of::<Redelivered>(),
    EventType::of::<StateLoaded>(),
    EventType::of::<StateMigrated>(),
    EventType::of::<StateRefused>(),
    EventType::of::<StateDegraded>(),
];

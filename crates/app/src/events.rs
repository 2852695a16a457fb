//! The events of the journal as types: what an embedder reads from a [`Record`], and one sentence for each.
//!
//! ```
//! use mainstay::events::{self, ActorReady};
//! use mainstay::journal::Record;
//!
//! fn print(record: &Record) {
//!     if let Some(ActorReady { start_ms }) = record.event() {
//!         println!("{} was ready after {start_ms} ms", record.actor);
//!     }
//!     println!("{}: {}", record.actor, events::summary(record));
//! }
//! ```

#[cfg(test)]
mod tests;

use mainstay_runtime::journal::escape_controls;
use serde_json::Value;

pub use mainstay_actors::agent::AgentCall;
pub use mainstay_actors::cache::InvalidatedBy;
pub use mainstay_actors::cache::watch::WatchErrorKind;
pub use mainstay_actors::connection::IgnoredReason;
pub use mainstay_actors::events::{
    AgentCallPaused, AgentHealth, AgentQuestion, AgentQuestionSettled, AgentReplyLost, AgentSessionLost,
    AgentStateQuarantined, AgentStuck, BackendResumed, BackendStarted, BackendStarting, BackendSuspended,
    CacheAged, CacheInvalidated, ConnectionChanged, ConnectionIgnored, ConnectionUnsent, Gap, LogsDegraded,
    MessageAnswered, MessageFailed, MessageRedelivered, MessageSent, OutputNoisy, OutputQuiet, ProcessExited,
    QueueHeld, QueueOverflow, QueueReleased, RequestDone, RequestFailed, RequestJoined, RequestRetry,
    RequestStarted, RequestTimedOut, WatchLost, WatchRegained, WatchStarted,
};
pub use mainstay_actors::process::{ManagerWarning, Orphan};
pub use mainstay_actors::queue::events::RequestRef;
pub use mainstay_runtime::events::{
    AbandonedEnded, ActorExited, ActorReady, ActorRestarted, ActorStarted, AutoShutDown, BudgetReset,
    BudgetUse, CheckpointDiscarded, DeadLetter, DeadLetterReason, Decided, DecisionInputs, DecisionKind,
    DecisionOutcome, Escalated, GaveUp, Redelivered, RestartCancelled, RestartCanceller, RuntimeStarted,
    RuntimeStopped, RuntimeStopping, StartOrder, StartOrdered,
};
pub use mainstay_runtime::journal::{
    Event, EventType, FaultPhase, JournalDegraded, Level, Record, RunInterrupted,
};
pub use mainstay_runtime::policy::{ChildHistory, Exit, StateSource, SupervisorHistory};
pub use mainstay_runtime::state::{StateDegraded, StateLoaded, StateMigrated, StateRefused};

pub use crate::agents::events::AgentOutdated;
pub use crate::credentials::CredentialsChanged;
pub use crate::process_events::{LoginEnvFailed, PidFileDamaged, ProcessOrphaned, ProcessWarning};
pub use crate::standstill::RuntimeStoodStill;

/// The types of the events that this crate records.
const OWN_TYPES: &[EventType] = &[
    EventType::of::<AgentOutdated>(),
    EventType::of::<CredentialsChanged>(),
    EventType::of::<ProcessOrphaned>(),
    EventType::of::<PidFileDamaged>(),
    EventType::of::<ProcessWarning>(),
    EventType::of::<RuntimeStoodStill>(),
    EventType::of::<LoginEnvFailed>(),
];

/// Returns the types of all events that Mainstay records.
pub fn types() -> impl Iterator<Item = &'static EventType> {
    [mainstay_runtime::events::EVENT_TYPES, mainstay_actors::events::EVENT_TYPES, OWN_TYPES]
        .into_iter()
        .flatten()
}

/// Returns what happened, as one plain sentence about the record's actor.
#[must_use]
pub fn summary(record: &Record) -> String {
    read(record).1
}

/// Returns the record's level and its sentence. A kind or fields that this version does not know get a generic sentence.
pub(crate) fn read(record: &Record) -> (Level, String) {
    let known = types().find(|event_type| event_type.kind() == record.kind);
    match known.map(|event_type| event_type.read(record)) {
        Some(Some(read)) => read,
        Some(None) => (Level::Warn, generic_summary(" cannot be read:", record)),
        None => (Level::Info, generic_summary("", record)),
    }
}

fn generic_summary(state: &str, record: &Record) -> String {
    let fields = record.fields.iter().map(|(name, value)| match value {
        Value::String(text) => format!(" {name}={text}"),
        value => format!(" {name}={value}"),
    });
    escape_controls(&format!("event {}{state}{}", record.kind, fields.collect::<String>()))
}

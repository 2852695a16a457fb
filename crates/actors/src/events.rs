//! The events that the actors record, and the list of their types.

use mainstay_runtime::journal::EventType;

pub use crate::agent::{
    AgentCallPaused, AgentHealth, AgentQuestion, AgentQuestionSettled, AgentReplyLost, AgentSessionLost,
    AgentStateQuarantined, AgentStuck, MessageAnswered, MessageFailed, MessageRedelivered, MessageSent,
};
pub use crate::cache::watch::{WatchLost, WatchRegained, WatchStarted};
pub use crate::cache::{CacheAged, CacheInvalidated};
pub use crate::connection::resumption::Gap;
pub use crate::connection::{ConnectionChanged, ConnectionIgnored, ConnectionUnsent};
pub use crate::logs::{LogsDegraded, OutputNoisy, OutputQuiet};
pub use crate::process::{BackendResumed, BackendStarted, BackendStarting, BackendSuspended, ProcessExited};
pub use crate::queue::events::{
    QueueHeld, QueueOverflow, QueueReleased, RequestDone, RequestFailed, RequestJoined, RequestRetry,
    RequestStarted, RequestTimedOut,
};

/// The types of all events that this crate records.
pub const EVENT_TYPES: &[EventType] = &[
    EventType::of::<BackendStarting>(),
    EventType::of::<BackendStarted>(),
    EventType::of::<BackendSuspended>(),
    EventType::of::<BackendResumed>(),
    EventType::of::<ProcessExited>(),
    EventType::of::<OutputNoisy>(),
    EventType::of::<OutputQuiet>(),
    EventType::of::<LogsDegraded>(),
    EventType::of::<ConnectionChanged>(),
    EventType::of::<Gap>(),
    EventType::of::<ConnectionUnsent>(),
    EventType::of::<ConnectionIgnored>(),
    EventType::of::<RequestStarted>(),
    EventType::of::<RequestJoined>(),
    EventType::of::<RequestRetry>(),
    EventType::of::<RequestDone>(),
    EventType::of::<RequestFailed>(),
    EventType::of::<RequestTimedOut>(),
    EventType::of::<QueueHeld>(),
    EventType::of::<QueueReleased>(),
    EventType::of::<QueueOverflow>(),
    EventType::of::<CacheInvalidated>(),
    EventType::of::<CacheAged>(),
    EventType::of::<WatchStarted>(),
    EventType::of::<WatchLost>(),
    EventType::of::<WatchRegained>(),
    EventType::of::<AgentHealth>(),
    EventType::of::<AgentStuck>(),
    EventType::of::<AgentStateQuarantined>(),
    EventType::of::<AgentCallPaused>(),
    EventType::of::<AgentSessionLost>(),
    EventType::of::<AgentQuestion>(),
    EventType::of::<AgentQuestionSettled>(),
    EventType::of::<AgentReplyLost>(),
    EventType::of::<MessageSent>(),
    EventType::of::<MessageAnswered>(),
    EventType::of::<MessageFailed>(),
    EventType::of::<MessageRedelivered>(),
];

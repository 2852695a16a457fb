//! What the journal says of requests.
//!
//! Each request that was accepted ends with exactly one of `request_done`, `request_failed`, `request_timed_out` and
//! `queue_overflow`. None of them holds a query, a header or a body.

use std::fmt;
use std::time::Duration;

use mainstay_runtime::{
    Context, FinalizeContext, Message,
    journal::{Event, Level, count, millis, millis_text},
};
use serde::{Deserialize, Serialize};

use super::{gate::Outage, priority_queue::Overflow};
use crate::{
    error::{Code, Error, Reason, excerpt},
    request::{Priority, Request, RequestId},
};

/// The most of a path that an event shows, in characters.
const PATH_CHARS_MAX: usize = 200;

/// Which request an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRef {
    /// Its id.
    pub request_id: RequestId,
    /// Its method.
    pub method: String,
    /// Its path without the query; a long one is cut.
    pub path: String,
}

impl fmt::Display for RequestRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request_id, method, path } = self;
        write!(f, "request {request_id} ({method} {path})")
    }
}

impl RequestRef {
    pub(super) fn new(request_id: RequestId, request: &Request) -> Self {
        let path = excerpt(request.path_without_query(), PATH_CHARS_MAX);
        Self { request_id, method: request.method().to_string(), path }
    }
}

/// An attempt has begun. Written only when the journal is verbose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestStarted {
    /// Which request.
    #[serde(flatten)]
    pub request: RequestRef,
    /// The number of the attempt; the first is 1.
    pub attempt: u32,
    /// How long ago the request was accepted.
    pub waited_ms: u64,
}

impl Event for RequestStarted {
    const KIND: &'static str = "request_started";
    const LEVEL: Level = Level::Debug;
    const VERBOSE: bool = true;

    fn describe(&self) -> String {
        format!("{} is sent, attempt {}, after {}", self.request, self.attempt, millis_text(self.waited_ms))
    }
}

/// A caller waits for a request that another had made already. Written only when the journal is verbose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestJoined {
    /// Which request, by the id that this caller knows it by.
    #[serde(flatten)]
    pub request: RequestRef,
    /// The id of the request that it shares.
    pub with: RequestId,
}

impl Event for RequestJoined {
    const KIND: &'static str = "request_joined";
    const LEVEL: Level = Level::Debug;
    const VERBOSE: bool = true;

    fn describe(&self) -> String {
        format!("{} shares the response of request {}", self.request, self.with)
    }
}

/// An attempt has failed and another will follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRetry {
    /// Which request.
    #[serde(flatten)]
    pub request: RequestRef,
    /// The number of the attempt that will follow.
    pub attempt: u32,
    /// After how long at the earliest.
    pub delay_ms: u64,
    /// Why the last one failed.
    pub reason: Reason,
}

impl Event for RequestRetry {
    const KIND: &'static str = "request_retry";
    const LEVEL: Level = Level::Warn;

    fn describe(&self) -> String {
        let Self { request, attempt, delay_ms, reason } = self;
        format!("{request} is sent again in {}, attempt {attempt}: {reason}", millis_text(*delay_ms))
    }
}

/// A request was answered, and its answer read to the end. Written only when the journal is verbose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestDone {
    /// Which request.
    #[serde(flatten)]
    pub request: RequestRef,
    /// The HTTP status.
    pub status: u16,
    /// From the request's acceptance to its answer.
    pub ms: u64,
    /// Whether the answer came from the cache.
    pub cached: bool,
    /// How many attempts it took.
    pub attempts: u32,
    /// How many bytes the answer's body had.
    #[serde(default)]
    pub bytes: u64,
}

impl Event for RequestDone {
    const KIND: &'static str = "request_done";
    const LEVEL: Level = Level::Debug;
    const VERBOSE: bool = true;

    fn describe(&self) -> String {
        let Self { request, status, ms, cached, attempts, .. } = self;
        let source = if *cached { " from the cache" } else { "" };
        format!(
            "{request} is done with status {status}{source}, after {} and {}",
            millis_text(*ms),
            count(*attempts, "attempt")
        )
    }
}

/// A request has failed, or was called off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestFailed {
    /// Which request.
    #[serde(flatten)]
    pub request: RequestRef,
    /// The kind of failure.
    pub code: Code,
    /// Why.
    pub reason: Reason,
    /// The HTTP status, if there was one.
    pub status: Option<u16>,
    /// From the request's acceptance to its end.
    pub ms: u64,
    /// How many attempts were made.
    pub attempts: u32,
}

impl RequestFailed {
    pub(super) fn new(subject: RequestRef, error: &Error, lasted: Duration) -> Self {
        let Error { code, reason, status, attempts, .. } = *error;
        Self { request: subject, code, reason, status, ms: millis(lasted), attempts }
    }
}

impl Event for RequestFailed {
    const KIND: &'static str = "request_failed";
    const LEVEL: Level = Level::Warn;

    fn describe(&self) -> String {
        let Self { request, code, reason, status, ms, attempts } = self;
        let status = status.map(|status| format!(", status {status}")).unwrap_or_default();
        format!(
            "{request} has failed after {} and {}: {code}, {reason}{status}",
            millis_text(*ms),
            count(*attempts, "attempt")
        )
    }
}

/// A request has run out of time, in the queue or at the backend: its code is `TIMEOUT`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestTimedOut(pub RequestFailed);

impl Event for RequestTimedOut {
    const KIND: &'static str = "request_timed_out";
    const LEVEL: Level = Level::Warn;

    fn describe(&self) -> String {
        let RequestFailed { request, ms, attempts, .. } = &self.0;
        format!("{request} has timed out after {} and {}", millis_text(*ms), count(*attempts, "attempt"))
    }
}

/// The backend cannot be reached, so requests are held: they wait, and use up no retry. Told again with each trial that
/// fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueHeld {
    /// What keeps them: `disconnected` where only the link has told so far.
    pub reason: Reason,
    /// How many trials have failed.
    pub failures: u32,
    /// After how long the next one may go out.
    pub next_probe_in_ms: u64,
    /// How many requests wait.
    pub waiting: usize,
}

impl QueueHeld {
    pub(super) fn new(hold: &Outage, now: Duration, waiting: usize) -> Self {
        let next_trial_in_ms = millis(hold.next_probe_at.saturating_sub(now));
        Self { reason: hold.reason, failures: hold.failures, next_probe_in_ms: next_trial_in_ms, waiting }
    }
}

impl Event for QueueHeld {
    const KIND: &'static str = "queue_held";
    const LEVEL: Level = Level::Warn;

    fn describe(&self) -> String {
        let Self { reason, next_probe_in_ms, waiting, .. } = self;
        let (requests, probe) = (count(*waiting, "request"), millis_text(*next_probe_in_ms));
        format!("the queue holds {requests}, next probe in {probe}: {reason}")
    }
}

/// The backend can be reached again, and requests go out in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueReleased {
    /// What kept them last.
    pub reason: Reason,
    /// How many trials had failed.
    pub failures: u32,
    /// How long they were held.
    pub held_ms: u64,
    /// How many requests wait.
    pub waiting: usize,
}

impl QueueReleased {
    pub(super) fn new(hold: &Outage, now: Duration, waiting: usize) -> Self {
        let held_ms = millis(now.saturating_sub(hold.since));
        Self { reason: hold.reason, failures: hold.failures, held_ms, waiting }
    }
}

impl Event for QueueReleased {
    const KIND: &'static str = "queue_released";

    fn describe(&self) -> String {
        let Self { held_ms, waiting, .. } = self;
        format!(
            "the queue sends requests again after {}, {} waited",
            millis_text(*held_ms),
            count(*waiting, "request")
        )
    }
}

/// The queue was full, and this request was turned away or had to make room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueOverflow {
    /// Which request.
    #[serde(flatten)]
    pub request: RequestRef,
    /// `queue_full`: it was turned away; `evicted`: it had to make room for another.
    pub reason: Reason,
    /// Its priority.
    pub priority: Priority,
    /// The rule that it fell under.
    pub overflow: Overflow,
    /// How many may wait.
    pub queue_max: usize,
}

impl Event for QueueOverflow {
    const KIND: &'static str = "queue_overflow";
    const LEVEL: Level = Level::Warn;

    fn describe(&self) -> String {
        let Self { request, reason, queue_max, .. } = self;
        match reason {
            Reason::Evicted => format!("{request} is evicted, because the queue is full with {queue_max}"),
            _ => format!("{request} is refused, because the queue is full with {queue_max}"),
        }
    }
}

/// Whoever can write into the journal on the queue's behalf.
pub(super) trait EventSink {
    fn write(&self, event: &impl Event);
}

impl<M: Message> EventSink for Context<M> {
    fn write(&self, event: &impl Event) {
        self.record(event);
    }
}

impl EventSink for FinalizeContext<'_> {
    fn write(&self, event: &impl Event) {
        self.record(event);
    }
}

//! The journal's events about requests.
//!
//! Each accepted request ends with exactly one of `request_done`, `request_failed`, `request_timed_out` and
//! `queue_overflow`. None of them holds a query, a header or a body.

use std::fmt;
use std::time::Duration;

use mainstay_runtime::{
    Context, FinalizeContext, Message,
    journal::{Event, Level, count, millis, millis_text},
};
use serde::{Deserialize, Serialize};

use super::{absence::BackendAbsence, gate::Outage, priority_queue::Overflow};
use crate::{
    error::{Code, Error, Reason, Secrets, excerpt},
    request::{Priority, Request, RequestId},
};

/// The longest path in an event, in characters.
pub(super) const PATH_CHARS_MAX: usize = 200;

/// The request that an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct RequestRef {
    /// The request's id.
    pub request_id: RequestId,
    /// The request's method.
    pub method: String,
    /// The request's path without the query, cut at 200 characters.
    pub path: String,
}

impl fmt::Display for RequestRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request_id, method, path } = self;
        write!(f, "request {request_id} ({method} {path})")
    }
}

impl RequestRef {
    /// Creates the reference. `secrets` are redacted from a path that is cut, since the journal finds only whole ones.
    pub(super) fn new(request_id: RequestId, request: &Request, secrets: impl FnOnce() -> Secrets) -> Self {
        let path = request.path_without_query();
        let path = match path.chars().nth(PATH_CHARS_MAX) {
            Some(_) => excerpt(&secrets().redact(path), PATH_CHARS_MAX),
            None => path.to_owned(),
        };
        Self { request_id, method: request.method().to_string(), path }
    }
}

/// An attempt has started. Written only to a verbose journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct RequestStarted {
    /// The request.
    #[serde(flatten)]
    pub request: RequestRef,
    /// The number of the attempt; the first is 1.
    pub attempt: u32,
    /// The time since the request was accepted, in milliseconds.
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

/// A caller shares a request that another caller has made. Written only to a verbose journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct RequestJoined {
    /// The request, by the id that this caller got.
    #[serde(flatten)]
    pub request: RequestRef,
    /// The id of the shared request.
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
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct RequestRetry {
    /// The request.
    #[serde(flatten)]
    pub request: RequestRef,
    /// The number of the next attempt.
    pub attempt: u32,
    /// The delay before the next attempt, in milliseconds.
    pub delay_ms: u64,
    /// The reason of the failure.
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

/// A request has succeeded and its body was read to the end. Written only to a verbose journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct RequestDone {
    /// The request.
    #[serde(flatten)]
    pub request: RequestRef,
    /// The HTTP status.
    pub status: u16,
    /// The time from acceptance to response, in milliseconds.
    pub ms: u64,
    /// True if the response came from the cache.
    pub cached: bool,
    /// The number of attempts made.
    pub attempts: u32,
    /// The size of the response body in bytes.
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

/// A request has failed, or was cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct RequestFailed {
    /// The request.
    #[serde(flatten)]
    pub request: RequestRef,
    /// The kind of failure.
    pub code: Code,
    /// The reason.
    pub reason: Reason,
    /// The HTTP status, if there was one.
    pub status: Option<u16>,
    /// The time from acceptance to end, in milliseconds.
    pub ms: u64,
    /// The number of attempts made.
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

/// A request has timed out, in the queue or at the backend: its code is `TIMEOUT`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
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

/// The backend cannot be reached, so requests wait without using up retries. Written again after each probe that
/// fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct QueueHeld {
    /// The cause: `disconnected` if only the connection has reported it so far.
    pub reason: Reason,
    /// The number of failed probes.
    pub failures: u32,
    /// The delay before the next probe, in milliseconds; null if there is none before the backend runs.
    pub next_probe_in_ms: Option<u64>,
    /// The number of waiting requests.
    pub waiting: usize,
    /// The state of the backend that the runtime starts, and its next step, if that is the cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub backend: Option<String>,
    /// True if nothing is wrong: that backend is starting, and has not failed before. The event is information then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_orderly_start: bool,
}

impl QueueHeld {
    pub(super) fn new(
        outage: &Outage,
        absence: Option<&BackendAbsence>,
        now: Duration,
        waiting: usize,
    ) -> Self {
        let next_probe_in_ms = absence.is_none().then(|| millis(outage.next_probe_at.saturating_sub(now)));
        Self {
            reason: outage.reason,
            failures: outage.failures,
            next_probe_in_ms,
            waiting,
            backend: absence.map(|absence| absence.text.clone()),
            is_orderly_start: absence.is_some_and(|absence| absence.is_orderly_start),
        }
    }
}

impl Event for QueueHeld {
    const KIND: &'static str = "queue_held";
    const LEVEL: Level = Level::Warn;

    fn level(&self) -> Level {
        if self.is_orderly_start { Level::Info } else { Self::LEVEL }
    }

    fn describe(&self) -> String {
        let Self { reason, next_probe_in_ms, waiting, backend, .. } = self;
        let requests = match waiting {
            0 => "the requests to come".to_owned(),
            waiting => count(*waiting, "request"),
        };
        match (backend, next_probe_in_ms) {
            (Some(backend), _) => format!("the queue holds {requests}: {backend}"),
            (None, Some(ms)) => {
                format!("the queue holds {requests}, next probe in {}: {reason}", millis_text(*ms))
            }
            (None, None) => format!("the queue holds {requests}: {reason}"),
        }
    }
}

/// The backend can be reached again, so requests run in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct QueueReleased {
    /// The last cause of the outage.
    pub reason: Reason,
    /// The number of failed probes.
    pub failures: u32,
    /// The length of the outage in milliseconds.
    pub held_ms: u64,
    /// The number of waiting requests.
    pub waiting: usize,
}

impl QueueReleased {
    pub(super) fn new(outage: &Outage, now: Duration, waiting: usize) -> Self {
        let held_ms = millis(now.saturating_sub(outage.since));
        Self { reason: outage.reason, failures: outage.failures, held_ms, waiting }
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

/// The queue was full, and this request was rejected or evicted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct QueueOverflow {
    /// The request.
    #[serde(flatten)]
    pub request: RequestRef,
    /// `queue_full`: the request was rejected; `evicted`: another request took its position.
    pub reason: Reason,
    /// The request's priority.
    pub priority: Priority,
    /// The overflow policy that was applied.
    pub overflow: Overflow,
    /// The most requests that may wait.
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

/// Writes events into the journal on the queue's behalf.
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

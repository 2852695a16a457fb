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

use super::{absence::BackendAbsence, attempt::AttemptCount, gate::Outage, priority_queue::Overflow};
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
    /// The number of attempts at another, slow path that left their permits to this one.
    #[serde(default)]
    pub slow: usize,
}

impl Event for RequestStarted {
    const KIND: &'static str = "request_started";
    const LEVEL: Level = Level::Debug;
    const VERBOSE: bool = true;

    fn describe(&self) -> String {
        let Self { request, attempt, waited_ms, slow } = self;
        let text = format!("{request} is sent, attempt {attempt}, after {}", millis_text(*waited_ms));
        match *slow {
            0 => text,
            slow => format!("{text}, beside {slow} slow attempts at one path"),
        }
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

/// An attempt has failed and another is planned. If it is not made, the request's last event has `dropped_attempt`.
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
    /// The attempt that `request_retry` announced and that was not made, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub dropped_attempt: Option<u32>,
}

impl RequestFailed {
    pub(super) fn new(subject: RequestRef, error: &Error, lasted: Duration, attempts: AttemptCount) -> Self {
        let Error { code, reason, status, .. } = *error;
        let (ms, dropped_attempt) = (millis(lasted), attempts.dropped());
        Self { request: subject, code, reason, status, ms, attempts: attempts.made, dropped_attempt }
    }
}

impl Event for RequestFailed {
    const KIND: &'static str = "request_failed";
    const LEVEL: Level = Level::Warn;

    fn describe(&self) -> String {
        let Self { request, reason, status, ms, attempts, dropped_attempt, .. } = self;
        let dropped = without_attempt(*dropped_attempt);
        if *reason == Reason::Quarantined {
            return format!(
                "{request} is quarantined after {}, because the backend ended over it{dropped}",
                count(*attempts, "attempt")
            );
        }
        let status = status.map(|status| format!(", status {status}")).unwrap_or_default();
        format!(
            "{request} has failed after {} and {}{}: {reason}{status}{dropped}",
            millis_text(*ms),
            count(*attempts, "attempt"),
            unknown_outcome(*reason)
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
        let RequestFailed { request, ms, attempts, reason, dropped_attempt, .. } = &self.0;
        format!(
            "{request} has timed out after {} and {}{}{}",
            millis_text(*ms),
            count(*attempts, "attempt"),
            unknown_outcome(*reason),
            without_attempt(*dropped_attempt)
        )
    }
}

/// Returns a remark on the attempt that was announced and not made.
fn without_attempt(dropped: Option<u32>) -> String {
    dropped.map(|attempt| format!("; attempt {attempt} is not made")).unwrap_or_default()
}

/// Returns a remark on a request that may have been carried out.
const fn unknown_outcome(reason: Reason) -> &'static str {
    match reason {
        Reason::OutcomeUnknown => ", and the backend may have carried it out",
        _ => "",
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
    /// The number of requests that waited for its end, also those that were sent as probes.
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
        let waited = match waiting {
            0 => String::new(),
            waiting => format!(", {} waited", count(*waiting, "request")),
        };
        format!("the queue sends requests again after {}{waited}", millis_text(*held_ms))
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
    /// The attempt that `request_retry` announced and that was not made, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub dropped_attempt: Option<u32>,
}

impl Event for QueueOverflow {
    const KIND: &'static str = "queue_overflow";
    const LEVEL: Level = Level::Warn;

    fn describe(&self) -> String {
        let Self { request, reason, queue_max, dropped_attempt, .. } = self;
        match reason {
            Reason::Evicted => format!(
                "{request} is evicted, because the queue is full with {queue_max}{}",
                without_attempt(*dropped_attempt)
            ),
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

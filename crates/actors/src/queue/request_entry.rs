//! An accepted request that has not ended, with its callers and its phase, and as lists show it.

use std::sync::Arc;
use std::time::Duration;

use mainstay_runtime::journal::millis;
use serde::{Deserialize, Serialize};

use super::attempt::AttemptCount;
use super::events::PATH_CHARS_MAX;
use super::groups::GroupSet;
use super::permits::Resource;
use super::priority_queue::QueueItem;
use super::responder::Responder;
use crate::error::{Error, Reason, excerpt};
use crate::quarantine::DeathRecord;
use crate::request::{Priority, Request};
use crate::request_id::RequestId;

/// A caller that waits for a request.
#[derive(Debug)]
pub(super) struct Waiter {
    /// The id that this caller got.
    pub(super) id: RequestId,
    pub(super) responder: Responder,
    /// The time at which it asked.
    pub(super) queued_at: Duration,
    /// The time at which its wait ends, if the request is still waiting then.
    pub(super) deadline: Duration,
    /// The time at which it must have its response, if it has a deadline for the whole.
    pub(super) ends_at: Option<Duration>,
}

/// An accepted request.
#[derive(Debug)]
pub(super) struct RequestEntry {
    pub(super) request: Arc<Request>,
    /// In order of arrival; never empty while the entry is in the table.
    pub(super) waiters: Vec<Waiter>,
    /// The highest priority that a waiter asked for.
    pub(super) priority: Priority,
    /// The groups whose limits apply.
    pub(super) groups: GroupSet,
    /// The resource whose share of the permits applies.
    pub(super) resource: Resource,
    /// The time of arrival.
    pub(super) queued_at: Duration,
    pub(super) attempts: AttemptCount,
    /// True if the backend may have acted on an attempt that has ended.
    pub(super) may_have_acted: bool,
    /// True if an attempt ended with a rejected token, and another attempt followed with a new one.
    pub(super) has_renewed_token: bool,
    /// The reason of the last failure: of the attempts that the backend may have acted on, or of all if there is
    /// none.
    pub(super) last_failure: Option<Reason>,
    /// The backend's deaths during attempts at this request.
    pub(super) deaths: DeathRecord,
    pub(super) phase: RequestPhase,
}

/// The phase of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestPhase {
    /// The request waits in the queue.
    Waiting {
        /// The earliest time of the next attempt.
        not_before: Duration,
    },
    /// An attempt is in flight.
    Running,
    /// The response is being streamed to the caller. There is no other attempt.
    Streaming,
}

/// A request that has not ended, as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct PendingRequest {
    /// The id of the caller that has waited longest.
    pub request_id: RequestId,
    /// The method.
    pub method: String,
    /// The path without the query, cut at 200 characters.
    pub path: String,
    /// The priority.
    pub priority: Priority,
    /// The phase.
    pub phase: PendingPhase,
    /// The number of attempts made, the present one included.
    pub attempts: u32,
    /// The time since its arrival, in milliseconds.
    pub age_ms: u64,
}

/// The phase of a request that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum PendingPhase {
    /// The request waits for its turn, for room in its groups, or for the backend.
    Waiting,
    /// The request waits for its next attempt.
    BackingOff,
    /// An attempt is in flight.
    Running,
}

impl RequestEntry {
    /// Returns the id in the journal: that of the longest waiter.
    pub(super) fn lead_id(&self, id: RequestId) -> RequestId {
        self.waiters.first().map_or(id, |waiter| waiter.id)
    }

    /// Returns the request's item for the queue.
    pub(super) fn queue_item(&self, id: RequestId) -> QueueItem<()> {
        let Self { priority, queued_at, groups, resource, .. } = *self;
        QueueItem { id, priority, queued_at, deadline: self.deadline(), groups, resource, payload: () }
    }

    /// Returns the time at which the first of its waiters must not wait any longer.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.waiters.iter().map(|waiter| waiter.deadline).chain(self.ends_at()).min()
    }

    /// Returns the time by which the first of its waiters must have the response.
    pub(super) fn ends_at(&self) -> Option<Duration> {
        self.waiters.iter().filter_map(|waiter| waiter.ends_at).min()
    }

    /// Returns the time that is left for those waiters that may wait longest; `None` if one has no limit.
    pub(super) fn time_left(&self, now: Duration) -> Option<Duration> {
        let later = |last: Duration, waiter: &Waiter| waiter.ends_at.map(|at| at.max(last));
        Some(self.waiters.iter().try_fold(Duration::ZERO, later)?.saturating_sub(now))
    }

    /// Returns the request as a list shows it.
    pub(super) fn to_pending(&self, id: RequestId, now: Duration) -> PendingRequest {
        let phase = match self.phase {
            RequestPhase::Waiting { not_before } if not_before > now && not_before < Duration::MAX => {
                PendingPhase::BackingOff
            }
            RequestPhase::Waiting { .. } => PendingPhase::Waiting,
            RequestPhase::Running | RequestPhase::Streaming => PendingPhase::Running,
        };
        PendingRequest {
            request_id: self.lead_id(id),
            method: self.request.method().to_string(),
            path: excerpt(self.request.path_without_query(), PATH_CHARS_MAX),
            priority: self.priority,
            phase,
            attempts: self.attempts.made,
            age_ms: millis(now.saturating_sub(self.queued_at)),
        }
    }

    /// Returns the error for a request that ends without a result, for `reason`.
    ///
    /// The outcome is unknown if the request must not be repeated and an attempt may have reached the backend. The
    /// same holds for a streamed response: its rest might have reported a failure.
    pub(super) fn abort_error(&self, reason: Reason) -> Error {
        let error = Error::new(reason);
        let under_way = matches!(self.phase, RequestPhase::Running | RequestPhase::Streaming);
        let in_doubt = (under_way || self.may_have_acted) && !self.request.is_repeatable();
        if in_doubt { Error::outcome_unknown(error) } else { error }
    }
}

//! What is known of one request, and who waits for it.
//!
//! As a rule one caller waits. Where callers allow it (see `RequestBuilder::shared`), several wait for one and the same
//! request: each under an id of its own, with its own patience and its own fate.

use std::{sync::Arc, time::Duration};

use mainstay_runtime::Reply;

use super::{
    download::Download,
    priority_queue::QueueItem,
    responder::{Responder, StreamFailure},
};
use crate::{
    error::{Error, Reason},
    quarantine::DeathRecord,
    request::{Priority, Request, RequestId},
};

/// Somebody who waits for a request.
#[derive(Debug)]
pub(super) struct Waiter {
    /// The id that this caller knows the request by.
    pub(super) id: RequestId,
    pub(super) responder: Responder,
    /// When it asked.
    pub(super) queued_at: Duration,
    /// When it has waited too long, if the request still waits then.
    pub(super) deadline: Duration,
}

/// What is known of one request.
#[derive(Debug)]
pub(super) struct RequestEntry {
    pub(super) request: Arc<Request>,
    /// In the order in which they came; never empty while the page is in the book.
    pub(super) waiters: Vec<Waiter>,
    /// The most urgent that a caller asked for.
    pub(super) priority: Priority,
    /// When it arrived.
    pub(super) queued_at: Duration,
    /// How many attempts have begun. One that found nobody is taken back.
    pub(super) attempts: u32,
    /// Whether the backend may have acted on one that has ended.
    pub(super) may_have_acted: bool,
    /// Why the last attempt failed: of those that the backend may have acted on, or
    /// of all if there is none.
    pub(super) last_failure: Option<Reason>,
    /// How often the backend died over it.
    pub(super) deaths: DeathRecord,
    pub(super) phase: RequestPhase,
}

/// What a request is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestPhase {
    /// It waits for its turn.
    Waiting {
        /// It takes no turn before this.
        not_before: Duration,
    },
    /// An attempt is under way.
    Running,
    /// Its answer has begun, and its caller has the beginning. It takes no other attempt.
    Streaming,
}

/// An attempt that is to be made.
pub(super) struct Attempt {
    pub(super) request: Arc<Request>,
    /// The id that the journal knows it by.
    pub(super) lead_id: RequestId,
    /// The first is 1.
    pub(super) number: u32,
    /// Whether none has ended before, not even one that reached nobody.
    pub(super) is_first: bool,
    pub(super) queued_at: Duration,
    /// Whether the answer is wanted as it comes.
    pub(super) is_streaming: bool,
}

/// A request whose answer has begun, and who gets its beginning.
pub(super) struct StreamStart {
    pub(super) request: Arc<Request>,
    pub(super) reply: Reply<Result<Download, Error>>,
    pub(super) failure: StreamFailure,
    pub(super) attempts: u32,
}

impl RequestEntry {
    /// The id that the journal knows it by: that of whoever has waited the longest.
    pub(super) fn lead_id(&self, id: RequestId) -> RequestId {
        self.waiters.first().map_or(id, |waiter| waiter.id)
    }

    /// As it stands in line, if it waits.
    pub(super) fn queue_item(&self, id: RequestId) -> QueueItem<()> {
        let (priority, queued_at) = (self.priority, self.queued_at);
        QueueItem { id, priority, queued_at, deadline: self.deadline(), payload: () }
    }

    /// When the first of its callers has waited too long.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.waiters.iter().map(|waiter| waiter.deadline).min()
    }

    /// What is to be said if nothing more can be done for the request, for `reason`.
    ///
    /// If an attempt may have reached the backend, the one under way or an earlier one, and must not be repeated, its outcome
    /// is unknown. So it is
    /// where an answer has begun: its rest might have told of a failure.
    pub(super) fn abort_error(&self, reason: Reason) -> Error {
        let error = Error::new(reason);
        let under_way = matches!(self.phase, RequestPhase::Running | RequestPhase::Streaming);
        let in_doubt = (under_way || self.may_have_acted) && !self.request.is_repeatable();
        if in_doubt { Error::outcome_unknown(error) } else { error }
    }
}

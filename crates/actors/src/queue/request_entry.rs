//! One accepted request, its waiters, and the way to answer them.
//!
//! Most requests have one waiter. A shared request (see `RequestBuilder::shared`) has several: each with its own id,
//! its own `wait_timeout` and its own result.

use std::{sync::Arc, time::Duration};

use mainstay_runtime::Reply;

use super::{
    download::{Download, StreamFailure},
    priority_queue::QueueItem,
};
use crate::{
    error::{Error, Reason},
    quarantine::DeathRecord,
    request::{Priority, Request, RequestId, Response},
};

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
}

/// An accepted request.
#[derive(Debug)]
pub(super) struct RequestEntry {
    pub(super) request: Arc<Request>,
    /// In order of arrival; never empty while the entry is in the table.
    pub(super) waiters: Vec<Waiter>,
    /// The highest priority that a waiter asked for.
    pub(super) priority: Priority,
    /// The time of arrival.
    pub(super) queued_at: Duration,
    /// The number of attempts made. An attempt that could not connect is subtracted again.
    pub(super) attempts: u32,
    /// Whether the backend may have acted on an attempt that has ended.
    pub(super) may_have_acted: bool,
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
    /// It waits in the queue.
    Waiting {
        /// The earliest time of the next attempt.
        not_before: Duration,
    },
    /// An attempt is in flight.
    Running,
    /// The response is being streamed to the caller. There is no other attempt.
    Streaming,
}

/// An attempt to make.
pub(super) struct Attempt {
    pub(super) request: Arc<Request>,
    /// The id in the journal: that of the longest waiter.
    pub(super) lead_id: RequestId,
    /// The attempt's number; the first is 1.
    pub(super) number: u32,
    /// Whether no attempt has ended before, not even one that could not connect.
    pub(super) is_first: bool,
    pub(super) queued_at: Duration,
    /// Whether the response is streamed.
    pub(super) is_streaming: bool,
}

/// A request whose response has started, and the reply for its caller.
pub(super) struct StreamStart {
    pub(super) request: Arc<Request>,
    pub(super) reply: Reply<Result<Download, Error>>,
    pub(super) failure: StreamFailure,
    pub(super) attempts: u32,
}

impl RequestEntry {
    /// The id in the journal: that of the longest waiter.
    pub(super) fn lead_id(&self, id: RequestId) -> RequestId {
        self.waiters.first().map_or(id, |waiter| waiter.id)
    }

    /// Returns the request's item for the queue.
    pub(super) fn queue_item(&self, id: RequestId) -> QueueItem<()> {
        let (priority, queued_at) = (self.priority, self.queued_at);
        QueueItem { id, priority, queued_at, deadline: self.deadline(), payload: () }
    }

    /// Returns the earliest deadline of its waiters.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.waiters.iter().map(|waiter| waiter.deadline).min()
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

/// The reply for the end of a streamed body.
pub(super) type StreamEndReply = Reply<Result<(), Error>>;

/// The way to answer a caller.
#[derive(Debug)]
pub(super) enum Responder {
    /// The caller waits for the whole response.
    Response(Reply<Result<Response, Error>>),
    /// The caller waits for the response to start.
    Download(Reply<Result<Download, Error>>),
    /// The response has started, and the task that forwards it holds the reply. A failure meanwhile goes here.
    Streaming(StreamFailure),
    /// The caller has read all parts and waits for the end of the body.
    StreamEnd(StreamEndReply),
}

impl Responder {
    /// Returns whether the caller is gone.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Response(reply) => reply.is_closed(),
            Self::Download(reply) => reply.is_closed(),
            Self::StreamEnd(reply) => reply.is_closed(),
            Self::Streaming(_) => false,
        }
    }

    /// Returns whether the response is streamed.
    pub(super) fn is_streaming(&self) -> bool {
        !matches!(self, Self::Response(_))
    }

    /// Answers with the error.
    pub(super) fn fail(self, error: Error) {
        match self {
            Self::Response(reply) => reply.send(Err(error)),
            Self::Download(reply) => reply.send(Err(error)),
            Self::StreamEnd(reply) => reply.send(Err(error)),
            // It is the first one, since a request ends once.
            Self::Streaming(failure) => {
                let _ = failure.set(error);
            }
        }
    }
}

//! The messages of the queue's actor.

use std::sync::Arc;

use mainstay_runtime::{Message, Reply};

use super::{
    attempt::AttemptResult, body_pump::BodyTransfer, download::Download, request_entry::PendingRequest,
};
use crate::{
    error::Error,
    request::{Priority, Request, RequestId, Response},
    transport::StreamingResponse,
};

/// A message to the queue's actor.
#[derive(Debug)]
pub enum QueueMessage {
    /// Makes a request. [`QueueHandle`](super::QueueHandle) assigns the ids.
    Enqueue {
        /// A unique id.
        id: RequestId,
        /// The request.
        request: Arc<Request>,
        /// The reply with the response or error.
        reply: Reply<Result<Response, Error>>,
    },
    /// Makes a request whose response is streamed; the reply comes once the response has started, or with an error.
    OpenStream {
        /// A unique id.
        id: RequestId,
        /// The request.
        request: Arc<Request>,
        /// The reply with the started response or error.
        reply: Reply<Result<Download, Error>>,
    },
    /// Cancels a request; the reply says whether it was still pending.
    Cancel {
        /// The request's id.
        id: RequestId,
        /// The reply.
        reply: Reply<bool>,
    },
    /// Changes the priority of a waiting request; the reply says whether it waits.
    SetPriority {
        /// The request's id.
        id: RequestId,
        /// The new priority.
        priority: Priority,
        /// The reply.
        reply: Reply<bool>,
    },
    /// Lists the requests that have not ended, oldest first.
    List {
        /// The most requests to list.
        count: usize,
        /// The reply.
        reply: Reply<Vec<PendingRequest>>,
    },
    /// Cancels a request whose caller is gone.
    Abandon {
        /// The request's id.
        id: RequestId,
    },
    /// An attempt has ended.
    AttemptFinished {
        /// The request's id.
        id: RequestId,
        /// The result.
        result: Box<AttemptResult>,
    },
    /// The backend's availability has changed.
    AvailabilityChanged,
    /// The absence of the backend has begun, or has changed.
    AbsenceChanged,
    /// The backend has answered another sender.
    BackendSeen,
    /// A streamed response has started successfully.
    ResponseStarted {
        /// The request's id.
        id: RequestId,
        /// The response.
        response: Box<StreamingResponse>,
    },
    /// A streamed body has ended.
    BodyFinished {
        /// The request's id.
        id: RequestId,
        /// The result.
        transfer: Box<BodyTransfer>,
    },
    /// A timer has elapsed.
    TimerElapsed,
}

impl Message for QueueMessage {}

//! What the queue's actor is sent.

use std::sync::Arc;

use mainstay_runtime::{Message, Reply};

use super::{attempt::AttemptResult, body_pump::BodyTransfer, download::Download};
use crate::{
    error::Error,
    request::{Request, RequestId, Response},
    transport::StreamingResponse,
};

/// A queue actor's messages.
#[derive(Debug)]
pub enum QueueMessage {
    /// Take a request in; answered with its fate. [`QueueHandle`](super::QueueHandle) gives out the ids.
    Enqueue {
        /// Its id, which no other request has had.
        id: RequestId,
        /// The request.
        request: Arc<Request>,
        /// Where its fate goes.
        reply: Reply<Result<Response, Error>>,
    },
    /// Take a request in whose answer is wanted as it comes; answered once that has begun, or with its fate.
    OpenStream {
        /// Its id, which no other request has had.
        id: RequestId,
        /// The request.
        request: Arc<Request>,
        /// Where the beginning of the answer goes.
        reply: Reply<Result<Download, Error>>,
    },
    /// Call a request off; answered with whether it had not ended yet.
    Cancel {
        /// Which.
        id: RequestId,
        /// Where the answer goes.
        reply: Reply<bool>,
    },
    /// Its caller has gone: call the request off.
    Abandon {
        /// Which.
        id: RequestId,
    },
    /// An attempt has ended.
    AttemptFinished {
        /// At which request.
        id: RequestId,
        /// How.
        result: Box<AttemptResult>,
    },
    /// The link says something else than before.
    LinkChanged,
    /// The backend has answered elsewhere.
    BackendSeen,
    /// The answer that is wanted as it comes has begun, and well.
    ResponseStarted {
        /// To which request.
        id: RequestId,
        /// The answer.
        response: Box<StreamingResponse>,
    },
    /// The answer that was wanted as it comes has ended.
    BodyFinished {
        /// To which request.
        id: RequestId,
        /// How.
        transfer: Box<BodyTransfer>,
    },
    /// The time that was waited for has come.
    TimerElapsed,
}

impl Message for QueueMessage {
    fn label(&self) -> &'static str {
        match self {
            Self::Enqueue { .. } => "Enqueue",
            Self::OpenStream { .. } => "Open",
            Self::Cancel { .. } => "Cancel",
            Self::Abandon { .. } => "Abandon",
            Self::AttemptFinished { .. } => "TakeOutcome",
            Self::LinkChanged => "MindLink",
            Self::BackendSeen => "BackendSeen",
            Self::ResponseStarted { .. } => "TakeHead",
            Self::BodyFinished { .. } => "TakeEnd",
            Self::TimerElapsed => "MindTime",
        }
    }
}

//! What the queue's actor is sent.

use std::sync::Arc;

use mainstay_runtime::{Message, Reply};

use super::{attempt::Attempted, download::Download, pump::Pumped};
use crate::{
    error::Error,
    request::{Request, RequestId, Response},
    transport::OpenAnswer,
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
    Open {
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
    TakeOutcome {
        /// At which request.
        id: RequestId,
        /// How.
        attempted: Box<Attempted>,
    },
    /// The link says something else than before.
    MindLink,
    /// The backend has answered elsewhere.
    BackendSeen,
    /// The answer that is wanted as it comes has begun, and well.
    TakeHead {
        /// To which request.
        id: RequestId,
        /// The answer.
        answer: Box<OpenAnswer>,
    },
    /// The answer that was wanted as it comes has ended.
    TakeEnd {
        /// To which request.
        id: RequestId,
        /// How.
        pumped: Box<Pumped>,
    },
    /// The time that was waited for has come.
    MindTime,
    /// Panic, to show what the supervisor does about it. Only in debug builds.
    #[cfg(debug_assertions)]
    Panic,
}

impl Message for QueueMessage {
    fn label(&self) -> &'static str {
        match self {
            Self::Enqueue { .. } => "Enqueue",
            Self::Open { .. } => "Open",
            Self::Cancel { .. } => "Cancel",
            Self::Abandon { .. } => "Abandon",
            Self::TakeOutcome { .. } => "TakeOutcome",
            Self::MindLink => "MindLink",
            Self::BackendSeen => "BackendSeen",
            Self::TakeHead { .. } => "TakeHead",
            Self::TakeEnd { .. } => "TakeEnd",
            Self::MindTime => "MindTime",
            #[cfg(debug_assertions)]
            Self::Panic => "Panic",
        }
    }
}

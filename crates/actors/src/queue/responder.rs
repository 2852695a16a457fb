//! Who waits for a request, and for what.

use std::sync::{Arc, OnceLock};

use mainstay_runtime::Reply;

use super::download::Download;
use crate::{error::Error, request::Response};

/// How an answer that was read as it came ended goes there.
pub(super) type StreamEndReply = Reply<Result<(), Error>>;

/// What was written down of a request while its answer was read, for its reader: the task that brings the parts may be
/// gone before it could pass that on.
pub(super) type StreamFailure = Arc<OnceLock<Error>>;

/// Where the fate of a request goes.
#[derive(Debug)]
pub(super) enum Responder {
    /// To one who waits for the whole answer.
    Response(Reply<Result<Response, Error>>),
    /// To one who waits for the answer to begin.
    Download(Reply<Result<Download, Error>>),
    /// The answer has begun, and whoever brings its parts has what the reader waits for. A failure meanwhile goes here.
    Streaming(StreamFailure),
    /// To one who has read the parts and waits for how they ended.
    StreamEnd(StreamEndReply),
}

impl Responder {
    /// Whether nobody waits any more.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Response(reply) => reply.is_closed(),
            Self::Download(reply) => reply.is_closed(),
            Self::StreamEnd(reply) => reply.is_closed(),
            Self::Streaming(_) => false,
        }
    }

    /// Whether the answer is wanted as it comes.
    pub(super) fn is_streaming(&self) -> bool {
        !matches!(self, Self::Response(_))
    }

    /// Tells that the request has failed.
    pub(super) fn fail(self, error: Error) {
        match self {
            Self::Response(reply) => reply.send(Err(error)),
            Self::Download(reply) => reply.send(Err(error)),
            Self::StreamEnd(reply) => reply.send(Err(error)),
            // It is the first: a request has one fate.
            Self::Streaming(verdict) => {
                let _ = verdict.set(error);
            }
        }
    }
}

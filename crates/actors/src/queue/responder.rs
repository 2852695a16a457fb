//! Answers the caller of a request, in the way that it asked for.

use mainstay_runtime::Reply;

use super::download::{Download, StreamFailure};
use crate::error::Error;
use crate::request::Response;

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

    /// Returns whether the caller has the head of a streamed response.
    pub(super) fn has_begun(&self) -> bool {
        matches!(self, Self::Streaming(_) | Self::StreamEnd(_))
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

//! Brings the parts of an answer from the connection to the one who reads them.

use std::{panic::AssertUnwindSafe, sync::Arc};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use http::StatusCode;
use tokio::sync::{mpsc, oneshot};

use super::caller::Reader;
use crate::{
    request::Request,
    transport::{AnswerBody, TransportError},
};

/// What the task works with.
pub(super) struct Pump {
    pub(super) body: AnswerBody,
    pub(super) parts: mpsc::Sender<Bytes>,
    pub(super) length: Option<u64>,
    pub(super) request: Arc<Request>,
    pub(super) called_off: oneshot::Receiver<()>,
}

/// What the task ends with: how the answer ended, and who waits to hear it.
#[derive(Debug)]
pub struct Pumped {
    pub(super) status: StatusCode,
    pub(super) ending: Ending,
    pub(super) reader: Reader,
}

/// How an answer ended that was read as it came.
#[derive(Debug)]
pub(super) enum Ending {
    /// It came whole.
    Whole { bytes: u64 },
    /// It broke off.
    Broke(TransportError),
    /// Its reader has gone, or it was called off.
    Unwanted,
    /// What brings it panicked.
    Panicked,
}

impl Pump {
    /// Brings the parts until there are no more, or nobody wants them. The connection is let go before this returns.
    pub(super) async fn run(self) -> Ending {
        let Self { body, parts, length, request, mut called_off } = self;
        let pump = AssertUnwindSafe(bring(body, parts, length, &request)).catch_unwind();
        tokio::select! {
            biased;
            _ = &mut called_off => Ending::Unwanted,
            ending = pump => ending.unwrap_or(Ending::Panicked),
        }
    }
}

async fn bring(
    mut body: AnswerBody,
    parts: mpsc::Sender<Bytes>,
    length: Option<u64>,
    request: &Request,
) -> Ending {
    let mut bytes = 0;
    request.meter().received(bytes, length);
    // Room is made first: what nobody has room for is left to the connection, which holds the backend back.
    while let Ok(room) = parts.reserve().await {
        let part = tokio::select! {
            biased;
            () = parts.closed() => return Ending::Unwanted,
            part = body.next() => part,
        };
        match part {
            Some(Ok(part)) => {
                bytes += part.len() as u64;
                request.meter().received(bytes, length);
                room.send(part);
            }
            Some(Err(failure)) => return Ending::Broke(failure),
            None => return Ending::Whole { bytes },
        }
    }
    Ending::Unwanted
}

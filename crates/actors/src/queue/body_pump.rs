//! Forwards the parts of a response body from the connection to the reader.

use std::{panic::AssertUnwindSafe, sync::Arc};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use http::StatusCode;
use tokio::sync::{mpsc, oneshot};

use super::responder::StreamEndReply;
use crate::{
    request::Request,
    transport::{ResponseBody, TransportError},
};

/// The inputs of the task that forwards a body.
pub(super) struct BodyPump {
    pub(super) body: ResponseBody,
    pub(super) parts: mpsc::Sender<Bytes>,
    pub(super) length: Option<u64>,
    pub(super) request: Arc<Request>,
    pub(super) cancelled: oneshot::Receiver<()>,
}

/// The end of a streamed body, and the reader to notify.
#[derive(Debug)]
pub struct BodyTransfer {
    pub(super) status: StatusCode,
    pub(super) end: TransferEnd,
    pub(super) reply: StreamEndReply,
}

/// The end of a streamed body.
#[derive(Debug)]
pub(super) enum TransferEnd {
    /// The body is complete.
    Complete { bytes: u64 },
    /// The connection failed.
    Failed(TransportError),
    /// The reader is gone, or the request was cancelled.
    Cancelled,
    /// The task panicked.
    Panicked,
}

impl BodyPump {
    /// Forwards parts until the body ends or the reader is gone. The connection is released before this returns.
    pub(super) async fn run(self) -> TransferEnd {
        let Self { body, parts, length, request, mut cancelled } = self;
        let pump = AssertUnwindSafe(pump_body(body, parts, length, &request)).catch_unwind();
        tokio::select! {
            biased;
            _ = &mut cancelled => TransferEnd::Cancelled,
            end = pump => end.unwrap_or(TransferEnd::Panicked),
        }
    }
}

async fn pump_body(
    mut body: ResponseBody,
    parts: mpsc::Sender<Bytes>,
    length: Option<u64>,
    request: &Request,
) -> TransferEnd {
    let mut bytes = 0;
    request.progress_sender().set_received(bytes, length);
    // A slot is reserved before a part is read, so that a slow reader holds the backend back.
    while let Ok(room) = parts.reserve().await {
        let part = tokio::select! {
            biased;
            () = parts.closed() => return TransferEnd::Cancelled,
            part = body.next() => part,
        };
        match part {
            Some(Ok(part)) => {
                bytes += part.len() as u64;
                request.progress_sender().set_received(bytes, length);
                room.send(part);
            }
            Some(Err(failure)) => return TransferEnd::Failed(failure),
            None => return TransferEnd::Complete { bytes },
        }
    }
    TransferEnd::Cancelled
}

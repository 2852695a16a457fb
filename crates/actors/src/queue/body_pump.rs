//! Brings the parts of an answer from the connection to the one who reads them.

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

/// What the task works with.
pub(super) struct BodyPump {
    pub(super) body: ResponseBody,
    pub(super) parts: mpsc::Sender<Bytes>,
    pub(super) length: Option<u64>,
    pub(super) request: Arc<Request>,
    pub(super) cancelled: oneshot::Receiver<()>,
}

/// What the task ends with: how the answer ended, and who waits to hear it.
#[derive(Debug)]
pub struct BodyTransfer {
    pub(super) status: StatusCode,
    pub(super) end: TransferEnd,
    pub(super) reply: StreamEndReply,
}

/// How an answer ended that was read as it came.
#[derive(Debug)]
pub(super) enum TransferEnd {
    /// It came whole.
    Complete { bytes: u64 },
    /// It broke off.
    Failed(TransportError),
    /// Its reader has gone, or it was called off.
    Cancelled,
    /// What brings it panicked.
    Panicked,
}

impl BodyPump {
    /// Brings the parts until there are no more, or nobody wants them. The connection is let go before this returns.
    pub(super) async fn run(self) -> TransferEnd {
        let Self { body, parts, length, request, cancelled: mut called_off } = self;
        let pump = AssertUnwindSafe(pump_body(body, parts, length, &request)).catch_unwind();
        tokio::select! {
            biased;
            _ = &mut called_off => TransferEnd::Cancelled,
            ending = pump => ending.unwrap_or(TransferEnd::Panicked),
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
    // Room is made first: what nobody has room for is left to the connection, which holds the backend back.
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

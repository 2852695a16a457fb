//! The parts of the messages about requests that are in flight.

use serde::Serialize;

use crate::{RequestId, TransferProgress};

/// A request that the queue has accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct AcceptedRequest {
    /// The id, as responses, errors, events and the list of requests have it.
    pub request_id: RequestId,
}

/// The progress of the current attempt of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct RequestProgress {
    /// The number of the attempt, from 1; 0 before the first.
    pub attempt: u32,
    /// The bytes of the request's body that the connection took.
    pub sent: u64,
    /// The length of that body, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub sent_total: Option<u64>,
    /// The bytes of the response's body that came.
    pub received: u64,
    /// The length of that body, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub received_total: Option<u64>,
}

impl From<TransferProgress> for RequestProgress {
    fn from(progress: TransferProgress) -> Self {
        let TransferProgress { attempt, sent, to_send, received, to_receive } = progress;
        Self { attempt, sent, sent_total: to_send, received, received_total: to_receive }
    }
}

/// The end of a streamed response that came whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct BodyEnd {
    /// The bytes of the body.
    pub bytes: u64,
}

//! Runs one attempt as a task of the queue, and classifies its result.

use std::{panic::AssertUnwindSafe, time::Duration};

use bytes::BytesMut;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::oneshot;

use crate::{
    error::Reason,
    request::Request,
    transport::{FullResponse, SendProgress, StreamingResponse, Transport, TransportError},
};

/// The attempts at a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct AttemptCount {
    /// The number of attempts made. An attempt that could not connect is subtracted again.
    pub(super) made: u32,
    /// The number of the last attempt that the journal announced; 0 if it announced none.
    pub(super) announced: u32,
}

impl AttemptCount {
    /// Returns the attempt that was announced and not made, of a request that ends now.
    pub(super) fn dropped(self) -> Option<u32> {
        Some(self.announced).filter(|announced| *announced > self.made)
    }
}

/// The most bytes read of the body of a failed response when a stream was requested.
const FAILING_BODY_BYTES_MAX: usize = 64 * 1024;

/// The result of an attempt.
#[derive(Debug)]
pub enum AttemptResult {
    /// The backend answered, with any status.
    Answered(FullResponse),
    /// There was no response, or an unreadable one.
    Failed(TransportError),
    /// The attempt was cancelled, or its task crashed.
    Lost,
}

impl AttemptResult {
    /// Returns whether this is a successful response, which needs no decision.
    #[must_use]
    pub(crate) fn is_success(&self) -> bool {
        matches!(self, Self::Answered(response) if Reason::from_status(response.status.as_u16()).is_none())
    }
}

/// The evidence of an attempt about whether the backend can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReachabilityEvidence {
    /// The backend answered.
    Answered,
    /// The attempt could not connect.
    Unreachable(Reason),
    /// The request may have arrived, but no response came.
    Unanswered(Reason),
    /// No evidence.
    None,
}

impl ReachabilityEvidence {
    /// Returns the evidence of `result`.
    #[must_use]
    pub(crate) fn from_result(result: &AttemptResult) -> Self {
        match result {
            AttemptResult::Answered(_) => Self::Answered,
            AttemptResult::Failed(failure) if failure.progress == SendProgress::Answered => Self::Answered,
            AttemptResult::Failed(failure) => match (failure.kind, failure.progress) {
                (kind, _) if kind.is_unreachable() => Self::Unreachable(kind.reason()),
                (kind, SendProgress::MaybeSent) => Self::Unanswered(kind.reason()),
                _ => Self::None,
            },
            AttemptResult::Lost => Self::None,
        }
    }
}

/// Makes one attempt, unless it is cancelled before it ends. A panic of the transport fails this attempt alone.
pub(super) async fn run(
    transport: &dyn Transport,
    request: &Request,
    timeout: Duration,
    cancelled: oneshot::Receiver<()>,
) -> AttemptResult {
    let attempt = async { transport.collect(request, timeout).await };
    match unless_cancelled(attempt, cancelled).await {
        Ok(response) => {
            let length = response.body.len() as u64;
            request.progress_sender().set_received(length, Some(length));
            AttemptResult::Answered(response)
        }
        Err(result) => result,
    }
}

/// Makes one attempt like [`run`], and returns once a successful response has started. Reads the start of the body if
/// the response is a failure.
pub(super) async fn open_stream(
    transport: &dyn Transport,
    request: &Request,
    timeout: Duration,
    cancelled: oneshot::Receiver<()>,
) -> Result<StreamingResponse, AttemptResult> {
    let attempt = async {
        let response = transport.send(request, timeout).await?;
        match Reason::from_status(response.status.as_u16()) {
            None => Ok(Ok(response)),
            Some(_) => read_error_body(response).await.map(Err),
        }
    };
    unless_cancelled(attempt, cancelled).await?.map_err(AttemptResult::Answered)
}

async fn unless_cancelled<T>(
    attempt: impl Future<Output = Result<T, TransportError>>,
    cancelled: oneshot::Receiver<()>,
) -> Result<T, AttemptResult> {
    tokio::select! {
        biased;
        _ = cancelled => Err(AttemptResult::Lost),
        ended = AssertUnwindSafe(attempt).catch_unwind() => match ended {
            Ok(ended) => ended.map_err(AttemptResult::Failed),
            Err(_panic) => Err(AttemptResult::Lost),
        },
    }
}

async fn read_error_body(response: StreamingResponse) -> Result<FullResponse, TransportError> {
    let StreamingResponse { status, headers, is_redirected, body: mut parts, .. } = response;
    let mut body = BytesMut::new();
    while body.len() < FAILING_BODY_BYTES_MAX
        && let Some(part) = parts.next().await
    {
        let part = part?;
        body.extend_from_slice(&part[..part.len().min(FAILING_BODY_BYTES_MAX - body.len())]);
    }
    Ok(FullResponse { status, headers, body: body.freeze(), is_redirected })
}

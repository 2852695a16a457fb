//! One attempt, as a task of the queue carries it out.

use std::{panic::AssertUnwindSafe, time::Duration};

use bytes::BytesMut;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::oneshot;

use super::retry::AttemptOutcome;
use crate::{
    error::Reason,
    request::Request,
    transport::{FullResponse, StreamingResponse, Transport, TransportError},
};

/// How much is read of an answer that says why it failed, where the answer was wanted as it comes.
const FAILING_BODY_BYTES_MAX: usize = 64 * 1024;

/// How an attempt ended.
#[derive(Debug)]
pub enum AttemptResult {
    /// The backend answered, with whatever status.
    Answered(FullResponse),
    /// There was no answer, or none that could be read.
    Failed(TransportError),
    /// It was cut off: called off, or what carried it out crashed.
    Lost,
}

impl AttemptResult {
    pub(super) fn outcome(&self) -> AttemptOutcome<'_> {
        match self {
            Self::Answered(answer) => AttemptOutcome::Answered(answer),
            Self::Failed(failure) => AttemptOutcome::Failed(failure),
            Self::Lost => AttemptOutcome::Lost,
        }
    }
}

/// Makes one attempt, unless it is called off before it ends. A transport that panics fails this attempt alone.
pub(super) async fn run(
    transport: &dyn Transport,
    request: &Request,
    timeout: Duration,
    called_off: oneshot::Receiver<()>,
) -> AttemptResult {
    let attempt = async { transport.send(request, timeout).await };
    match unless_cancelled(attempt, called_off).await {
        Ok(answer) => {
            let length = answer.body.len() as u64;
            request.progress_sender().set_received(length, Some(length));
            AttemptResult::Answered(answer)
        }
        Err(attempted) => attempted,
    }
}

/// Like [`make`], but comes back once a good answer has begun. One that fails is read here, as far as it says why.
pub(super) async fn open_stream(
    transport: &dyn Transport,
    request: &Request,
    timeout: Duration,
    called_off: oneshot::Receiver<()>,
) -> Result<StreamingResponse, AttemptResult> {
    let attempt = async {
        let answer = transport.send_streaming(request, timeout).await?;
        match Reason::from_status(answer.status.as_u16()) {
            None => Ok(Ok(answer)),
            Some(_) => read_error_body(answer).await.map(Err),
        }
    };
    unless_cancelled(attempt, called_off).await?.map_err(AttemptResult::Answered)
}

async fn unless_cancelled<T>(
    attempt: impl Future<Output = Result<T, TransportError>>,
    called_off: oneshot::Receiver<()>,
) -> Result<T, AttemptResult> {
    tokio::select! {
        biased;
        _ = called_off => Err(AttemptResult::Lost),
        ended = AssertUnwindSafe(attempt).catch_unwind() => match ended {
            Ok(ended) => ended.map_err(AttemptResult::Failed),
            Err(_panic) => Err(AttemptResult::Lost),
        },
    }
}

async fn read_error_body(answer: StreamingResponse) -> Result<FullResponse, TransportError> {
    let StreamingResponse { status, headers, body: mut parts, .. } = answer;
    let mut body = BytesMut::new();
    while body.len() < FAILING_BODY_BYTES_MAX
        && let Some(part) = parts.next().await
    {
        let part = part?;
        body.extend_from_slice(&part[..part.len().min(FAILING_BODY_BYTES_MAX - body.len())]);
    }
    Ok(FullResponse { status, headers, body: body.freeze(), is_redirected: false })
}

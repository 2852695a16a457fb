//! One attempt, as a task of the queue carries it out.

use std::{panic::AssertUnwindSafe, time::Duration};

use bytes::BytesMut;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::oneshot;

use super::retry::Outcome;
use crate::{
    error::Reason,
    request::Request,
    transport::{Answer, OpenAnswer, Transport, TransportError},
};

/// How much is read of an answer that says why it failed, where the answer was wanted as it comes.
const FAILING_BODY_BYTES_MAX: usize = 64 * 1024;

/// How an attempt ended.
#[derive(Debug)]
pub enum Attempted {
    /// The backend answered, with whatever status.
    Answered(Answer),
    /// There was no answer, or none that could be read.
    Failed(TransportError),
    /// It was cut off: called off, or what carried it out crashed.
    Lost,
}

impl Attempted {
    pub(super) fn outcome(&self) -> Outcome<'_> {
        match self {
            Self::Answered(answer) => Outcome::Answered(answer),
            Self::Failed(failure) => Outcome::Failed(failure),
            Self::Lost => Outcome::Lost,
        }
    }
}

/// Makes one attempt, unless it is called off before it ends. A transport that panics fails this attempt alone.
pub(super) async fn make(
    transport: &dyn Transport,
    request: &Request,
    timeout: Duration,
    called_off: oneshot::Receiver<()>,
) -> Attempted {
    let attempt = async { transport.attempt(request, timeout).await };
    match unless_called_off(attempt, called_off).await {
        Ok(answer) => {
            let length = answer.body.len() as u64;
            request.meter().received(length, Some(length));
            Attempted::Answered(answer)
        }
        Err(attempted) => attempted,
    }
}

/// Like [`make`], but comes back once a good answer has begun. One that fails is read here, as far as it says why.
pub(super) async fn open(
    transport: &dyn Transport,
    request: &Request,
    timeout: Duration,
    called_off: oneshot::Receiver<()>,
) -> Result<OpenAnswer, Attempted> {
    let attempt = async {
        let answer = transport.open(request, timeout).await?;
        match Reason::of_status(answer.status.as_u16()) {
            None => Ok(Ok(answer)),
            Some(_) => read_failing(answer).await.map(Err),
        }
    };
    unless_called_off(attempt, called_off).await?.map_err(Attempted::Answered)
}

async fn unless_called_off<T>(
    attempt: impl Future<Output = Result<T, TransportError>>,
    called_off: oneshot::Receiver<()>,
) -> Result<T, Attempted> {
    tokio::select! {
        biased;
        _ = called_off => Err(Attempted::Lost),
        ended = AssertUnwindSafe(attempt).catch_unwind() => match ended {
            Ok(ended) => ended.map_err(Attempted::Failed),
            Err(_panic) => Err(Attempted::Lost),
        },
    }
}

async fn read_failing(answer: OpenAnswer) -> Result<Answer, TransportError> {
    let OpenAnswer { status, headers, body: mut parts, .. } = answer;
    let mut body = BytesMut::new();
    while body.len() < FAILING_BODY_BYTES_MAX
        && let Some(part) = parts.next().await
    {
        let part = part?;
        body.extend_from_slice(&part[..part.len().min(FAILING_BODY_BYTES_MAX - body.len())]);
    }
    Ok(Answer { status, headers, body: body.freeze(), is_redirected: false })
}

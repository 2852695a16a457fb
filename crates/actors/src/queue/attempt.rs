//! One attempt, as a task of the queue carries it out.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;
use tokio::sync::oneshot;

use super::retry::Outcome;
use crate::{
    request::Request,
    transport::{Answer, Transport, TransportError},
};

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
    let attempt = AssertUnwindSafe(async { transport.attempt(request, timeout).await }).catch_unwind();
    tokio::select! {
        biased;
        _ = called_off => Attempted::Lost,
        ended = attempt => match ended {
            Ok(Ok(answer)) => Attempted::Answered(answer),
            Ok(Err(failure)) => Attempted::Failed(failure),
            Err(_panic) => Attempted::Lost,
        },
    }
}

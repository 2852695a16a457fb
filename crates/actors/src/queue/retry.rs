//! What follows an attempt: done, again after a delay, back into line, or failed for good.
//!
//! The first question is never whether a repeat may help, but whether it may do harm. A request that is neither
//! idempotent by its method nor carries an idempotency key is repeated only if the server cannot have acted on it; if
//! it may have, the request ends as `outcome_unknown`.

#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use http::StatusCode;
use mainstay_runtime::policy::Delay;
use serde::{Deserialize, Serialize};

use super::{budget::RetryBudget, gate::Evidence};
use crate::{
    error::{Error, Reason, retry_after},
    request::{Body, Request},
    transport::{Answer, FailureKind, Reach, TransportError},
};

pub use crate::error::RETRY_AFTER_LIMIT;

/// How often and how soon an attempt is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// How often a request is repeated that does not say it itself.
    pub retries: u32,
    /// How long to wait before each repeat.
    pub delay: Delay,
    /// The longest wait that a backend can impose by `Retry-After`.
    pub retry_after_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        let (min, max) = (Duration::from_secs(1), Duration::from_secs(30));
        Self {
            retries: 3,
            delay: Delay::Exponential { min, max, factor: 2.0, jitter: true },
            retry_after_max: Duration::from_secs(60),
        }
    }
}

/// What the decision needs to know of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestFacts {
    /// Whether it may reach the server twice; see [`Request::is_repeatable`].
    pub repeatable: bool,
    /// How often it may be repeated, if it says so itself.
    pub retries: Option<u32>,
    /// Whether its body could be sent only once, and was begun: then it is not sent again.
    pub is_spent: bool,
}

impl From<&Request> for RequestFacts {
    fn from(request: &Request) -> Self {
        Self {
            repeatable: request.is_repeatable(),
            retries: request.retries(),
            is_spent: request.body().is_some_and(Body::is_spent),
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// The server answered, with whatever status.
    Answered(&'a Answer),
    /// There was no answer, or none that could be read.
    Failed(&'a TransportError),
    /// What was carrying the attempt out crashed under it.
    Lost,
}

impl Outcome<'_> {
    /// Whether it is an answer that does not fail, after which there is nothing to decide.
    #[must_use]
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Answered(answer) if Reason::of_status(answer.status.as_u16()).is_none())
    }
}

/// When a decision is taken, and the random number for it.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Monotonic time since the start.
    pub now: Duration,
    /// Wall time; only a `Retry-After` that is a date is compared with it.
    pub wall: SystemTime,
    /// A random number in `[0, 1)`.
    pub jitter: f64,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum Verdict {
    /// The answer is the caller's.
    Done,
    /// Make another attempt after `delay`, because of `reason`. One retry was taken out of the budget.
    RetryIn {
        /// How long to wait. No place among the running is held meanwhile.
        delay: Duration,
        /// What went wrong.
        reason: Reason,
    },
    /// Nobody was there to send it to, for `reason`, so it still waits for its first chance: put it back into its place
    /// in line, at the cost of neither a retry nor the budget. The gate says when it may try again.
    Hold {
        /// Why nobody was there.
        reason: Reason,
    },
    /// Tell the caller.
    Fail(Error),
}

/// Decides what follows attempt number `attempt` (the first is 1).
///
/// A retry is granted only if it can do no harm, may help, is within the request's number of retries and within
/// `budget`. Its delay is the policy's, or what the backend asked for if that is longer, but at most
/// `retry_after_max`.
pub fn after_attempt(
    policy: &RetryPolicy,
    facts: &RequestFacts,
    attempt: u32,
    outcome: Outcome<'_>,
    budget: &mut RetryBudget,
    moment: Moment,
) -> Verdict {
    if let (Evidence::Unreachable(reason), Outcome::Failed(failure)) = (Evidence::of(outcome), outcome)
        && (failure.reach == Reach::NotSent || facts.repeatable)
        && !facts.is_spent
    {
        return Verdict::Hold { reason };
    }
    let Some(Failure { error, acted, may_help, retry_after }) = Failure::of(outcome, moment.wall) else {
        return Verdict::Done;
    };
    let error = error.with_attempts(attempt).with_retry_after(retry_after);
    if acted == Acted::Maybe && !facts.repeatable {
        return Verdict::Fail(Error::outcome_unknown(error));
    }
    if !may_help || facts.is_spent || attempt > facts.retries.unwrap_or(policy.retries) {
        return Verdict::Fail(error);
    }
    if !budget.take_retry(moment.now) {
        return Verdict::Fail(without_budget(error));
    }
    let asked = retry_after.unwrap_or_default().min(policy.retry_after_max);
    Verdict::RetryIn { delay: policy.delay.before(attempt, moment.jitter).max(asked), reason: error.reason }
}

/// What a caller is told whose answer broke off in the middle, after the start of it was handed out. There is no other
/// attempt: it could not be joined to what the caller has.
#[must_use]
pub fn broken_off(facts: &RequestFacts, failure: &TransportError) -> Error {
    let error = Error::from(failure);
    let in_doubt = acted_by_failure(failure) == Acted::Maybe && !facts.repeatable;
    if in_doubt { Error::outcome_unknown(error) } else { error }
}

fn without_budget(error: Error) -> Error {
    let said = error.details.clone().unwrap_or_default();
    error.with_details(&format!("not repeated, as too many requests were of late: {said}"))
}

/// Whether the server acted on a request that failed so; `None` if it did not fail.
#[cfg(test)]
pub(crate) fn acted(outcome: Outcome<'_>) -> Option<Acted> {
    Failure::of(outcome, SystemTime::UNIX_EPOCH).map(|failure| failure.acted)
}

/// Whether the server acted on a request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acted {
    /// It cannot have, or said that it did not.
    No,
    /// It may have; there is no telling.
    Maybe,
    /// It received a part of the request, and that we broke off the rest: it can see that this is no whole request.
    InPart,
    /// It did, as its answer says; only the rest of the answer is of no use.
    Yes,
}

/// What a failed attempt means.
struct Failure {
    error: Error,
    acted: Acted,
    may_help: bool,
    retry_after: Option<Duration>,
}

impl Failure {
    /// `None` if the attempt did not fail.
    fn of(outcome: Outcome<'_>, wall: SystemTime) -> Option<Self> {
        match outcome {
            Outcome::Answered(answer) => Self::of_answer(answer, wall),
            Outcome::Failed(failure) => Some(Self::of_failure(failure, wall)),
            Outcome::Lost => {
                let error = Error::new(Reason::Crashed).with_details("the attempt was cut off by a crash");
                // The crash was ours and says nothing against the request.
                Some(Self { error, acted: Acted::Maybe, may_help: true, retry_after: None })
            }
        }
    }

    fn of_answer(answer: &Answer, wall: SystemTime) -> Option<Self> {
        let error = Error::of_answer(answer.status, &answer.headers, &answer.body)?;
        Some(Self::new(error, acted_by_status(answer.status), retry_after(&answer.headers, Some(wall))))
    }

    fn of_failure(failure: &TransportError, wall: SystemTime) -> Self {
        let wait = failure.head.as_ref().and_then(|head| retry_after(&head.headers, Some(wall)));
        Self::new(Error::from(failure), acted_by_failure(failure), wait)
    }

    fn new(error: Error, acted: Acted, retry_after: Option<Duration>) -> Self {
        let may_help = error.reason.retryable();
        Self { error, acted, may_help, retry_after }
    }
}

/// A 4xx is a refusal, except 408: gateways also answer it when the server behind them was slow. A 5xx tells nothing,
/// not even 503, which gateways answer when the server behind them broke off. A redirect that was not followed left
/// the matter undone.
fn acted_by_status(status: StatusCode) -> Acted {
    match Reason::of_status(status.as_u16()) {
        Some(Reason::NotImplemented | Reason::NetworkLoginRequired | Reason::Redirected) => Acted::No,
        Some(_) if status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT => Acted::No,
        Some(_) => Acted::Maybe,
        None => Acted::Yes,
    }
}

fn acted_by_failure(failure: &TransportError) -> Acted {
    match (failure.reach, &failure.head) {
        (Reach::NotSent, _) => Acted::No,
        (_, None) if matches!(failure.kind, FailureKind::UploadUnreadable | FailureKind::UploadChanged) => {
            Acted::InPart
        }
        (_, None) => Acted::Maybe,
        (_, Some(head)) => match acted_by_status(head.status) {
            // The rest of an answer that began well might have told of a failure.
            Acted::Yes if failure.kind != FailureKind::TooLarge => Acted::Maybe,
            acted => acted,
        },
    }
}

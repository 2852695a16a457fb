//! What follows an attempt: done, again after a delay, back into line, or failed for good.
//!
//! The first question is never whether a repeat may help, but whether it may do harm. A request that is neither
//! idempotent by its method nor carries an idempotency key is repeated only if the server cannot have acted on it; if
//! it may have, the request ends as `outcome_unknown`.
//!
//! Each send is an attempt and counts against the request's retries, also the immediate one after a kept connection that
//! the server had closed. What found nobody was not sent and counts as nothing; but it does not hide that the
//! server may have acted on an earlier attempt.

#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use http::StatusCode;
use mainstay_runtime::policy::Delay;
use serde::{Deserialize, Serialize};

use super::{gate::ReachabilityEvidence, retry_budget::RetryBudget};
use crate::{
    error::{Error, Reason, retry_after},
    request::{Body, Request},
    transport::{FailureKind, FullResponse, SendProgress, TransportError},
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
    pub is_repeatable: bool,
    /// How often it may be repeated, if it says so itself.
    pub retries: Option<u32>,
    /// Whether its body could be sent only once, and was begun: then it is not sent again.
    pub is_spent: bool,
    /// Whether the server may have acted on an earlier attempt.
    pub may_have_acted: bool,
}

impl From<&Request> for RequestFacts {
    fn from(request: &Request) -> Self {
        Self {
            is_repeatable: request.is_repeatable(),
            retries: request.retries(),
            is_spent: request.body().is_some_and(Body::is_spent),
            may_have_acted: false,
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy)]
pub enum AttemptOutcome<'a> {
    /// The server answered, with whatever status.
    Answered(&'a FullResponse),
    /// There was no answer, or none that could be read.
    Failed(&'a TransportError),
    /// What was carrying the attempt out crashed under it.
    Lost,
}

impl AttemptOutcome<'_> {
    /// Whether it is an answer that does not fail, after which there is nothing to decide.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Answered(answer) if Reason::from_status(answer.status.as_u16()).is_none())
    }
}

/// When a decision is taken, and the random number for it.
#[derive(Debug, Clone, Copy)]
pub struct RetryContext {
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
pub enum RetryDecision {
    /// The answer is the caller's.
    Done,
    /// Make another attempt after `delay`, because of `reason`.
    RetryIn {
        /// How long to wait. No place among the running is held meanwhile.
        delay: Duration,
        /// What went wrong.
        reason: Reason,
    },
    /// Nobody was there to send it to, for `reason`, so this was no attempt: put it back into its place in line. That
    /// costs neither a retry nor the budget. The gate says when it may try again.
    Requeue {
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
///
/// Where a kept connection broke, the retry is due at once and is not taken out of `budget`: the server closes idle
/// connections as it likes, which says nothing about its load, and an earlier answer left each of those connections.
/// It counts against the request's retries like any other.
pub fn decide_after_attempt(
    policy: &RetryPolicy,
    facts: &RequestFacts,
    attempt: u32,
    outcome: AttemptOutcome<'_>,
    budget: &mut RetryBudget,
    moment: RetryContext,
) -> RetryDecision {
    if let (ReachabilityEvidence::Unreachable(reason), AttemptOutcome::Failed(failure)) =
        (ReachabilityEvidence::from_outcome(outcome), outcome)
        && failure.progress == SendProgress::NotSent
        && (facts.is_repeatable || !facts.may_have_acted)
        && !facts.is_spent
    {
        return RetryDecision::Requeue { reason };
    }
    let Some(AttemptFailure { error, side_effect: acted, is_retryable: may_help, retry_after }) =
        AttemptFailure::from_outcome(outcome, moment.wall)
    else {
        return RetryDecision::Done;
    };
    let error = error.with_attempts(attempt).with_retry_after(retry_after);
    let is_in_doubt = acted == SideEffect::Possible || facts.may_have_acted;
    if is_in_doubt && !facts.is_repeatable {
        return RetryDecision::Fail(Error::outcome_unknown(error));
    }
    if !may_help || facts.is_spent || attempt > facts.retries.unwrap_or(policy.retries) {
        return RetryDecision::Fail(error);
    }
    if matches!(outcome, AttemptOutcome::Failed(failure) if failure.is_on_kept_connection) {
        return RetryDecision::RetryIn { delay: Duration::ZERO, reason: error.reason };
    }
    if !budget.try_withdraw(moment.now) {
        return RetryDecision::Fail(budget_exhausted_error(error));
    }
    let asked = retry_after.unwrap_or_default().min(policy.retry_after_max);
    RetryDecision::RetryIn {
        delay: policy.delay.before(attempt, moment.jitter).max(asked),
        reason: error.reason,
    }
}

/// What a caller is told whose answer broke off in the middle, after the start of it was handed out. There is no other
/// attempt: it could not be joined to what the caller has.
#[must_use]
pub fn interrupted_response_error(facts: &RequestFacts, failure: &TransportError) -> Error {
    let error = Error::from(failure);
    let in_doubt = side_effect_of_error(failure) == SideEffect::Possible && !facts.is_repeatable;
    if in_doubt { Error::outcome_unknown(error) } else { error }
}

fn budget_exhausted_error(error: Error) -> Error {
    let said = error.details.clone().unwrap_or_default();
    error.with_details(&format!("not repeated, as too many requests were of late: {said}"))
}

/// Returns whether the connection broke after the request may have reached the server.
#[must_use]
pub(super) fn has_broken(outcome: AttemptOutcome<'_>) -> bool {
    matches!(outcome, AttemptOutcome::Failed(failure) if failure.progress != SendProgress::NotSent
        && matches!(failure.kind, FailureKind::Reset | FailureKind::BodyReset))
}

/// Returns whether the server acted on a request that failed so; `None` if it did not fail.
pub(crate) fn side_effect(outcome: AttemptOutcome<'_>) -> Option<SideEffect> {
    AttemptFailure::from_outcome(outcome, SystemTime::UNIX_EPOCH).map(|failure| failure.side_effect)
}

/// Whether the server acted on a request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SideEffect {
    /// It cannot have, or said that it did not.
    None,
    /// It may have; there is no telling.
    Possible,
    /// It received a part of the request, and that we broke off the rest: it can see that this is no whole request.
    Partial,
    /// It did, as its answer says; only the rest of the answer is of no use.
    Certain,
}

/// What a failed attempt means.
struct AttemptFailure {
    error: Error,
    side_effect: SideEffect,
    is_retryable: bool,
    retry_after: Option<Duration>,
}

impl AttemptFailure {
    /// `None` if the attempt did not fail.
    fn from_outcome(outcome: AttemptOutcome<'_>, wall: SystemTime) -> Option<Self> {
        match outcome {
            AttemptOutcome::Answered(answer) => Self::from_response(answer, wall),
            AttemptOutcome::Failed(failure) => Some(Self::from_transport_error(failure, wall)),
            AttemptOutcome::Lost => {
                let error = Error::new(Reason::Crashed).with_details("the attempt was cut off by a crash");
                // The crash was ours and says nothing against the request.
                Some(Self { error, side_effect: SideEffect::Possible, is_retryable: true, retry_after: None })
            }
        }
    }

    fn from_response(answer: &FullResponse, wall: SystemTime) -> Option<Self> {
        let error = Error::from_response(answer.status, &answer.headers, &answer.body)?;
        Some(Self::new(error, side_effect_of_status(answer.status), retry_after(&answer.headers, Some(wall))))
    }

    fn from_transport_error(failure: &TransportError, wall: SystemTime) -> Self {
        let wait = failure.head.as_ref().and_then(|head| retry_after(&head.headers, Some(wall)));
        Self::new(Error::from(failure), side_effect_of_error(failure), wait)
    }

    fn new(error: Error, acted: SideEffect, retry_after: Option<Duration>) -> Self {
        let may_help = error.reason.is_retryable();
        Self { error, side_effect: acted, is_retryable: may_help, retry_after }
    }
}

/// A 4xx is a refusal, except 408: gateways also answer it when the server behind them was slow. A 5xx tells nothing,
/// not even 503, which gateways answer when the server behind them broke off. A redirect that was not followed left
/// the matter undone.
fn side_effect_of_status(status: StatusCode) -> SideEffect {
    match Reason::from_status(status.as_u16()) {
        Some(Reason::NotImplemented | Reason::NetworkLoginRequired | Reason::Redirected) => SideEffect::None,
        Some(_) if status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT => SideEffect::None,
        Some(_) => SideEffect::Possible,
        None => SideEffect::Certain,
    }
}

fn side_effect_of_error(failure: &TransportError) -> SideEffect {
    match (failure.progress, &failure.head) {
        (SendProgress::NotSent, _) => SideEffect::None,
        (_, None) if matches!(failure.kind, FailureKind::UploadUnreadable | FailureKind::UploadChanged) => {
            SideEffect::Partial
        }
        (_, None) => SideEffect::Possible,
        (_, Some(head)) => match side_effect_of_status(head.status) {
            // The rest of an answer that began well might have told of a failure.
            SideEffect::Certain if failure.kind != FailureKind::TooLarge => SideEffect::Possible,
            acted => acted,
        },
    }
}

//! Decides what follows an attempt: done, a retry after a delay, back into the queue, or failed.
//!
//! The first question is whether a repeat may do harm, before whether it may help. A request that is neither
//! idempotent by its method nor carries an idempotency key is repeated only if the server cannot have acted on it.
//! Otherwise it ends as `outcome_unknown`.
//!
//! Each send is an attempt and counts against the request's retries. So does the immediate one after the server had
//! closed a kept connection or rejected a token. A request that could not connect was not sent and does not count.
//! But an earlier attempt on which the server may have acted is remembered.

#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use http::StatusCode;
use mainstay_runtime::policy::Delay;
use serde::{Deserialize, Serialize};

use super::{
    attempt::{AttemptResult, ReachabilityEvidence},
    retry_budget::RetryBudget,
};
use crate::{
    error::{Error, Reason, retry_after},
    request::{Body, Request},
    transport::{FailureKind, FullResponse, SendProgress, TransportError},
};

/// The message of a broken connection, if the backend died over the request before.
const SUSPECT_MESSAGE: &str =
    "The connection broke again, and the backend had ended over this before. Look into its log first.";

/// The message of a broken connection, if the backend's own process has ended meanwhile.
const ENDED_MESSAGE: &str =
    "The backend ended while it had this request. Look into its log before you send it again.";

/// The number and delays of retries.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// The number of retries of a request that does not set its own.
    pub retries: u32,
    /// The delay before each retry.
    pub delay: Delay,
    /// The longest delay that a backend can impose by `Retry-After`.
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

/// The facts about a request that decide about a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RequestFacts {
    /// True if the request may reach the server twice; see [`Request::is_repeatable`].
    pub is_repeatable: bool,
    /// The request's own number of retries.
    pub retries: Option<u32>,
    /// True if its body can be sent only once, and was started.
    pub is_spent: bool,
    /// True if the server may have acted on an earlier attempt.
    pub may_have_acted: bool,
    /// True if it was repeated because there was a new token.
    pub has_renewed_token: bool,
    /// True if the backend died over an earlier attempt.
    pub is_suspect: bool,
    /// True if the backend's own process has ended by itself since the attempt started.
    pub has_backend_ended: bool,
}

impl From<&Request> for RequestFacts {
    fn from(request: &Request) -> Self {
        Self {
            is_repeatable: request.is_repeatable(),
            retries: request.retries(),
            is_spent: request.body().is_some_and(Body::is_spent),
            may_have_acted: false,
            has_renewed_token: false,
            is_suspect: false,
            has_backend_ended: false,
        }
    }
}

/// The time of a decision, and a random number for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetryContext {
    /// Monotonic time since the runtime's start.
    pub now: Duration,
    /// Wall-clock time, for a `Retry-After` that is a date.
    pub wall: SystemTime,
    /// A random number in `[0, 1)`.
    pub jitter: f64,
    /// The time until the deadline of the last caller that has one; `None` if a caller has none.
    pub time_left: Option<Duration>,
}

/// The decision after an attempt.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub(crate) enum RetryDecision {
    /// Hand the response to the caller.
    Done,
    /// Make another attempt after `delay`, because of `reason`.
    RetryIn {
        /// The delay; no permit is held meanwhile.
        delay: Duration,
        /// The cause.
        reason: Reason,
    },
    /// The request could not connect, for `reason`, so this was no attempt: put it back into the queue. That costs
    /// neither a retry nor budget. The gate decides when it runs again.
    Requeue {
        /// The cause.
        reason: Reason,
    },
    /// Fail the request.
    Fail(Error),
}

/// Decides what follows attempt number `attempt` (the first is 1).
///
/// A retry can do no harm, may help, and begins before the deadline. The request's number of retries and `budget`
/// limit it. Its delay is the policy's, or the backend's `Retry-After` if that is longer, but at most
/// `retry_after_max`.
///
/// If a kept connection broke, the retry is due at once and takes nothing from `budget`. Servers close idle
/// connections at any time, which says nothing about load, and each of those connections had carried a response
/// before. The retry counts against the request's retries like any other.
///
/// The same holds if the server rejected the token and there is a new one. Any method is repeated then, since a 401
/// says that the request had no effect, but only once: if the new token is rejected too, the request fails.
pub(crate) fn decide_after_attempt(
    policy: &RetryPolicy,
    facts: &RequestFacts,
    attempt: u32,
    result: &AttemptResult,
    budget: &mut RetryBudget,
    context: RetryContext,
) -> RetryDecision {
    if let (ReachabilityEvidence::Unreachable(reason), AttemptResult::Failed(failure)) =
        (ReachabilityEvidence::from_result(result), result)
        && failure.progress == SendProgress::NotSent
        && (facts.is_repeatable || !facts.may_have_acted)
        && !facts.is_spent
    {
        return RetryDecision::Requeue { reason };
    }
    let Some(AttemptFailure { mut error, side_effect, mut is_retryable, retry_after }) =
        AttemptFailure::from_result(result, context.wall)
    else {
        return RetryDecision::Done;
    };
    if has_renewed_token(result) && facts.has_renewed_token {
        (error, is_retryable) = (error.without_renewal(), false);
    }
    if has_broken(result) {
        error = match facts {
            RequestFacts { is_suspect: true, .. } => error.with_message(SUSPECT_MESSAGE),
            RequestFacts { has_backend_ended: true, .. } => error.with_message(ENDED_MESSAGE),
            _ => error,
        };
    }
    let error = error.with_attempts(attempt).with_retry_after(retry_after);
    let is_in_doubt = side_effect == SideEffect::Possible || facts.may_have_acted;
    if is_in_doubt && !facts.is_repeatable {
        return RetryDecision::Fail(Error::outcome_unknown(error));
    }
    if !is_retryable || facts.is_spent || attempt > facts.retries.unwrap_or(policy.retries) {
        return RetryDecision::Fail(error);
    }
    if has_renewed_token(result)
        || matches!(result, AttemptResult::Failed(failure) if failure.is_on_kept_connection)
    {
        return RetryDecision::RetryIn { delay: Duration::ZERO, reason: error.reason };
    }
    let asked = retry_after.unwrap_or_default().min(policy.retry_after_max);
    let delay = policy.delay.before(attempt, context.jitter).max(asked);
    if context.time_left.is_some_and(|left| delay >= left) {
        // The caller need not wait for a retry that would come too late.
        return RetryDecision::Fail(error);
    }
    if !budget.try_withdraw(context.now) {
        return RetryDecision::Fail(budget_exhausted_error(error));
    }
    RetryDecision::RetryIn { delay, reason: error.reason }
}

/// Returns the error for a streamed response that broke off. There is no other attempt: its body could not be joined
/// to what the caller has.
#[must_use]
pub(crate) fn interrupted_response_error(facts: &RequestFacts, failure: &TransportError) -> Error {
    let error = Error::from(failure);
    let in_doubt = side_effect_of_error(failure) == SideEffect::Possible && !facts.is_repeatable;
    if in_doubt { Error::outcome_unknown(error) } else { error }
}

fn budget_exhausted_error(error: Error) -> Error {
    let details = error.details.clone().unwrap_or_default();
    error.with_details(&format!("not repeated, because too many requests were repeated recently: {details}"))
}

/// Returns whether the connection broke after the request may have reached the server.
#[must_use]
pub(super) fn has_broken(result: &AttemptResult) -> bool {
    matches!(result, AttemptResult::Failed(failure) if failure.progress != SendProgress::NotSent
        && matches!(failure.kind, FailureKind::Reset | FailureKind::BodyReset))
}

/// Returns whether the server rejected the token, and there is a new one.
#[must_use]
pub(super) fn has_renewed_token(result: &AttemptResult) -> bool {
    matches!(result, AttemptResult::Failed(failure) if failure.kind == FailureKind::TokenRenewed)
}

/// Returns whether the server acted on a request that failed so; `None` if it did not fail.
pub(crate) fn side_effect(result: &AttemptResult) -> Option<SideEffect> {
    AttemptFailure::from_result(result, SystemTime::UNIX_EPOCH).map(|failure| failure.side_effect)
}

/// The effect of a failed request on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SideEffect {
    /// The server cannot have acted, or said that it did not.
    None,
    /// The server may have acted.
    Possible,
    /// The server received part of a request that we broke off, and can see that it is incomplete.
    Partial,
    /// The server acted, as its response says; only the rest of the response is unusable.
    Certain,
}

/// A failed attempt, classified.
struct AttemptFailure {
    error: Error,
    side_effect: SideEffect,
    is_retryable: bool,
    retry_after: Option<Duration>,
}

impl AttemptFailure {
    /// Classifies a result; `None` if the attempt did not fail.
    fn from_result(result: &AttemptResult, wall: SystemTime) -> Option<Self> {
        match result {
            AttemptResult::Answered(response) => Self::from_response(response, wall),
            AttemptResult::Failed(failure) => Some(Self::from_transport_error(failure, wall)),
            AttemptResult::Lost => {
                let error = Error::new(Reason::Crashed).with_details("the attempt was cut off by a crash");
                // The crash says nothing against the request.
                Some(Self { error, side_effect: SideEffect::Possible, is_retryable: true, retry_after: None })
            }
        }
    }

    fn from_response(response: &FullResponse, wall: SystemTime) -> Option<Self> {
        let error = Error::from_response(response.status, &response.headers, &response.body)?;
        Some(Self::new(
            error,
            side_effect_of_status(response.status),
            retry_after(&response.headers, Some(wall)),
        ))
    }

    fn from_transport_error(failure: &TransportError, wall: SystemTime) -> Self {
        let wait = failure.head.as_ref().and_then(|head| retry_after(&head.headers, Some(wall)));
        Self::new(Error::from(failure), side_effect_of_error(failure), wait)
    }

    fn new(error: Error, side_effect: SideEffect, retry_after: Option<Duration>) -> Self {
        let is_retryable = error.retryable;
        Self { error, side_effect, is_retryable, retry_after }
    }
}

/// Returns the effect that a status implies. A 4xx is a refusal, except 408, which gateways also send for a slow
/// server. A 5xx implies nothing, not even 503, which gateways send when the server behind them broke off. A redirect
/// that was not followed had no effect, except 303, which points to the result of what was done.
fn side_effect_of_status(status: StatusCode) -> SideEffect {
    match Reason::from_status(status.as_u16()) {
        Some(_) if status == StatusCode::SEE_OTHER => SideEffect::Certain,
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
            // The rest of a successful response might have reported a failure.
            SideEffect::Certain
                if !matches!(failure.kind, FailureKind::TooLarge | FailureKind::UnknownEncoding) =>
            {
                SideEffect::Possible
            }
            side_effect => side_effect,
        },
    }
}

//! The one error that callers and bridges see: a code, a reason, and words for a person.
//!
//! - [`Reason`] is the table: each reason's code, whether a repeat may help, its message
//! - [`Reason::of_status`] maps every HTTP status to a reason, [`Reason::of_close`] every close code of a WebSocket
//! - [`of_call`] says what it means that an actor gave no answer
//! - `problem` understands RFC 9457; `plain` decides which text from outside a person may see
//! - `addresses` finds what is private in the addresses of a text
//! - [`Secrets`]: what must not be told again, whoever repeats it
//!
//! docs/errors.md lists every reason, docs/conformance/errors.md every cause; a test writes both.

mod call;
mod close;
mod problem;
mod reason;
#[cfg(test)]
pub(crate) mod reference;
mod retry_after;
mod safe_text;
mod secrets;
mod status;
mod unescape;
mod url_redaction;
#[cfg(test)]
pub(crate) mod words;

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};

use self::problem::ProblemDetails;
pub use self::{
    call::of_call,
    reason::{Code, Reason},
    retry_after::RETRY_AFTER_LIMIT,
    secrets::{Secrets, is_sensitive_name},
};
pub(crate) use self::{
    retry_after::retry_after,
    safe_text::{excerpt, printable},
    secrets::is_credential,
};
use crate::request::id::RequestId;

/// The most of a body, or of a cause, that `details` keeps, in characters.
const DETAILS_CHARS_MAX: usize = 1000;

/// The most of a body that `details` shows, in characters.
const BODY_CHARS_MAX: usize = 500;

/// Why a call failed.
///
/// `message` is for a person and never contains a URL, a token or a path; `details` is for a log and may say more,
/// though never a secret that we know of. The defaults for a reason come from one table (see [`Reason`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The kind of failure, one of six.
    pub code: Code,
    /// The finer reason.
    pub reason: Reason,
    /// The HTTP status, if the backend answered with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What happened and what can be done, for a person.
    pub message: String,
    /// More about the cause, for a log; at most about a thousand characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
    /// Whether the same call may succeed if it is made again, and making it again is safe.
    pub retryable: bool,
    /// How long the backend asked us to wait before the next try, in milliseconds; at most a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// How many attempts were made; 0 if nothing was ever sent.
    #[serde(default)]
    pub attempts: u32,
    /// The request that this is about, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
}

impl Error {
    /// An error with the table's defaults for `reason`.
    #[must_use]
    pub fn new(reason: Reason) -> Self {
        Self {
            code: reason.code(),
            reason,
            status: None,
            message: reason.message().to_owned(),
            details: None,
            retryable: reason.is_retryable(),
            retry_after_ms: None,
            attempts: 0,
            request_id: None,
        }
    }

    /// A request that breaks a rule of its own: `message` says what, where, and what would be right.
    pub(crate) fn invalid(message: &str) -> Self {
        Self::new(Reason::InvalidRequest).with_message(message)
    }

    /// What an answer with a failing status means; `None` if the status is no failure.
    ///
    /// Problem details (RFC 9457) are understood. Other bodies are kept, shortened, in `details`.
    #[must_use]
    pub fn from_response(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Self> {
        let mut error = Self::new(Reason::from_status(status.as_u16())?);
        error.status = Some(status.as_u16());
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if let Some(problem) = ProblemDetails::parse(content_type.unwrap_or_default(), body) {
            let details = format!("HTTP {}: {}", status.as_u16(), problem.details);
            let message = problem.message.unwrap_or_else(|| error.message.clone());
            return Some(error.with_message(&message).with_details(&details));
        }
        let details = format!("HTTP {}: {}", status.as_u16(), body_excerpt(body));
        Some(error.with_details(&details))
    }

    /// What remains to be said when `cause` hides whether the server acted, and a repeat could act twice.
    ///
    /// It keeps the code, the status and the details of what hid the outcome.
    #[must_use]
    pub fn outcome_unknown(cause: Self) -> Self {
        let reason = Reason::OutcomeUnknown;
        let said = cause.details.as_deref().unwrap_or_default();
        let details = excerpt(&format!("{}: {said}", cause.reason), DETAILS_CHARS_MAX);
        Self {
            reason,
            message: reason.message().to_owned(),
            details: Some(details),
            retryable: reason.is_retryable(),
            ..cause
        }
    }

    /// Says `message` to the person if it is fit to be shown; otherwise it joins `details`, and the message of the
    /// reason stays.
    #[must_use]
    pub fn with_message(mut self, message: &str) -> Self {
        if safe_text::is_safe_prose(message) {
            message.clone_into(&mut self.message);
            return self;
        }
        let details =
            self.details.take().map_or_else(|| message.to_owned(), |said| format!("{message}: {said}"));
        self.with_details(&details)
    }

    /// Replaces what is kept for the log; it is cut to a bounded length and put on one line.
    #[must_use]
    pub fn with_details(mut self, details: &str) -> Self {
        self.details = Some(excerpt(details, DETAILS_CHARS_MAX));
        self
    }

    /// Without what must not be told: `details` has a mark in its place, and a message with some of it gives way to the
    /// reason's own.
    #[must_use]
    pub fn redacted(mut self, secrets: &Secrets) -> Self {
        if self.message != self.reason.message() && secrets.contains_secret(&self.message) {
            self.reason.message().clone_into(&mut self.message);
        }
        if let Some(details) = &self.details {
            self.details = Some(secrets.redact(details).into_owned());
        }
        self
    }

    /// What a log says of it: the details, or the message where there are none.
    #[must_use]
    pub fn log_text(&self) -> &str {
        self.details.as_deref().unwrap_or(&self.message)
    }

    /// With the HTTP status that the backend answered with.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// With the time that the backend asked us to wait, cut to [`RETRY_AFTER_LIMIT`].
    #[must_use]
    pub fn with_retry_after(mut self, after: Option<Duration>) -> Self {
        let whole_ms = |after: Duration| u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.retry_after_ms = after.map(|after| whole_ms(after.min(RETRY_AFTER_LIMIT)));
        self
    }

    /// With the number of attempts that were made.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// With the request that this is about.
    #[must_use]
    pub fn with_request_id(mut self, id: RequestId) -> Self {
        self.request_id = Some(id);
        self
    }
}

/// The start of a body, for a log.
pub(crate) fn body_excerpt(body: &[u8]) -> String {
    // Four bytes are the longest character, so the cut below never falls into what is shown.
    let part = &body[..body.len().min(BODY_CHARS_MAX * 4 + 4)];
    excerpt(&String::from_utf8_lossy(part), BODY_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn error_for(status: u16, content_type: &'static str, body: &str) -> Option<Error> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Error::from_response(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes())
    }

    #[test]
    fn successful_status_is_no_error() {
        assert_eq!(error_for(204, "text/plain", ""), None);
        assert_eq!(error_for(304, "text/plain", ""), None);
    }

    #[test]
    fn every_failing_status_has_code_reason_and_safe_message() {
        for status in (100..200).chain(300..304).chain(305..1000) {
            let error = error_for(status, "text/html", "<a href='http://x/y'>secret</a>").unwrap();
            assert_eq!(error.status, Some(status));
            assert_eq!(error.code, error.reason.code());
            assert_eq!(error.retryable, error.reason.is_retryable());
            assert!(safe_text::is_safe_prose(&error.message), "{status}: {}", error.message);
            assert!(error.details.unwrap().contains("secret"));
        }
    }

    #[test]
    fn problem_detail_is_shown_only_if_safe() {
        let problem = "application/problem+json";
        let error = error_for(409, problem, r#"{"detail":"The agent is restarting."}"#).unwrap();
        assert_eq!(error.to_string(), "The agent is restarting.");
        let error = error_for(409, problem, r#"{"detail":"see http://internal/x?token=1"}"#).unwrap();
        assert_eq!(error.to_string(), Reason::Conflict.message());
        assert!(error.details.unwrap().contains("internal"));
    }

    #[test]
    fn unsafe_message_goes_to_details() {
        let error = Error::new(Reason::Internal).with_details("first").with_message("open /home/me/.key");
        assert_eq!(error.message, Reason::Internal.message());
        assert_eq!(error.details.as_deref(), Some("open /home/me/.key: first"));
    }

    #[test]
    fn unknown_outcome_keeps_code_and_is_not_retryable() {
        let cause = Error::new(Reason::TimedOut).with_details("waited 30 s").with_attempts(1);
        let error = Error::outcome_unknown(cause);
        assert_eq!((error.code, error.reason), (Code::Timeout, Reason::OutcomeUnknown));
        assert!(!error.retryable);
        assert_eq!(error.details.as_deref(), Some("timed_out: waited 30 s"));
        assert_eq!(error.attempts, 1);
    }

    #[test]
    fn details_are_bounded() {
        let error = error_for(500, "text/plain", &"ä\n".repeat(100_000)).unwrap();
        assert!(error.details.unwrap().chars().count() < 600);
        assert!(Error::new(Reason::Internal).with_details(&"x".repeat(9000)).details.unwrap().len() < 1010);
    }

    #[test]
    fn error_round_trips_json_without_unknown_fields() {
        let error = Error::new(Reason::QueueFull);
        let json = serde_json::to_value(&error).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "code": "SERVER_ERROR",
                "reason": "queue_full",
                "message": Reason::QueueFull.message(),
                "retryable": true,
                "attempts": 0,
            })
        );
        assert_eq!(serde_json::from_value::<Error>(json).unwrap(), error);
    }
}

//! Defines the error that callers and bridges see: a code, a reason, and words for a person.
//!
//! - [`Reason`] is the table: each reason's code, whether a repeat may help, its message
//! - [`Reason::from_status`] maps HTTP statuses to reasons, `Reason::from_close_code` a WebSocket's close codes
//! - `call` maps the failures of a call to an actor
//! - `problem` reads RFC 9457; `safe_text` decides which text from outside a person may see
//! - `url_redaction` finds the secrets in the addresses of a text
//! - [`Secrets`] redacts what a request sends and a peer may repeat
//!
//! docs/errors.md lists every reason, docs/conformance/errors.md every cause; a test writes both.

mod call;
mod close;
mod problem;
mod reason;
mod retry_after;
pub(crate) mod safe_text;
mod secrets;
mod status;
#[cfg(feature = "typescript")]
mod typescript;
mod url_redaction;

use std::{borrow::Cow, time::Duration};

use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};

use self::problem::ProblemDetails;
pub use self::{
    reason::{Code, Reason},
    secrets::{Secrets, is_sensitive_name},
};
pub(crate) use self::{
    retry_after::{RETRY_AFTER_LIMIT, retry_after},
    safe_text::{ELLIPSIS, excerpt},
    secrets::is_credential,
};
use crate::request_id::RequestId;

/// The longest `details` that are shown, in characters.
const DETAILS_CHARS_MAX: usize = 1000;

/// The longest text from outside that is kept until it is redacted, in characters. It exceeds what is shown, so that a
/// secret is whole when it is searched.
const RAW_CHARS_MAX: usize = 4 * DETAILS_CHARS_MAX;

/// The text in the place of what is redacted.
const REDACTED: &str = "[redacted]";

/// Says why a call failed.
///
/// `message` is for a person and never contains a URL, a token or a path. `details` is for a log and may say more,
/// though never a known secret. The defaults for a reason come from one table (see [`Reason`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS), ts(rename = "ErrorObject"))]
#[error("{message}")]
pub struct Error {
    /// The kind of failure, one of six.
    #[cfg_attr(feature = "typescript", ts(skip))]
    pub code: Code,
    /// The finer reason.
    #[cfg_attr(feature = "typescript", ts(flatten))]
    pub reason: Reason,
    /// The HTTP status, if the backend answered with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub status: Option<u16>,
    /// A text for a person: what happened and what to do.
    pub message: String,
    /// More about the cause, for a log; at most about 1,000 characters once it is redacted, and 4,000 before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub details: Option<String>,
    /// True if the same call may succeed when it is repeated, and repeating it is safe.
    pub retryable: bool,
    /// The time that the backend asked us to wait before the next try, in milliseconds; at most a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub retry_after_ms: Option<u64>,
    /// The number of attempts that were made; 0 if nothing was ever sent.
    #[serde(default)]
    pub attempts: u32,
    /// The request that failed, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub request_id: Option<RequestId>,
}

impl Error {
    /// Creates an error with the table's defaults for `reason`.
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

    /// Creates the error of a request that breaks a rule: `message` says what is wrong, where, and what would be
    /// right.
    pub(crate) fn invalid(message: &str) -> Self {
        Self::new(Reason::InvalidRequest).with_message(message)
    }

    /// Returns the error of a response with a failing status; `None` if the status is no failure.
    ///
    /// Problem details (RFC 9457) are understood. Of other bodies, `details` has the beginning.
    #[must_use]
    pub(crate) fn from_response(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Self> {
        let mut error = Self::new(Reason::from_status(status.as_u16())?);
        error.status = Some(status.as_u16());
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if let Some(problem) = ProblemDetails::parse(status, content_type.unwrap_or_default(), body) {
            let details = status_details(status, "", &problem.details);
            let message = problem.message.unwrap_or_else(|| error.message.clone());
            return Some(error.with_message(&message).with_details(&details));
        }
        let details = status_details(status, &redirect_target(status, headers), &body_start(body));
        Some(error.with_details(&details))
    }

    /// Returns the error of a call of which `cause` hides whether the server acted, and a repeat could act twice.
    ///
    /// It keeps the cause's code, status and details.
    #[must_use]
    pub fn outcome_unknown(cause: Self) -> Self {
        let reason = Reason::OutcomeUnknown;
        let details = match cause.details.as_deref() {
            None | Some("") => cause.reason.to_string(),
            Some(text) => format!("{}: {text}", cause.reason),
        };
        let message = reason.message().to_owned();
        Self { reason, message, retryable: reason.is_retryable(), ..cause }.with_details(&details)
    }

    /// Sets the message for the person if `message` is safe to show. Otherwise it goes to `details`, and the reason's
    /// own message stays.
    #[must_use]
    pub fn with_message(mut self, message: &str) -> Self {
        if safe_text::is_safe_prose(message) {
            message.clone_into(&mut self.message);
            return self;
        }
        let details =
            self.details.take().map_or_else(|| message.to_owned(), |text| format!("{message}: {text}"));
        self.with_details(&details)
    }

    /// Replaces the details for the log. They are put on one line, and bounded: [`redacted`](Self::redacted) cuts them
    /// to the length that is shown.
    #[must_use]
    pub fn with_details(mut self, details: &str) -> Self {
        self.details = Some(raw_excerpt(details));
        self
    }

    /// Removes secrets, and then cuts `details`, which have a mark in their place. A message that contains a secret is
    /// replaced by the reason's own.
    #[must_use]
    pub fn redacted(mut self, secrets: &Secrets) -> Self {
        if self.message != self.reason.message() && secrets.contains_secret(&self.message) {
            self.reason.message().clone_into(&mut self.message);
        }
        if let Some(details) = &self.details {
            let redacted = redact_target_query(secrets.redact(details).into_owned());
            self.details = Some(excerpt(&redacted, DETAILS_CHARS_MAX));
        }
        self
    }

    /// Returns the text for a log: the details, or the message if there are none.
    #[must_use]
    pub fn log_text(&self) -> &str {
        self.details.as_deref().unwrap_or(&self.message)
    }

    /// Returns what is wrong: the message without its advice.
    #[must_use]
    pub fn problem(&self) -> &str {
        split_advice(&self.message).0
    }

    /// Returns whether the backend rejected the token, and there is a new one by now.
    pub(crate) fn is_token_renewed(&self) -> bool {
        self.reason == Reason::Unauthenticated && self.retryable
    }

    /// Returns the error as a final one if a token was rejected that had just been renewed.
    #[must_use]
    pub(crate) fn without_renewal(self) -> Self {
        if !self.is_token_renewed() {
            return self;
        }
        let message = self.reason.message().to_owned();
        Self { retryable: self.reason.is_retryable(), message, ..self }
    }

    /// Sets the HTTP status that the backend answered with.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Sets the time that the backend asked us to wait, cut to [`RETRY_AFTER_LIMIT`].
    #[must_use]
    pub(crate) fn with_retry_after(mut self, after: Option<Duration>) -> Self {
        let whole_ms = |after: Duration| u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.retry_after_ms = after.map(|after| whole_ms(after.min(RETRY_AFTER_LIMIT)));
        self
    }

    /// Sets the number of attempts that were made.
    #[must_use]
    pub(crate) fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets the request that failed.
    #[must_use]
    pub(crate) fn with_request_id(mut self, id: RequestId) -> Self {
        self.request_id = Some(id);
        self
    }
}

/// Returns the target of a redirect as a part of details. It is whole until it is redacted: a secret that was cut would
/// not be found. It has no spaces, so that its end is known.
fn redirect_target(status: StatusCode, headers: &HeaderMap) -> String {
    let location = headers.get(header::LOCATION).filter(|_| status.is_redirection());
    match location.and_then(|location| location.to_str().ok()) {
        None => String::new(),
        Some(target) => format!(" to {}", target.trim().replace([' ', '\t'], "%20")),
    }
}

/// Describes a response in which the server says `text`, if anything.
fn status_details(status: StatusCode, target: &str, text: &str) -> String {
    let separator = if text.trim().is_empty() { "" } else { ": " };
    format!("HTTP {}{target}{separator}{}", status.as_u16(), text.trim())
}

/// Removes the query of a redirect's target that is a mere path. That of an address is removed with all addresses.
fn redact_target_query(details: String) -> String {
    let Some(start) = target_start(&details) else { return details };
    let end = details[start..].find(' ').map_or(details.len(), |length| start + length);
    let target = details[start..end].trim_end_matches(':');
    match target.find(['?', '#']).filter(|_| !target.contains("://")) {
        Some(at) => {
            let rest = &details[start + target.len()..];
            format!("{}{REDACTED}{rest}", &details[..=start + at])
        }
        None => details,
    }
}

/// Returns the place of a redirect's target in details that [`Error::from_response`] wrote.
fn target_start(details: &str) -> Option<usize> {
    const HEAD: &str = "HTTP 3";
    let status = details.find(HEAD)? + HEAD.len();
    let rest = details.get(status + 2..)?.strip_prefix(" to ")?;
    Some(details.len() - rest.len())
}

/// Returns as much of a text from outside as is kept until it is redacted, on one line.
pub(crate) fn raw_excerpt(text: &str) -> String {
    excerpt(text, RAW_CHARS_MAX)
}

/// Returns the start of a body. It is longer than what is shown of it, which [`Error::redacted`] cuts.
pub(crate) fn body_start(body: &[u8]) -> Cow<'_, str> {
    // A character has at most four bytes.
    String::from_utf8_lossy(&body[..body.len().min(RAW_CHARS_MAX * 4)])
}

/// Splits a message for a person into what is wrong and what can be done about it.
pub(crate) fn split_advice(message: &str) -> (&str, Option<&str>) {
    match message.split_once(". ") {
        Some((problem, advice)) => (problem, Some(advice)),
        None => (message.trim_end_matches('.'), None),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    pub(crate) mod words;

    use http::HeaderValue;

    use super::*;

    fn error_for(status: u16, content_type: &'static str, body: &str) -> Option<Error> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Error::from_response(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes())
    }

    #[test]
    fn redirect_shows_its_target_and_no_secret() {
        let secrets = Secrets::from_texts(["s3c?ret#!".to_owned()]);
        for (location, shown) in [
            ("/done", "/done"),
            ("/done?token=x", "/done?[redacted]"),
            ("/done#token=x y: z", "/done#[redacted]"),
            ("/s3c?ret#!", "/[redacted]"),
            ("https://other.example/s3c?ret#!", "https://other.example/[redacted]"),
            ("https://other.example/done?token=x", "https://other.example/done?[redacted]"),
        ] {
            let headers = HeaderMap::from_iter([(header::LOCATION, location.parse().unwrap())]);
            let error =
                Error::from_response(StatusCode::SEE_OTHER, &headers, b"").unwrap().redacted(&secrets);
            assert_eq!(error.details.unwrap(), format!("HTTP 303 to {shown}"), "{location}");
            let error = Error::from_response(StatusCode::SEE_OTHER, &headers, b"see there")
                .unwrap()
                .redacted(&secrets);
            // The end of an address takes the colon after it along.
            let details = error.details.unwrap().replace(": see there", " see there");
            assert_eq!(details, format!("HTTP 303 to {shown} see there"), "{location}");
        }
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
    fn empty_body_leaves_the_status_alone() {
        let error = error_for(428, "text/plain", "").unwrap();
        assert_eq!((error.reason, error.details.as_deref()), (Reason::BadRequest, Some("HTTP 428")));
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
        let response = error_for(500, "text/plain", &"ä\n".repeat(100_000)).unwrap();
        let own = Error::new(Reason::Internal).with_details(&"x".repeat(90_000));
        for error in [response, own.clone(), Error::outcome_unknown(own)] {
            let length = |error: &Error| error.details.as_ref().unwrap().chars().count();
            assert!(length(&error) <= RAW_CHARS_MAX + 1, "{}", length(&error));
            let redacted = error.redacted(&Secrets::default());
            assert!(length(&redacted) <= DETAILS_CHARS_MAX + 1, "{}", length(&redacted));
        }
    }

    #[test]
    fn secret_across_the_cut_of_details_is_redacted() {
        let secrets = Secrets::from_texts(["s3cret-t0ken".to_owned()]);
        for before in DETAILS_CHARS_MAX - 30..DETAILS_CHARS_MAX + 10 {
            let text = format!("{}s3cret-t0ken{}", "x".repeat(before), "y".repeat(5000));
            let problem = format!(r#"{{"detail":"{text}"}}"#);
            for error in [
                error_for(500, "text/plain", &text).unwrap(),
                error_for(500, "application/problem+json", &problem).unwrap(),
                Error::new(Reason::Internal).with_details(&text),
                Error::outcome_unknown(Error::new(Reason::Internal).with_details(&text)),
            ] {
                let details = error.redacted(&secrets).details.unwrap();
                assert!(!details.contains("s3c"), "{before}: {details}");
            }
        }
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

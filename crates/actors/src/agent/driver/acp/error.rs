//! The errors of connections to an agent.

use std::path::PathBuf;
use std::time::Duration;

use agent_client_protocol::ErrorCode;
use mainstay_runtime::journal::{millis, millis_text};
use thiserror::Error;

use super::sent_requests::unreadable_response;
use super::session::LoginMethod;
use crate::error::{Error, Reason, raw_excerpt};
use crate::suggestion::nearest;

/// Says why a request to an agent failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AcpError {
    /// The agent closed its side, or the connection was dropped.
    #[error("the agent closed the connection")]
    Closed,
    /// The connection had ended before for this reason, and nothing was sent.
    #[error("nothing was sent, because the connection had ended before: {0}")]
    AlreadyEnded(Box<Self>),
    /// The pipe cannot be read or written.
    #[error("the pipe to the agent broke: {0}")]
    Io(String),
    /// The agent sent something outside the protocol or its limits. The connection has ended.
    #[error("the agent broke the protocol: {what}{}", format_quote(.quote))]
    Violation {
        /// The violation.
        what: String,
        /// The beginning of the line, bounded; empty if there is none to show.
        quote: String,
    },
    /// The agent speaks another version of the protocol.
    #[error("the agent speaks version {0} of the protocol; it has to speak version 1")]
    UnsupportedVersion(u16),
    /// The agent requires a login first.
    #[error("the agent needs a login first{}", format_logins(.0))]
    AuthRequired(Vec<LoginMethod>),
    /// The agent offers no such login, or several. Nothing was sent.
    #[error("{}{}", format_given_login(.given.as_deref(), .methods), format_logins(.methods))]
    UnknownLogin {
        /// The given method.
        given: Option<String>,
        /// The methods that the agent has.
        methods: Vec<LoginMethod>,
    },
    /// The agent refused with an error of its own.
    #[error("the agent refused {method}: {words} (code {code})")]
    Refused {
        /// The requested method.
        method: &'static str,
        /// The error's code.
        code: i32,
        /// The error's text, bounded.
        words: String,
    },
    /// The agent's answer does not follow the protocol.
    #[error("the agent's answer to {method} cannot be understood: {quote:?}")]
    InvalidResponse {
        /// The requested method.
        method: &'static str,
        /// The beginning of the answer, bounded.
        quote: String,
    },
    /// The agent did not answer in time.
    #[error("the agent did not answer {method} within {}", millis_text(millis(*after)))]
    TimedOut {
        /// The requested method.
        method: &'static str,
        /// The time limit.
        after: Duration,
    },
    /// The prompt is invalid for this agent. Nothing was sent.
    #[error("{0}")]
    InvalidPrompt(String),
    /// The working directory of a session is not an absolute path.
    #[error("the working directory {0:?} has to be an absolute path")]
    FolderNotAbsolute(PathBuf),
    /// A prompt came before the session.
    #[error("the agent has not started a session")]
    NoSession,
    /// The agent has not ended the previous turn, which was cancelled. Nothing was sent.
    #[error("the agent is still working on the turn that was cancelled before")]
    PreviousTurnActive,
    /// The question is not open.
    #[error("the agent asks nothing named {0:?}")]
    UnknownAsk(String),
    /// The answer is not one of the agent's options.
    #[error("{given:?} is no answer to that; it may be one of {options:?}")]
    NoSuchOption {
        /// The given answer.
        given: String,
        /// The valid answers.
        options: Vec<String>,
    },
}

fn format_quote(quote: &str) -> String {
    if quote.is_empty() { String::new() } else { format!(": {quote:?}") }
}

fn format_given_login(given: Option<&str>, methods: &[LoginMethod]) -> String {
    match given {
        Some(given) => {
            let offered: Vec<&str> =
                methods.iter().filter(|one| one.is_offered).map(|one| &*one.id).collect();
            let hint = nearest(given, &offered).map(|near| format!("; did you mean {near:?}?"));
            format!("the agent offers no login by {given:?}{}", hint.unwrap_or_default())
        }
        None => "the agent does not offer exactly one login, so a method has to be named".to_owned(),
    }
}

fn format_logins(logins: &[LoginMethod]) -> String {
    let texts: Vec<_> = logins
        .iter()
        .map(|LoginMethod { id, name, is_offered }| match is_offered {
            true => format!("{id} ({name})"),
            false => format!("{id} ({name}; only with its own program)"),
        })
        .collect();
    if texts.is_empty() { String::new() } else { format!(" (it offers {})", texts.join(", ")) }
}

impl AcpError {
    /// Returns the error for an invalid message, which shows a part of `line`.
    pub(super) fn violation(what: impl Into<String>, line: &str) -> Self {
        Self::Violation { what: what.into(), quote: raw_excerpt(line) }
    }

    /// Returns the error for an agent's error response.
    pub(super) fn from_rpc_error(
        method: &'static str,
        error: &agent_client_protocol::Error,
        logins: &[LoginMethod],
    ) -> Self {
        if let Some(quote) = unreadable_response(error) {
            return Self::InvalidResponse { method, quote: raw_excerpt(quote) };
        }
        if error.code == ErrorCode::AUTH_REQUIRED {
            return Self::AuthRequired(logins.to_vec());
        }
        let words = match &error.data {
            Some(serde_json::Value::String(data)) => format!("{}: {data}", error.message),
            Some(data) => format!("{}: {data}", error.message),
            None => error.message.clone(),
        };
        Self::Refused { method, code: error.code.into(), words: raw_excerpt(&words) }
    }

    /// Returns whether the connection has ended.
    #[must_use]
    pub(crate) fn ends_connection(&self) -> bool {
        matches!(self, Self::Closed | Self::Io(_) | Self::Violation { .. })
    }

    /// Returns whether a pipe has ended, for which the end of the process is the better explanation.
    pub(super) fn is_pipe_end(&self) -> bool {
        matches!(self, Self::Closed | Self::Io(_))
    }

    /// Converts to an error for the sender of a prompt. If the agent may have acted on it, the outcome is unknown.
    #[must_use]
    pub fn to_turn_error(&self) -> Error {
        let error = self.to_error();
        if !self.ends_connection() {
            return error;
        }
        Error::outcome_unknown(error).with_message(
            "The connection to the agent broke while it had this message, and it may have acted on it. Check before you send it again.",
        )
    }

    /// Converts to an error whose details are for the log, since they repeat the agent's text.
    #[must_use]
    pub fn to_error(&self) -> Error {
        let reason = match self {
            Self::Closed | Self::Io(_) => Reason::ConnectionClosed,
            // The agent did not get it, so it can be delivered to the next instance.
            Self::AlreadyEnded(_) => Reason::AgentFailed,
            Self::Violation { .. } | Self::InvalidResponse { .. } | Self::UnsupportedVersion(_) => {
                Reason::BadResponse
            }
            Self::AuthRequired(_) => Reason::Unauthenticated,
            Self::Refused { .. } => Reason::ServerError,
            Self::TimedOut { .. } => Reason::TimedOut,
            Self::InvalidPrompt(_) | Self::NoSuchOption { .. } | Self::UnknownLogin { .. } => {
                Reason::InvalidRequest
            }
            Self::FolderNotAbsolute(_) => Reason::InvalidConfig,
            Self::NoSession | Self::PreviousTurnActive => Reason::Unavailable,
            Self::UnknownAsk(_) => Reason::NotFound,
        };
        let error = Error::new(reason).with_details(&self.to_string());
        let error = match self.user_message() {
            Some(words) => error.with_message(words),
            None => error,
        };
        // The agent may have acted on a prompt that it received.
        Error { retryable: matches!(self, Self::PreviousTurnActive | Self::NoSession), ..error }
    }

    /// Returns the message for a person, in place of the reason's own text, which is about a backend.
    fn user_message(&self) -> Option<&'static str> {
        Some(match self {
            Self::AlreadyEnded(_) => {
                "The agent is not running at the moment. Look at its status, then try again."
            }
            Self::Closed | Self::Io(_) => {
                "The agent closed the connection. Wait until it has been restarted."
            }
            Self::Violation { .. } | Self::InvalidResponse { .. } => {
                "The agent's answer could not be understood. Check that its version is the right one."
            }
            Self::UnsupportedVersion(_) => {
                "The agent speaks another version of the protocol. Check that its version is the right one."
            }
            Self::AuthRequired(_) => {
                "The agent needs a login first. Log in with its own program, then start it again."
            }
            Self::UnknownLogin { .. } => {
                "The agent does not offer that login. Use one of those in the details of this error."
            }
            Self::Refused { .. } => "The agent refused, or met an error of its own. Look into the log.",
            Self::TimedOut { .. } => "The agent did not answer in time. Restart it if that goes on.",
            Self::PreviousTurnActive => {
                "The agent is still working on the cancelled turn. Try again in a moment."
            }
            Self::NoSession => "The agent is not ready yet. Try again in a moment.",
            Self::UnknownAsk(_) => "The agent does not ask this any more. Look at its open questions.",
            Self::NoSuchOption { .. } => {
                "That is none of the answers that the agent offers. Use one of them."
            }
            Self::InvalidPrompt(_) | Self::FolderNotAbsolute(_) => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::tests::words::assert_message_helps;
    use crate::error::{Code, Secrets};

    #[test]
    fn to_turn_error_unknown_if_connection_ended() {
        let ended = AcpError::violation("it wrote nonsense", "{]").to_turn_error();
        assert_eq!(ended.reason, Reason::OutcomeUnknown);
        assert_eq!(ended.code, Code::ServerError);
        assert!(!ended.message.contains("backend"), "{}", ended.message);
        assert_message_helps(&ended.message);
        assert!(ended.details.unwrap().contains("it wrote nonsense: \"{]\""));
        let refused = agent_client_protocol::Error::internal_error();
        let refused = AcpError::from_rpc_error("session/prompt", &refused, &[]).to_turn_error();
        assert_eq!((refused.reason, refused.retryable), (Reason::ServerError, false));
    }

    #[test]
    fn to_error_auth_required_lists_auth_methods() {
        let error = agent_client_protocol::Error::auth_required();
        let method = |id: &str, is_offered| LoginMethod {
            id: id.to_owned(),
            name: "Log in with Acme".to_owned(),
            is_offered,
        };
        let logins = [method("acme", true), method("shell", false)];
        let error = AcpError::from_rpc_error("session/new", &error, &logins);
        let error = error.to_error();
        assert_eq!(error.reason, Reason::Unauthenticated);
        let expected = "The agent needs a login first. Log in with its own program, then start it again.";
        assert_eq!(error.message, expected);
        let words =
            "(it offers acme (Log in with Acme), shell (Log in with Acme; only with its own program))";
        assert!(error.details.unwrap().contains(words));
    }

    #[test]
    fn user_message_is_safe_to_show() {
        for error in [
            AcpError::Closed,
            AcpError::AlreadyEnded(Box::new(AcpError::Closed)),
            AcpError::violation("", ""),
            AcpError::UnsupportedVersion(2),
            AcpError::AuthRequired(Vec::new()),
            AcpError::UnknownLogin { given: None, methods: Vec::new() },
            AcpError::from_rpc_error("", &agent_client_protocol::Error::internal_error(), &[]),
            AcpError::TimedOut { method: "", after: Duration::ZERO },
            AcpError::PreviousTurnActive,
            AcpError::NoSession,
            AcpError::UnknownAsk(String::new()),
            AcpError::NoSuchOption { given: String::new(), options: Vec::new() },
        ] {
            assert_eq!(Some(&*error.to_error().message), error.user_message(), "{error:?}");
            assert_message_helps(&error.to_error().message);
        }
    }

    #[test]
    fn secret_across_the_cut_of_a_quote_is_redacted() {
        let secrets = Secrets::from_texts(["s3cret-\"t0ken".to_owned()]);
        for before in 880..1010 {
            let line = format!(r#"{}{{"key":"s3cret-\"t0ken"}}{}"#, "x".repeat(before), "y".repeat(9000));
            let details = AcpError::violation("", &line).to_error().redacted(&secrets).details.unwrap();
            assert!(!details.contains("s3c"), "{before}: {details}");
        }
    }

    #[test]
    fn to_error_agent_text_is_bounded_and_in_details_only() {
        let error = agent_client_protocol::Error::internal_error().data("x".repeat(100_000));
        let error = AcpError::from_rpc_error("session/new", &error, &[]);
        assert!(error.to_string().len() < 5000);
        let error = error.to_error().redacted(&Secrets::default());
        assert!(error.details.unwrap().chars().count() < 1010);
        assert!(!error.message.contains("xxx"));
    }
}

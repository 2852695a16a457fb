//! Holds the table of reasons: each one's code, whether a repeat may help, and its message for a person.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kind of failure: six codes that a caller can switch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// The backend could not be reached, or the connection to it broke.
    NetworkError,
    /// Something took longer than its limit.
    Timeout,
    /// The thing that was asked for does not exist.
    NotFound,
    /// The caller lacks the permission.
    PermissionDenied,
    /// The call itself is wrong; repeating it unchanged fails again.
    InvalidInput,
    /// The backend or the runtime failed to do its work.
    ServerError,
}

impl Code {
    /// Returns the stable name, as it stands in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NetworkError => "NETWORK_ERROR",
            Self::Timeout => "TIMEOUT",
            Self::NotFound => "NOT_FOUND",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::InvalidInput => "INVALID_INPUT",
            Self::ServerError => "SERVER_ERROR",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A row of the table.
struct ReasonRow {
    name: &'static str,
    code: Code,
    retryable: bool,
    message: &'static str,
}

const RETRYABLE: bool = true;
const FINAL: bool = false;

macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident $name:literal $code:ident $retryable:ident $message:literal)+) => {
        /// The cause of a failure, finer than [`Code`]. Names are stable; new ones may be added.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(from = "String", into = "&'static str")]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $reason,)+
        }

        impl Reason {
            /// Every reason, in the order of the table.
            pub(crate) const ALL: &[Self] = &[$(Self::$reason,)+];

            const fn row(self) -> ReasonRow {
                match self {
                    $(Self::$reason => ReasonRow {
                        name: $name,
                        code: Code::$code,
                        retryable: $retryable,
                        message: $message,
                    },)+
                }
            }
        }
    };
}

reasons! {
    // The backend cannot be reached.

    /// Nothing listens at the backend's address.
    ConnectionRefused "connection_refused" NetworkError RETRYABLE
        "The backend is not accepting connections. Check that it is running, then try again."
    /// The backend's host name does not resolve.
    HostNotFound "host_not_found" NetworkError RETRYABLE
        "The backend's address could not be found. Check the network and the configured address."
    /// The proxy cannot be reached, or the server at its address is no proxy.
    ProxyUnreachable "proxy_unreachable" NetworkError RETRYABLE
        "The proxy in front of the backend cannot be reached. Check the network and the proxy settings."
    /// The proxy does not connect to the backend: it may not, or it cannot.
    ProxyRefused "proxy_refused" NetworkError RETRYABLE
        "The proxy cannot reach the backend. Check the address, or ask the proxy's administrator."
    /// The connection's handshake took longer than its limit; nothing was sent.
    ConnectTimedOut "connect_timed_out" Timeout RETRYABLE
        "The backend did not accept the connection in time. Check the network, then try again."
    /// TLS could not be set up.
    TlsFailed "tls_failed" NetworkError FINAL
        "A secure connection to the backend could not be set up. Check its certificate and this computer's clock."
    /// The connection could not be made, for another cause.
    ConnectionFailed "connection_failed" NetworkError RETRYABLE
        "The backend could not be reached. Check the network, then try again."
    /// The connection broke while a request was on it.
    ConnectionReset "connection_reset" NetworkError RETRYABLE
        "The connection to the backend broke off. Look into the backend's log if that goes on."
    /// The backend closed the connection in order.
    ConnectionClosed "connection_closed" NetworkError RETRYABLE
        "The backend closed the connection. Wait for the next attempt, or reconnect."
    /// The connection to the backend is down at the moment.
    Disconnected "disconnected" NetworkError RETRYABLE
        "There is no connection to the backend. Reconnect, then try again."
    /// The network requires a login first (HTTP 511).
    NetworkLoginRequired "network_login_required" NetworkError FINAL
        "This network requires a login. Log in to it in a browser, then try again."

    // Too slow.

    /// An attempt took longer than its timeout.
    TimedOut "timed_out" Timeout RETRYABLE
        "The backend did not answer in time. Try again, or wait until it is less busy."
    /// The backend did not receive the request in time (HTTP 408).
    RequestTimeout "request_timeout" Timeout RETRYABLE
        "The backend did not receive the whole request in time. Check the network, then try again."
    /// A service behind the backend did not answer in time (HTTP 504).
    GatewayTimedOut "gateway_timed_out" Timeout RETRYABLE
        "A service behind the backend did not answer in time. Try again later."
    /// The request waited in the queue longer than its limit, and was never sent.
    Expired "expired" Timeout RETRYABLE
        "The request waited too long for its turn and was not sent. Try again when the backend is less busy."
    /// The request, with all waits and attempts, took longer than its deadline.
    DeadlineExceeded "deadline_exceeded" Timeout RETRYABLE
        "The request took longer than it may in all. Try again, or allow it more time."
    /// The caller cancelled it.
    Cancelled "cancelled" Timeout FINAL
        "The request was cancelled. Send it again if it is still wanted."

    // The thing that was asked for does not exist.

    /// HTTP 404.
    NotFound "not_found" NotFound FINAL
        "The backend does not have what was asked for. Check the name."
    /// HTTP 410.
    Gone "gone" NotFound FINAL
        "What was asked for existed once and was removed. Look at what there is now."
    /// No agent has this id.
    AgentUnknown "agent_unknown" NotFound FINAL
        "There is no agent of that name. Check the name against the list of agents."

    // Not allowed.

    /// HTTP 401.
    Unauthenticated "unauthenticated" PermissionDenied FINAL
        "The backend does not know who is asking. Sign in, or check the configured credentials."
    /// HTTP 403 and 451.
    Forbidden "forbidden" PermissionDenied FINAL
        "The backend does not allow this. Ask its administrator for access."
    /// HTTP 402.
    PaymentRequired "payment_required" PermissionDenied FINAL
        "The backend asks for payment before it does this. Check the account."
    /// HTTP 407, or a SOCKS proxy that rejects the credentials.
    ProxyUnauthenticated "proxy_unauthenticated" PermissionDenied FINAL
        "The proxy in front of the backend asks for a login. Check the proxy settings."

    // The call is wrong.

    /// The request breaks a rule and was rejected before it was sent.
    InvalidRequest "invalid_request" InvalidInput FINAL
        "The request is not valid and was not sent. Correct it, then try again."
    /// The body cannot be read: its file is missing or inaccessible, or its stream failed.
    BodyUnreadable "body_unreadable" InvalidInput FINAL
        "The data to send could not be read, and was not sent whole. Check that it exists and is readable."
    /// The body changed while it was sent, or its length differs from the announced one. The send was aborted, so the
    /// backend has a part of it at most.
    BodyChanged "body_changed" InvalidInput FINAL
        "The data changed while it was sent, so the send was aborted. Check what the backend has, then send it again."
    /// The response could not be written to its target.
    NotSaved "not_saved" InvalidInput FINAL
        "The backend's response could not be saved. Check the folder and the free space, then try again."
    /// The configuration, or an argument of the start, is not valid.
    InvalidConfig "invalid_config" InvalidInput FINAL
        "The configuration is not valid. Correct it, then start again."
    /// The data folder or the port is in use by another runtime or program.
    InUse "in_use" InvalidInput FINAL
        "Another program is using the same data or port already. Close it, or choose another."
    /// HTTP 400, 428, and every other 4xx without a reason of its own.
    BadRequest "bad_request" InvalidInput FINAL
        "The backend did not understand the request. Correct it, then try again."
    /// HTTP 405.
    MethodNotAllowed "method_not_allowed" InvalidInput FINAL
        "The backend does not offer this action here. Check the request."
    /// HTTP 409, 423 and 424.
    Conflict "conflict" InvalidInput FINAL
        "This clashes with the present state at the backend. Look at that state, then decide again."
    /// HTTP 412.
    PreconditionFailed "precondition_failed" InvalidInput FINAL
        "What was to be changed has changed meanwhile. Look at it again, then decide."
    /// HTTP 413, 414 and 431.
    RequestTooLarge "request_too_large" InvalidInput FINAL
        "The request is larger than the backend accepts. Send less at once."
    /// HTTP 415.
    UnsupportedMediaType "unsupported_media_type" InvalidInput FINAL
        "The backend does not accept this kind of content. Check the request."
    /// HTTP 422.
    Unprocessable "unprocessable" InvalidInput FINAL
        "The backend understood the request but cannot act on its content. Correct it, then try again."

    // The backend failed.

    /// HTTP 500, and every other 5xx without a reason of its own.
    ServerError "server_error" ServerError RETRYABLE
        "The backend had an internal error. Try again; if it stays, look into the backend's log."
    /// HTTP 502.
    BadGateway "bad_gateway" ServerError RETRYABLE
        "A service behind the backend is not answering properly. Try again later."
    /// HTTP 503.
    Unavailable "unavailable" ServerError RETRYABLE
        "The backend is not available at the moment. Try again later."
    /// HTTP 429.
    RateLimited "rate_limited" ServerError RETRYABLE
        "The backend is receiving too many requests. Wait a moment, then try again."
    /// HTTP 425.
    TooEarly "too_early" ServerError RETRYABLE
        "The backend would not take the request this early. Try again."
    /// HTTP 501, 505, 508 and 510.
    NotImplemented "not_implemented" ServerError FINAL
        "The backend cannot do this. Check that its version is the right one."
    /// HTTP 3xx to another origin, or without a target.
    Redirected "redirected" ServerError FINAL
        "The backend pointed to another place, which is not followed. Check the configured address."
    /// The response is not HTTP, or not what it announces (bad JSON).
    BadResponse "bad_response" ServerError FINAL
        "The backend's response could not be read. Check that its version is the right one."
    /// The response's body has a content coding that is not known.
    UnknownEncoding "unknown_encoding" ServerError FINAL
        "The backend's response has an encoding that is not known. Check the backend's settings."
    /// The server does not speak WebSocket: it answered with HTTP 2xx, or not with HTTP.
    NotWebsocket "not_websocket" ServerError RETRYABLE
        "The server does not offer the live connection. Check for a proxy or a sign-in page in between."
    /// The response is larger than the limit.
    ResponseTooLarge "response_too_large" ServerError FINAL
        "The backend's response is larger than the limit. Ask for less at once."
    /// The server may have acted, and a repeat could act twice. The code is that of the failure that hid the outcome.
    OutcomeUnknown "outcome_unknown" NetworkError FINAL
        "It is not known whether the backend carried this out. Check before doing it again."

    // The runtime.

    /// The queue had no room for the request.
    QueueFull "queue_full" ServerError RETRYABLE
        "Too many requests are waiting already. Wait a moment, then try again."
    /// The request waited in the queue and was evicted for another.
    Evicted "evicted" ServerError RETRYABLE
        "The request had to make room for another and was not sent. Try again in a moment."
    /// The actor crashed while it handled the message.
    Crashed "crashed" ServerError FINAL
        "The part that handled this crashed and is being restarted. Check what was done, then try again."
    /// The actor did not reply in time, and may have acted.
    NoAnswer "no_answer" Timeout FINAL
        "The part that handles this did not reply in time. Check what was done, then try again."
    /// The actor was stopped or given up, and accepts no more messages.
    Stopped "stopped" ServerError FINAL
        "The part that handles this has stopped or was given up. Start it again, or restart the application."
    /// The message crashed its handler several times and was quarantined.
    Poisoned "poisoned" ServerError FINAL
        "This crashed the part that handles it several times and was quarantined. Change it before sending it again."
    /// The backend died `quarantine_after` times over this; for a message to an agent that the runtime starts, the agent.
    /// It is not sent again. A call that the runtime makes for an agent by itself is made again after a pause.
    Quarantined "quarantined" ServerError FINAL
        "The backend died repeatedly while it worked on this, so it is not sent again. Look into its log first."
    /// The agent ended, did not start, or could not be restarted. A restart may follow; a message to an agent that was
    /// given up ends as `stopped`.
    AgentFailed "agent_failed" ServerError FINAL
        "The agent has failed or does not run. Look into its last error; if it was given up, reset it."
    /// The agent itself reports a problem or a failure.
    AgentUnhealthy "agent_unhealthy" ServerError RETRYABLE
        "The agent reports trouble of its own. Wait until it has recovered, or restart it."
    /// The data folder cannot be read or written.
    DataUnusable "data_unusable" ServerError FINAL
        "The application cannot use its data folder. Check that there is room, and that it may write there."
    /// The runtime itself has a fault.
    Internal "internal" ServerError FINAL
        "Something went wrong inside the application. Try again; if it stays, restart the application."
    /// The reason is from a newer version, which this one does not know.
    Other "other" ServerError FINAL
        "Something went wrong that this version does not know. Update the application, then try again."
}

impl Reason {
    /// Returns the stable name in snake case, as it stands in JSON and in the journal.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().name
    }

    /// Returns the code that callers see beside this reason.
    #[must_use]
    pub const fn code(self) -> Code {
        self.row().code
    }

    /// Returns whether the same call may succeed later. A reason cannot say whether a repeat is *safe*.
    #[must_use]
    pub(crate) const fn is_retryable(self) -> bool {
        self.row().retryable
    }

    /// Returns the message for a person: what happened, and what can be done.
    #[must_use]
    pub const fn message(self) -> &'static str {
        self.row().message
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Reason> for &'static str {
    fn from(reason: Reason) -> Self {
        reason.as_str()
    }
}

impl From<String> for Reason {
    /// Returns the reason of that name; [`Reason::Other`] for a name that this version does not know.
    fn from(name: String) -> Self {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == name).unwrap_or(Self::Other)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::error::tests::words::assert_message_helps;

    #[test]
    fn every_reason_has_a_unique_name_and_a_safe_message() {
        let mut names = HashSet::new();
        for reason in Reason::ALL {
            let (name, message) = (reason.as_str(), reason.message());
            assert!(names.insert(name), "{name} stands twice");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name} is not snake case");
            assert_message_helps(message);
        }
    }

    #[test]
    fn reason_round_trips_json_and_unknown_becomes_other() {
        for reason in Reason::ALL {
            let json = serde_json::to_string(reason).unwrap();
            assert_eq!(json, format!("\"{reason}\""));
            assert_eq!(serde_json::from_str::<Reason>(&json).unwrap(), *reason);
        }
        assert_eq!(serde_json::from_str::<Reason>("\"from_the_future\"").unwrap(), Reason::Other);
    }

    #[test]
    fn code_serializes_as_it_displays() {
        for reason in Reason::ALL {
            let code = reason.code();
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }
}

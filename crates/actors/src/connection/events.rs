//! The journal's events about the connection.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mainstay_runtime::journal::{Event, Level, count, millis_text};
use serde::{Deserialize, Serialize};

use super::error::ConnectionError;
use super::event_counter::EventCount;
use super::outbound::SendFailure;
use super::policy::ConnectionPolicy;
use super::resumption::Gap;
use super::status::{ConnectionState, StatusReason, Transition};
use crate::error::Code;

/// The connection's state or its next attempt has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct ConnectionChanged {
    /// The state before.
    pub from: ConnectionState,
    /// The state after.
    pub to: ConnectionState,
    /// The current or next attempt.
    pub attempt: u32,
    /// The most attempts that may fail in a row.
    pub max: u32,
    /// The time of the next attempt: RFC 3339, in UTC.
    pub next_attempt_at: Option<String>,
    /// The delay until then, in milliseconds.
    pub next_attempt_in_ms: Option<u64>,
    /// The reason.
    pub reason: StatusReason,
    /// The error's code, if there was an error.
    #[serde(default)]
    pub code: Option<Code>,
    /// The error, if there was one.
    pub error: Option<ConnectionError>,
}

impl Event for ConnectionChanged {
    const KIND: &'static str = "connection_state";
    const LEVEL: Level = Level::Info;

    fn level(&self) -> Level {
        match self.to {
            ConnectionState::Failed => Level::Error,
            // That is how it begins, and no trouble.
            ConnectionState::Connecting if self.from == ConnectionState::Disconnected => Level::Info,
            ConnectionState::Connecting | ConnectionState::Reconnecting => Level::Warn,
            ConnectionState::Disabled | ConnectionState::Connected | ConnectionState::Disconnected => {
                Self::LEVEL
            }
        }
    }

    fn describe(&self) -> String {
        let Self { from, to, attempt, max, next_attempt_in_ms, error, .. } = self;
        let next = next_attempt_in_ms.map(|ms| format!(" in {}", millis_text(ms))).unwrap_or_default();
        let problem = |otherwise| error.as_ref().map_or(otherwise, ConnectionError::problem);
        match to {
            ConnectionState::Disabled => "the connection is switched off".to_owned(),
            ConnectionState::Disconnected => problem("the connection is closed").to_owned(),
            ConnectionState::Connecting => {
                format!("the connection is being opened, attempt {attempt} of {max}")
            }
            ConnectionState::Connected => "the connection is open".to_owned(),
            ConnectionState::Reconnecting => {
                let state = match from {
                    ConnectionState::Connected => "the connection is lost",
                    _ => "the connection cannot be opened",
                };
                format!("{}; attempt {attempt} of {max} follows{next}", problem(state))
            }
            ConnectionState::Failed if next.is_empty() => problem("the connection has failed").to_owned(),
            ConnectionState::Failed => {
                format!("{}; another attempt follows{next}", problem("the connection has failed"))
            }
        }
    }
}

impl Event for Gap {
    const KIND: &'static str = "connection_gap";
    const LEVEL: Level = Level::Warn;

    fn describe(&self) -> String {
        match (self.after, self.next) {
            (Some(after), Some(next)) => format!("events between {after} and {next} may be missing"),
            _ => "events may be missing".to_owned(),
        }
    }
}

/// Messages were not sent, or are not known to have been. Their senders got the outcome as well. Messages of one
/// outcome are recorded together, at most once a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct ConnectionUnsent {
    /// The outcome.
    pub outcome: SendFailure,
    /// The number of messages.
    pub messages: u64,
    /// The total size in bytes.
    pub bytes: u64,
    /// The size of the largest, in bytes.
    pub largest_bytes: u64,
    /// The number of messages whose sender no longer waited.
    pub unawaited: u64,
    /// The most messages that may wait, if that was the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub messages_max: Option<usize>,
    /// The most bytes that may wait or be in one message, if that was the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub bytes_max: Option<usize>,
}

impl Event for ConnectionUnsent {
    const KIND: &'static str = "connection_unsent";
    const LEVEL: Level = Level::Warn;

    fn describe(&self) -> String {
        let Self { outcome, messages, bytes, .. } = self;
        let messages = format!("{} ({bytes} bytes)", count(*messages, "message"));
        match outcome {
            SendFailure::Expired => format!("{messages} not sent: the time ran out before their turn"),
            SendFailure::QueueFull => format!("{messages} not sent: too many wait already"),
            SendFailure::TooLarge => format!("{messages} not sent: larger than a message may be"),
            SendFailure::Dropped => format!("{messages} not sent: the connection's actor ended"),
            SendFailure::Disabled => format!("{messages} not sent: the connection is switched off"),
            SendFailure::Unknown => {
                format!("{messages} interrupted while being sent: they may have arrived")
            }
        }
    }
}

impl ConnectionUnsent {
    pub(super) fn new(outcome: SendFailure, sum: EventCount, policy: &ConnectionPolicy) -> Self {
        let (messages_max, bytes_max) = match outcome {
            SendFailure::QueueFull => (Some(policy.outbound_max), Some(policy.outbound_bytes_max)),
            SendFailure::TooLarge => (None, Some(policy.message_max_bytes)),
            _ => (None, None),
        };
        let EventCount { count, bytes, largest_bytes, unawaited } = sum;
        Self { outcome, messages: count, bytes, largest_bytes, unawaited, messages_max, bytes_max }
    }
}

/// The reason why a frame was ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum IgnoredReason {
    /// The frame's number was seen before.
    SeenBefore,
}

/// Frames were ignored. Frames of one reason are recorded together, at most once a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct ConnectionIgnored {
    /// The reason.
    pub reason: IgnoredReason,
    /// The number of frames.
    pub frames: u64,
    /// The total size in bytes.
    pub bytes: u64,
}

impl Event for ConnectionIgnored {
    const KIND: &'static str = "connection_ignored";

    fn describe(&self) -> String {
        let frames = format!("{} ({} bytes)", count(self.frames, "frame"), self.bytes);
        match self.reason {
            IgnoredReason::SeenBefore => format!("{frames} ignored: their numbers were seen before"),
        }
    }
}

impl ConnectionIgnored {
    pub(super) fn new(reason: IgnoredReason, sum: EventCount) -> Self {
        Self { reason, frames: sum.count, bytes: sum.bytes }
    }
}

impl ConnectionChanged {
    /// Creates the event for a change at the runtime's time `now`, which is `wall` on the wall clock.
    pub(super) fn new(transition: Transition, now: Duration, wall: Timestamp) -> Self {
        let Transition { from, to, attempt, max, next_attempt_at, reason, error } = transition;
        let wait = next_attempt_at.map(|at| at.saturating_sub(now));
        let at = wait.and_then(|wait| wall.checked_add(SignedDuration::try_from(wait).ok()?).ok());
        Self {
            from,
            to,
            attempt,
            max,
            next_attempt_at: at.map(|at| format!("{at:.3}")),
            next_attempt_in_ms: wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            reason,
            code: error.as_ref().map(|error| error.reason().code()),
            error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_dial_is_no_warning() {
        use ConnectionState::{Connected, Connecting, Disconnected, Failed, Reconnecting};
        for (from, to, expected) in [
            (Disconnected, Connecting, Level::Info),
            (Connecting, Connected, Level::Info),
            (Connecting, Reconnecting, Level::Warn),
            (Failed, Connecting, Level::Warn),
            (Reconnecting, Failed, Level::Error),
        ] {
            let change = ConnectionChanged {
                from,
                to,
                attempt: 1,
                max: 5,
                next_attempt_at: None,
                next_attempt_in_ms: None,
                reason: StatusReason::Requested,
                code: None,
                error: None,
            };
            assert_eq!(change.level(), expected, "{from:?} to {to:?}");
        }
    }
}

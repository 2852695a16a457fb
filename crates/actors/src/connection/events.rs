//! What the journal says of the connection.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mainstay_runtime::journal::{Event, Level};
use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::frames::Gap;
use super::status::{ConnectionState, Reason, Transition};

/// The connection's state has changed, or its next attempt has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionChanged {
    /// The state before.
    pub from: ConnectionState,
    /// The state after.
    pub to: ConnectionState,
    /// The attempt under way or next.
    pub attempt: u32,
    /// How many may fail in a row.
    pub max: u32,
    /// When the next attempt begins: RFC 3339, in UTC.
    pub next_attempt_at: Option<String>,
    /// In how many milliseconds that is.
    pub next_attempt_in_ms: Option<u64>,
    /// Why.
    pub reason: Reason,
    /// What went wrong, where something did.
    pub error: Option<Fault>,
}

impl Event for ConnectionChanged {
    const KIND: &'static str = "connection_state";
    const LEVEL: Level = Level::Info;
}

impl Event for Gap {
    const KIND: &'static str = "connection_gap";
    const LEVEL: Level = Level::Warn;
}

impl ConnectionChanged {
    /// This change, told at the time `now` of the runtime, which is `wall` on the wall clock.
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
            error,
        }
    }
}

//! What is shown and told of a connection.

use std::time::Duration;

use super::Machine;
use super::phase::Phase;
use crate::connection::status::{ConnectionState, ConnectionStatus, Reason, Transition};

/// What a change of the status consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) state: ConnectionState,
    pub(super) attempt: u32,
    pub(super) next_attempt_at: Option<Duration>,
}

impl Machine {
    /// What a person asks about the connection.
    #[must_use]
    pub fn status(&self) -> ConnectionStatus {
        let Shown { state, attempt, next_attempt_at } = self.shown();
        ConnectionStatus {
            state,
            since: self.since,
            attempt,
            max: self.policy.max_retries,
            next_attempt_at,
            last_error: self.last_error.clone(),
            last_error_at: self.last_error_at,
            reason: self.reason,
        }
    }

    pub(super) fn shown(&self) -> Shown {
        let (state, attempt, next_attempt_at) = match self.phase {
            Phase::Disconnected { .. } => (ConnectionState::Disconnected, 0, None),
            Phase::Dialling { purpose, .. } => (purpose.state(), self.attempts, None),
            Phase::Connected { attempt, .. } => (ConnectionState::Connected, attempt, None),
            Phase::Waiting { until } => {
                (ConnectionState::Reconnecting, self.attempts.saturating_add(1), Some(until))
            }
            Phase::Failed { probe_at } => (ConnectionState::Failed, self.attempts, probe_at),
        };
        Shown { state, attempt, next_attempt_at }
    }

    pub(super) fn transition(&self, from: ConnectionState, to: Shown) -> Transition {
        let is_fault = matches!(self.reason, Reason::Fault(_) | Reason::RetriesExhausted);
        Transition {
            from,
            to: to.state,
            attempt: to.attempt,
            max: self.policy.max_retries,
            next_attempt_at: to.next_attempt_at,
            reason: self.reason,
            error: self.last_error.clone().filter(|_| is_fault),
        }
    }
}

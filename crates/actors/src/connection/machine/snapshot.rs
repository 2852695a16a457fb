//! The machine's status, for people and the journal.

use std::time::Duration;

use super::Machine;
use super::phase::{DialPurpose, MachinePhase};
use crate::connection::status::{ConnectionState, ConnectionStatus, StatusReason, Transition};

/// The fields whose change is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StatusSnapshot {
    pub(super) state: ConnectionState,
    pub(super) attempt: u32,
    pub(super) next_attempt_at: Option<Duration>,
}

impl Machine {
    /// Returns the connection's status.
    #[must_use]
    pub(crate) fn status(&self) -> ConnectionStatus {
        let StatusSnapshot { state, attempt, next_attempt_at } = self.snapshot();
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

    pub(super) fn snapshot(&self) -> StatusSnapshot {
        let next_attempt = self.attempts.saturating_add(1);
        let (state, attempt, next_attempt_at) = match self.phase {
            MachinePhase::Disabled => (ConnectionState::Disabled, 0, None),
            MachinePhase::Disconnected { .. } => (ConnectionState::Disconnected, 0, None),
            MachinePhase::Dialling { purpose: purpose @ DialPurpose::Early { .. }, .. } => {
                (purpose.state(), next_attempt, None)
            }
            MachinePhase::Dialling { purpose, .. } => (purpose.state(), self.attempts, None),
            MachinePhase::Connected { attempt, .. } => (ConnectionState::Connected, attempt, None),
            MachinePhase::Waiting { until } => (ConnectionState::Reconnecting, next_attempt, Some(until)),
            MachinePhase::Failed { probe_at } => (ConnectionState::Failed, self.attempts, probe_at),
        };
        StatusSnapshot { state, attempt, next_attempt_at }
    }

    pub(super) fn transition(&self, from: ConnectionState, to: StatusSnapshot) -> Transition {
        let is_error = matches!(self.reason, StatusReason::Failed(_) | StatusReason::RetriesExhausted);
        Transition {
            from,
            to: to.state,
            attempt: to.attempt,
            max: self.policy.max_retries,
            next_attempt_at: to.next_attempt_at,
            reason: self.reason,
            error: self.last_error.clone().filter(|_| is_error),
        }
    }
}

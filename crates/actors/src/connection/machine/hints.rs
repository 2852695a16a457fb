//! Decides what a hint changes. A hint says that a dial may succeed now: an answer over HTTP, a restart of the backend,
//! other credentials, the end of a standstill, another network.

use std::time::Duration;

use super::phase::{DialPurpose, MachinePhase};
use super::{Machine, MachineAction};
use crate::connection::status::StatusReason;

impl Machine {
    /// Ends a wait by one early dial, and restarts a connection that failed because the backend was unreachable, but
    /// not one that was refused.
    ///
    /// A delay that the backend asked for by `Retry-After` is kept. A backend whose WebSocket alone is broken answers
    /// over HTTP as well, so a hint is followed by a time in which others are
    /// ignored: the delay of the present attempt, and in `failed` one probe interval.
    pub(super) fn backend_seen(&mut self, now: Duration, jitter: f64) -> Vec<MachineAction> {
        if now < self.hints_after {
            return Vec::new();
        }
        match self.phase {
            MachinePhase::Waiting { until } if !self.is_asked_to_wait() => {
                self.hints_after = now.saturating_add(self.policy.delay.before(self.delays, jitter));
                self.dial(DialPurpose::Early { until }, StatusReason::BackendSeen, now)
            }
            MachinePhase::Failed { .. } if !self.is_refused() => {
                self.hints_after = now.saturating_add(self.policy.probe_interval());
                self.restart_waiting(StatusReason::BackendSeen, now)
            }
            _ => Vec::new(),
        }
    }

    /// Restarts the attempts also after a refusal, which was that of another program or of other credentials. An open
    /// socket is verified.
    pub(super) fn renewed(&mut self, reason: StatusReason, now: Duration) -> Vec<MachineAction> {
        match self.phase {
            MachinePhase::Failed { .. } => {
                self.reset_attempts();
                self.dial(DialPurpose::First, reason, now)
            }
            MachinePhase::Connected { .. } => self.verify(now),
            _ => self.restart_waiting(reason, now),
        }
    }

    /// Ends a wait by a new first attempt: earlier failures say nothing any more, and this dial must not be the last,
    /// since a network often needs a moment. A refused connection is only probed, and only if it is probed at all.
    pub(super) fn restart_waiting(&mut self, reason: StatusReason, now: Duration) -> Vec<MachineAction> {
        match self.phase {
            MachinePhase::Waiting { .. } => {
                self.reset_attempts();
                self.dial(DialPurpose::Retry, reason, now)
            }
            MachinePhase::Failed { .. } if !self.is_refused() => {
                self.reset_attempts();
                self.dial(DialPurpose::First, reason, now)
            }
            MachinePhase::Failed { probe_at: Some(_) } => self.dial(DialPurpose::Probe, reason, now),
            _ => Vec::new(),
        }
    }

    /// Returns whether the peer itself asked for the present delay.
    fn is_asked_to_wait(&self) -> bool {
        self.last_error.as_ref().is_some_and(|error| error.retry_after.is_some())
    }

    fn is_refused(&self) -> bool {
        self.last_error.as_ref().is_some_and(|error| !error.is_retryable())
    }

    pub(super) fn system_resumed(&mut self, now: Duration) -> Vec<MachineAction> {
        match self.phase {
            MachinePhase::Connected { .. } => self.verify(now),
            MachinePhase::Dialling { purpose, .. } => {
                // The dial in flight gets its full time, and counts as the first attempt.
                let deadline = now.saturating_add(self.policy.connect_timeout);
                self.phase = MachinePhase::Dialling { purpose, deadline };
                if purpose != DialPurpose::Probe && self.attempts > 1 {
                    self.reason = StatusReason::SystemResumed;
                    self.attempts = 1;
                }
                self.delays = 0;
                Vec::new()
            }
            _ => self.restart_waiting(StatusReason::SystemResumed, now),
        }
    }
}

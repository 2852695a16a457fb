//! Brings an agent back after a failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::Mutex;

use super::call_quarantine::{AgentCall, CallRecords};
use super::driver::{Driver, DriverError};
use super::health::{Observation, ReportedHealth, is_break};
use crate::json::Json;

/// The number of restores of a state over which the agent ends, before the state is quarantined.
const STATE_RESTORES_MAX: u32 = 3;

/// The recovery that an agent still needs. It outlives the incarnations of the actor, so that an interrupted attempt
/// continues.
#[derive(Debug, Default)]
pub struct PendingRecovery {
    is_restart_pending: AtomicBool,
    is_state_pending: AtomicBool,
    /// The number of restores since the agent was last seen healthy with its state.
    unconfirmed_restores: AtomicU32,
    /// The records of the calls of an incarnation that failed, for the next one.
    calls: Mutex<CallRecords>,
}

impl PendingRecovery {
    /// Requests a restart, even of a healthy agent.
    pub fn request_restart(&self) {
        self.is_restart_pending.store(true, Ordering::SeqCst);
    }

    /// Ends the pauses and quarantines of the agent's calls, since a person wants a restart now. The next incarnation
    /// makes its calls at once.
    pub fn end_pauses(&self) {
        self.hand_over(CallRecords::default());
    }

    /// Keeps the records of the calls of an incarnation that fails.
    pub(super) fn hand_over(&self, calls: CallRecords) {
        *self.calls.lock() = calls;
    }

    /// Takes the records of the calls of an incarnation that has failed.
    pub(super) fn take_calls(&self) -> CallRecords {
        std::mem::take(&mut self.calls.lock())
    }

    /// Notes that the backend died over a call. The agent in it ended as well, so the next recovery restarts it only if
    /// a check does not find it healthy. A write over which the backend died counts as a restore, and the last one if
    /// `is_quarantined`.
    pub(super) fn note_death(&self, call: AgentCall, is_quarantined: bool) {
        match call {
            AgentCall::HealthCheck | AgentCall::Restart => {
                self.is_restart_pending.store(false, Ordering::SeqCst)
            }
            AgentCall::StateWrite => {
                let restores = if is_quarantined { STATE_RESTORES_MAX } else { 1 };
                self.unconfirmed_restores.fetch_add(restores, Ordering::SeqCst);
            }
            AgentCall::StateRead => {}
        }
    }

    /// Requests a restore, since the agent may have lost its state.
    pub(super) fn request_state_restore(&self) {
        self.is_state_pending.store(true, Ordering::SeqCst);
    }

    /// Notes that the agent is healthy with its restored state.
    pub(super) fn confirm_state(&self) {
        self.unconfirmed_restores.store(0, Ordering::SeqCst);
    }

    /// Returns whether the agent has ended after each restore.
    pub(super) fn is_state_bad(&self) -> bool {
        self.unconfirmed_restores.load(Ordering::SeqCst) >= STATE_RESTORES_MAX
    }

    pub(super) fn is_pending(&self) -> bool {
        self.should_restart() || self.should_restore_state()
    }

    fn should_restart(&self) -> bool {
        self.is_restart_pending.load(Ordering::SeqCst)
    }

    fn should_restore_state(&self) -> bool {
        self.is_state_pending.load(Ordering::SeqCst)
    }
}

/// The result of a recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovery {
    /// The recovery is complete.
    Done,
    /// The recovery failed; the rest is still pending.
    Failed {
        /// The call that failed.
        call: AgentCall,
        /// The error.
        error: DriverError,
    },
}

impl Recovery {
    /// Returns whether the connection broke during a call.
    pub(super) fn is_break(&self) -> bool {
        matches!(self, Self::Failed { error: DriverError::Failed(why), .. } if is_break(why))
    }
}

/// Checks the agent unless a restart is pending; restarts it if it is not healthy; and restores the saved state. The
/// recovery stays pending until all of that has succeeded.
pub(super) async fn recover(
    driver: &dyn Driver,
    pending: &PendingRecovery,
    saved: Option<Arc<str>>,
) -> Recovery {
    match run_recovery(driver, pending, saved).await {
        Ok(()) => Recovery::Done,
        Err((call, error)) => Recovery::Failed { call, error },
    }
}

async fn run_recovery(
    driver: &dyn Driver,
    pending: &PendingRecovery,
    saved: Option<Arc<str>>,
) -> Result<(), (AgentCall, DriverError)> {
    if !pending.should_restart() {
        match driver.check().await {
            // The actor had crashed, or something else restarted the agent.
            Observation::Answered {
                reported: ReportedHealth::Healthy | ReportedHealth::Degraded, ..
            } => {}
            // The program runs, and only the backend that is asked about it is away.
            Observation::Unreachable { .. } if driver.owns_agent() => {}
            Observation::Unreachable { why } => {
                return Err((AgentCall::HealthCheck, DriverError::Unreachable(why)));
            }
            // It says nothing about the agent. What follows depends on the token, or on the backend.
            Observation::Missed { why } if why.is_token_renewed() || is_break(&why) => {
                return Err((AgentCall::HealthCheck, DriverError::Failed(why)));
            }
            Observation::Answered { .. }
            | Observation::Missed { .. }
            | Observation::Suspended { .. }
            | Observation::Exited { .. } => {
                pending.request_restart();
            }
        }
    }
    if pending.should_restart() {
        // From here on the agent may lose its state at any moment, whatever the restart returns.
        pending.request_state_restore();
        driver.restart().await.map_err(|error| (AgentCall::Restart, error))?;
        pending.is_restart_pending.store(false, Ordering::SeqCst);
    }
    if pending.should_restore_state() {
        if let Some(saved) = saved {
            let write = async {
                let state = Json::parse(&*saved).map_err(|error| DriverError::failed(&error.to_string()))?;
                driver.write_state(state).await
            };
            write.await.map_err(|error| (AgentCall::StateWrite, error))?;
            pending.unconfirmed_restores.fetch_add(1, Ordering::SeqCst);
        }
        pending.is_state_pending.store(false, Ordering::SeqCst);
    }
    Ok(())
}

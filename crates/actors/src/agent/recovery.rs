//! Brings an agent back after a failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::driver::{Driver, DriverError};
use super::health::{Observation, ReportedHealth};
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
}

impl PendingRecovery {
    /// Requests a restart, even of a healthy agent.
    pub fn request_restart(&self) {
        self.is_restart_pending.store(true, Ordering::SeqCst);
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
    Failed(DriverError),
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
        Err(error) => Recovery::Failed(error),
    }
}

async fn run_recovery(
    driver: &dyn Driver,
    pending: &PendingRecovery,
    saved: Option<Arc<str>>,
) -> Result<(), DriverError> {
    if !pending.should_restart() {
        match driver.check().await {
            // The actor had crashed, or something else restarted the agent.
            Observation::Answered {
                reported: ReportedHealth::Healthy | ReportedHealth::Degraded, ..
            } => {}
            Observation::Unreachable { why } => return Err(DriverError::Unreachable(why)),
            // It says nothing about the agent, and another recovery follows at once.
            Observation::Missed { why } if why.is_token_renewed() => return Err(DriverError::Failed(why)),
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
        driver.restart().await?;
        pending.is_restart_pending.store(false, Ordering::SeqCst);
    }
    if pending.should_restore_state() {
        if let Some(saved) = saved {
            let state = Json::parse(&*saved).map_err(|error| DriverError::failed(&error.to_string()))?;
            driver.write_state(state).await?;
            pending.unconfirmed_restores.fetch_add(1, Ordering::SeqCst);
        }
        pending.is_state_pending.store(false, Ordering::SeqCst);
    }
    Ok(())
}

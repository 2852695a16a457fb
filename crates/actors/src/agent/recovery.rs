//! How an agent is brought back, and what it is still owed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::driver::{Driver, DriverError};
use super::health::{Observation, ReportedHealth};

/// How often an agent is given a state that it ends over, before that state is set aside.
const STATE_RESTORES_MAX: u32 = 3;

/// What an agent still has to get. It outlives every incarnation of the agent's actor, so that an attempt that broke
/// off in the middle is taken up where it was.
#[derive(Debug, Default)]
pub struct PendingRecovery {
    is_restart_pending: AtomicBool,
    is_state_pending: AtomicBool,
    /// How often it was given its state and has not been seen to live with it since.
    unconfirmed_restores: AtomicU32,
}

impl PendingRecovery {
    /// Somebody wants the agent restarted, well or not.
    pub fn request_restart(&self) {
        self.is_restart_pending.store(true, Ordering::SeqCst);
    }

    /// The agent may have lost its state.
    pub(super) fn request_state_restore(&self) {
        self.is_state_pending.store(true, Ordering::SeqCst);
    }

    /// The agent lives with the state that it was given.
    pub(super) fn confirm_state(&self) {
        self.unconfirmed_restores.store(0, Ordering::SeqCst);
    }

    /// Whether the agent has ended each time that it was given its state.
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

/// How an attempt to bring an agent back ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovery {
    /// The agent has everything that it was owed.
    Done,
    /// It has not; the rest is still owed.
    Failed(DriverError),
}

/// Looks how the agent is, unless its restart is owed anyway; restarts it if it is not well; and gives it `kept`, the
/// state that it had, back. Nothing is owed any more only when that has been done.
pub(super) async fn recover(
    driver: &dyn Driver,
    debts: &PendingRecovery,
    kept: Option<Arc<str>>,
) -> Recovery {
    match run_recovery(driver, debts, kept).await {
        Ok(()) => Recovery::Done,
        Err(error) => Recovery::Failed(error),
    }
}

async fn run_recovery(
    driver: &dyn Driver,
    debts: &PendingRecovery,
    kept: Option<Arc<str>>,
) -> Result<(), DriverError> {
    if !debts.should_restart() {
        match driver.check().await {
            // It was the actor that had crashed, or somebody was faster.
            Observation::Answered {
                reported: ReportedHealth::Healthy | ReportedHealth::Degraded, ..
            } => {}
            Observation::Unreachable { why } => return Err(DriverError::Unreachable(why)),
            Observation::Answered { .. } | Observation::Missed { .. } | Observation::Exited { .. } => {
                debts.request_restart();
            }
        }
    }
    if debts.should_restart() {
        // From here on the state may be lost at any moment, whatever becomes of the answer.
        debts.request_state_restore();
        driver.restart().await?;
        debts.is_restart_pending.store(false, Ordering::SeqCst);
    }
    if debts.should_restore_state() {
        if let Some(kept) = kept {
            let state =
                serde_json::from_str(&kept).map_err(|error| DriverError::failed(&error.to_string()))?;
            driver.write_state(state).await?;
            debts.unconfirmed_restores.fetch_add(1, Ordering::SeqCst);
        }
        debts.is_state_pending.store(false, Ordering::SeqCst);
    }
    Ok(())
}

//! How an agent is brought back, and what it is still owed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::driver::{Driver, DriverError};
use super::health::{Observation, Reported};

/// How often an agent is given a state that it ends over, before that state is set aside.
const STATE_ATTEMPTS_MAX: u32 = 3;

/// What an agent still has to get. It outlives every incarnation of the agent's actor, so that an attempt that broke
/// off in the middle is taken up where it was.
#[derive(Debug, Default)]
pub struct AgentDebts {
    restart: AtomicBool,
    state: AtomicBool,
    /// How often it was given its state and has not been seen to live with it since.
    states_in_doubt: AtomicU32,
}

impl AgentDebts {
    /// Somebody wants the agent restarted, well or not.
    pub fn owe_restart(&self) {
        self.restart.store(true, Ordering::SeqCst);
    }

    /// The agent may have lost its state.
    pub(super) fn owe_state(&self) {
        self.state.store(true, Ordering::SeqCst);
    }

    /// The agent lives with the state that it was given.
    pub(super) fn note_state_is_good(&self) {
        self.states_in_doubt.store(0, Ordering::SeqCst);
    }

    /// Whether the agent has ended each time that it was given its state.
    pub(super) fn state_is_bad(&self) -> bool {
        self.states_in_doubt.load(Ordering::SeqCst) >= STATE_ATTEMPTS_MAX
    }

    pub(super) fn any(&self) -> bool {
        self.owes_restart() || self.owes_state()
    }

    fn owes_restart(&self) -> bool {
        self.restart.load(Ordering::SeqCst)
    }

    fn owes_state(&self) -> bool {
        self.state.load(Ordering::SeqCst)
    }
}

/// How an attempt to bring an agent back ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revival {
    /// The agent has everything that it was owed.
    Done,
    /// It has not; the rest is still owed.
    Failed(DriverError),
}

/// Looks how the agent is, unless its restart is owed anyway; restarts it if it is not well; and gives it `kept`, the
/// state that it had, back. Nothing is owed any more only when that has been done.
pub(super) async fn revive(driver: &dyn Driver, debts: &AgentDebts, kept: Option<Arc<str>>) -> Revival {
    match pay(driver, debts, kept).await {
        Ok(()) => Revival::Done,
        Err(error) => Revival::Failed(error),
    }
}

async fn pay(driver: &dyn Driver, debts: &AgentDebts, kept: Option<Arc<str>>) -> Result<(), DriverError> {
    if !debts.owes_restart() {
        match driver.check().await {
            // It was the actor that had crashed, or somebody was faster.
            Observation::Answered { reported: Reported::Healthy | Reported::Degraded, .. } => {}
            Observation::Unreachable { why } => return Err(DriverError::Unreachable(why)),
            Observation::Answered { .. } | Observation::Missed { .. } | Observation::Gone { .. } => {
                debts.owe_restart();
            }
        }
    }
    if debts.owes_restart() {
        // From here on the state may be lost at any moment, whatever becomes of the answer.
        debts.owe_state();
        driver.restart().await?;
        debts.restart.store(false, Ordering::SeqCst);
    }
    if debts.owes_state() {
        if let Some(kept) = kept {
            let state =
                serde_json::from_str(&kept).map_err(|error| DriverError::failed(&error.to_string()))?;
            driver.write_state(state).await?;
            debts.states_in_doubt.fetch_add(1, Ordering::SeqCst);
        }
        debts.state.store(false, Ordering::SeqCst);
    }
    Ok(())
}

//! What is asked of a roster by hand.

use std::sync::Arc;
use std::time::Duration;

use super::action::{ChildId, CommandRejection, SupervisorAction};
use super::child::{AfterStop, ChildPhase};
use super::{Lifecycle, Machine};
use crate::policy::ChildPolicy;

impl Machine {
    /// Takes in a child and starts it. If it cannot be started, nothing of it is kept.
    pub(crate) fn add(
        &mut self,
        policy: Arc<ChildPolicy>,
        now: Duration,
    ) -> Result<(ChildId, Vec<SupervisorAction>), CommandRejection> {
        self.check_not_stopping()?;
        let key = self.insert(policy, true);
        Ok((key, self.start_in_turn(key, now)))
    }

    /// Whether the child has an incarnation that is up or coming up.
    pub(crate) fn is_started(&self, key: ChildId) -> bool {
        matches!(self.phase(key), Some(ChildPhase::Starting | ChildPhase::Running))
    }

    /// Stops a child; a restart that is pending will not happen. Idempotent.
    pub(crate) fn stop(&mut self, key: ChildId, now: Duration) -> Vec<SupervisorAction> {
        self.stop_child(key, AfterStop::StayStopped, now)
    }

    /// Starts a child that is stopped or has failed.
    pub(crate) fn start(
        &mut self,
        key: ChildId,
        now: Duration,
    ) -> Result<Vec<SupervisorAction>, CommandRejection> {
        self.check_not_stopping()?;
        self.check_not_running(key)?;
        Ok(self.start_in_turn(key, now))
    }

    /// Restarts a child by hand: now, whatever phase it is in, and without touching its budget.
    pub(crate) fn restart(
        &mut self,
        key: ChildId,
        now: Duration,
    ) -> Result<Vec<SupervisorAction>, CommandRejection> {
        self.check_not_stopping()?;
        Ok(match self.phase(key) {
            Some(ChildPhase::Stopped | ChildPhase::Failed) => self.start_in_turn(key, now),
            Some(ChildPhase::Restarting { .. }) => self.launch(key, now),
            Some(ChildPhase::Waiting) => self.skip_delay(now),
            Some(ChildPhase::Stopping { then: AfterStop::Deregister, .. }) => {
                return Err(CommandRejection::Restarting);
            }
            Some(ChildPhase::Stopping { then: AfterStop::JoinGroupRestart, .. }) => Vec::new(),
            _ => self.stop_child(key, AfterStop::Start, now),
        })
    }

    /// Gives a child its whole budget back, and starts it if it had failed.
    pub(crate) fn reset(
        &mut self,
        key: ChildId,
        now: Duration,
    ) -> Result<Vec<SupervisorAction>, CommandRejection> {
        self.check_not_stopping()?;
        let Some(member) = self.children.get_mut(&key) else { return Ok(Vec::new()) };
        member.history.reset();
        Ok(if member.phase == ChildPhase::Failed { self.start_in_turn(key, now) } else { Vec::new() })
    }

    /// Drops a child that is at rest.
    pub(crate) fn delete(
        &mut self,
        key: ChildId,
        now: Duration,
    ) -> Result<Vec<SupervisorAction>, CommandRejection> {
        self.check_not_running(key)?;
        Ok(self.stop_child(key, AfterStop::Deregister, now))
    }

    /// Stops a child and drops it.
    pub(crate) fn remove(&mut self, key: ChildId, now: Duration) -> Vec<SupervisorAction> {
        self.stop_child(key, AfterStop::Deregister, now)
    }

    fn check_not_stopping(&self) -> Result<(), CommandRejection> {
        match self.lifecycle {
            Lifecycle::Starting | Lifecycle::Running => Ok(()),
            Lifecycle::Stopping { .. } | Lifecycle::Stopped => Err(CommandRejection::Stopping),
        }
    }

    fn check_not_running(&self, key: ChildId) -> Result<(), CommandRejection> {
        match self.phase(key) {
            Some(ChildPhase::Starting | ChildPhase::Running) => Err(CommandRejection::Running),
            Some(ChildPhase::Stopped | ChildPhase::Failed) | None => Ok(()),
            Some(_) => Err(CommandRejection::Restarting),
        }
    }
}

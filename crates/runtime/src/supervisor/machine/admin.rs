//! The commands to the machine.

use std::sync::Arc;
use std::time::Duration;

use super::action::{ChildId, CommandRejection, SupervisorAction};
use super::child::{AfterStop, ChildPhase};
use super::{Lifecycle, Machine};
use crate::policy::ChildPolicy;

impl Machine {
    /// Adds a child and starts it. If it cannot be started, nothing of it is kept.
    pub(crate) fn add(
        &mut self,
        policy: Arc<ChildPolicy>,
        now: Duration,
    ) -> Result<(ChildId, Vec<SupervisorAction>), CommandRejection> {
        self.check_not_stopping()?;
        let id = self.insert(policy, true);
        Ok((id, self.start_in_turn(id, now)))
    }

    /// Returns whether the child has an incarnation that runs or starts.
    pub(crate) fn is_started(&self, id: ChildId) -> bool {
        matches!(self.phase(id), Some(ChildPhase::Starting | ChildPhase::Running))
    }

    /// Stops a child and cancels a pending restart. Idempotent.
    pub(crate) fn stop(&mut self, id: ChildId, now: Duration) -> Vec<SupervisorAction> {
        self.stop_child(id, AfterStop::StayStopped, now)
    }

    /// Starts a child that is stopped or has failed.
    pub(crate) fn start(
        &mut self,
        id: ChildId,
        now: Duration,
    ) -> Result<Vec<SupervisorAction>, CommandRejection> {
        self.check_not_stopping()?;
        self.check_not_running(id)?;
        Ok(self.start_in_turn(id, now))
    }

    /// Restarts a child now, in any phase, without spending its budget.
    pub(crate) fn restart(
        &mut self,
        id: ChildId,
        now: Duration,
    ) -> Result<Vec<SupervisorAction>, CommandRejection> {
        self.check_not_stopping()?;
        Ok(match self.phase(id) {
            Some(ChildPhase::Stopped | ChildPhase::Failed) => self.start_in_turn(id, now),
            Some(ChildPhase::Restarting { .. }) => self.launch(id, now),
            Some(ChildPhase::Waiting) => self.skip_delay(now),
            Some(ChildPhase::Stopping { then: AfterStop::Deregister, .. }) => {
                return Err(CommandRejection::Restarting);
            }
            Some(ChildPhase::Stopping { then: AfterStop::JoinGroupRestart, .. }) => Vec::new(),
            _ => self.stop_child(id, AfterStop::Start, now),
        })
    }

    /// Restores a child's full budget, and starts it if it had failed.
    pub(crate) fn reset(
        &mut self,
        id: ChildId,
        now: Duration,
    ) -> Result<Vec<SupervisorAction>, CommandRejection> {
        self.check_not_stopping()?;
        let Some(child) = self.children.get_mut(&id) else { return Ok(Vec::new()) };
        child.history.reset();
        Ok(if child.phase == ChildPhase::Failed { self.start_in_turn(id, now) } else { Vec::new() })
    }

    /// Deletes a child that is not running.
    pub(crate) fn delete(
        &mut self,
        id: ChildId,
        now: Duration,
    ) -> Result<Vec<SupervisorAction>, CommandRejection> {
        self.check_not_running(id)?;
        Ok(self.stop_child(id, AfterStop::Deregister, now))
    }

    /// Stops a child and deletes it.
    pub(crate) fn remove(&mut self, id: ChildId, now: Duration) -> Vec<SupervisorAction> {
        self.stop_child(id, AfterStop::Deregister, now)
    }

    fn check_not_stopping(&self) -> Result<(), CommandRejection> {
        match self.lifecycle {
            Lifecycle::Starting | Lifecycle::Running => Ok(()),
            Lifecycle::Stopping { .. } | Lifecycle::Stopped => Err(CommandRejection::Stopping),
        }
    }

    fn check_not_running(&self, id: ChildId) -> Result<(), CommandRejection> {
        match self.phase(id) {
            Some(ChildPhase::Starting | ChildPhase::Running) => Err(CommandRejection::Running),
            Some(ChildPhase::Stopped | ChildPhase::Failed) | None => Ok(()),
            Some(_) => Err(CommandRejection::Restarting),
        }
    }
}

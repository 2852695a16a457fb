//! What is asked of a roster by hand.

use std::sync::Arc;
use std::time::Duration;

use super::action::{Action, Key, Objection};
use super::member::{Phase, Then};
use super::{Course, Roster};
use crate::policy::ChildPolicy;

impl Roster {
    /// Takes in a child and starts it. If it cannot be started, nothing of it is kept.
    pub(crate) fn add(
        &mut self,
        policy: Arc<ChildPolicy>,
        now: Duration,
    ) -> Result<(Key, Vec<Action>), Objection> {
        self.check_course()?;
        let key = self.insert(policy, true);
        Ok((key, self.bring(key, now)))
    }

    /// Whether the child has an incarnation that is up or coming up.
    pub(crate) fn is_up(&self, key: Key) -> bool {
        matches!(self.phase(key), Some(Phase::Starting | Phase::Running))
    }

    /// Stops a child; a restart that is pending will not happen. Idempotent.
    pub(crate) fn stop(&mut self, key: Key, now: Duration) -> Vec<Action> {
        self.end(key, Then::Rest, now)
    }

    /// Starts a child that is stopped or has failed.
    pub(crate) fn start(&mut self, key: Key, now: Duration) -> Result<Vec<Action>, Objection> {
        self.check_course()?;
        self.check_at_rest(key)?;
        Ok(self.bring(key, now))
    }

    /// Restarts a child by hand: now, whatever phase it is in, and without touching its budget.
    pub(crate) fn restart(&mut self, key: Key, now: Duration) -> Result<Vec<Action>, Objection> {
        self.check_course()?;
        Ok(match self.phase(key) {
            Some(Phase::Stopped | Phase::Failed) => self.bring(key, now),
            Some(Phase::Restarting { .. }) => self.launch(key, now),
            Some(Phase::Waiting) => self.hurry(now),
            Some(Phase::Stopping { then: Then::Forget, .. }) => return Err(Objection::Restarting),
            Some(Phase::Stopping { then: Then::Wait, .. }) => Vec::new(),
            _ => self.end(key, Then::Launch, now),
        })
    }

    /// Gives a child its whole budget back, and starts it if it had failed.
    pub(crate) fn reset(&mut self, key: Key, now: Duration) -> Result<Vec<Action>, Objection> {
        self.check_course()?;
        let Some(member) = self.members.get_mut(&key) else { return Ok(Vec::new()) };
        member.history.reset();
        Ok(if member.phase == Phase::Failed { self.bring(key, now) } else { Vec::new() })
    }

    /// Drops a child that is at rest.
    pub(crate) fn delete(&mut self, key: Key, now: Duration) -> Result<Vec<Action>, Objection> {
        self.check_at_rest(key)?;
        Ok(self.end(key, Then::Forget, now))
    }

    /// Stops a child and drops it.
    pub(crate) fn remove(&mut self, key: Key, now: Duration) -> Vec<Action> {
        self.end(key, Then::Forget, now)
    }

    fn check_course(&self) -> Result<(), Objection> {
        match self.course {
            Course::ComingUp | Course::Up => Ok(()),
            Course::GoingDown { .. } | Course::Finished => Err(Objection::Stopping),
        }
    }

    fn check_at_rest(&self, key: Key) -> Result<(), Objection> {
        match self.phase(key) {
            Some(Phase::Starting | Phase::Running) => Err(Objection::Running),
            Some(Phase::Stopped | Phase::Failed) | None => Ok(()),
            Some(_) => Err(Objection::Restarting),
        }
    }
}

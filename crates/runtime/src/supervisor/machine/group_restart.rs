//! Group restarts: children that start in order, all of them when the supervisor starts, or a group that restarts.
//!
//! At most one group restart is under way. First the affected children stop, one after the other in reverse order.
//! Then the delay passes. Then each waiting child starts when the one before it is ready. A child that fails
//! meanwhile is decided about as always, and the group restart continues from there.

use std::time::Duration;

use super::action::{ChildId, ChildOutcome, SupervisorAction};
use super::child::{AfterStop, ChildPhase, StopDeadline};
use super::{Lifecycle, Machine};
use crate::policy::{Decision, RestartScope, RestartType};

/// A group restart that is under way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct GroupRestart {
    /// The first affected child; all children after it are part of the group.
    from: ChildId,
    stage: RestartStage,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum RestartStage {
    /// The children that still run are being stopped; the starts are due at this time.
    Stopping {
        due: Duration,
    },
    /// No child runs; the starts are due at this time.
    Delaying {
        due: Duration,
    },
    Starting,
}

impl GroupRestart {
    pub(super) fn all() -> Self {
        Self { from: 0, stage: RestartStage::Starting }
    }

    /// Returns the time at which the group restart continues.
    pub(super) fn due(self) -> Option<Duration> {
        match self.stage {
            RestartStage::Delaying { due } => Some(due),
            RestartStage::Stopping { .. } | RestartStage::Starting => None,
        }
    }

    /// Returns the time at which the starts are or were due.
    fn starts_at(self) -> Duration {
        match self.stage {
            RestartStage::Stopping { due } | RestartStage::Delaying { due } => due,
            RestartStage::Starting => Duration::ZERO,
        }
    }
}

impl Machine {
    /// Returns the children that a decision about `id` affects, in order.
    pub(super) fn affected_children(&self, id: ChildId, decision: Decision) -> Vec<ChildId> {
        let from = match decision {
            Decision::Restart { scope: RestartScope::All, .. } => 0,
            Decision::Restart { scope: RestartScope::Rest, .. } => id,
            _ => return vec![id],
        };
        let returns = |other: ChildId| {
            other == id
                || self.children.get(&other).is_some_and(|child| {
                    child.is_active() && (child.policy.restart != RestartType::Temporary || !child.is_live())
                })
        };
        self.children.range(from..).map(|(other, _)| *other).filter(|other| returns(*other)).collect()
    }

    /// Restarts `trigger`, which has exited, together with all other children from `from` on.
    pub(super) fn restart_group(
        &mut self,
        trigger: ChildId,
        from: ChildId,
        due: Duration,
        now: Duration,
    ) -> Vec<SupervisorAction> {
        // A pending group restart becomes part of this one, and no recorded delay gets shorter.
        let pending = self.group_restart.map_or(Duration::ZERO, GroupRestart::starts_at);
        let due = due.max(pending);
        self.group_restart = Some(GroupRestart { from, stage: RestartStage::Stopping { due } });
        self.set_phase(trigger, ChildPhase::Waiting);
        let mut actions =
            vec![SupervisorAction::ResolveWaiters { id: trigger, outcome: ChildOutcome::Restarting(due) }];
        let others: Vec<ChildId> = self.children.range(from..).map(|(id, _)| *id).collect();
        for id in others {
            self.join_group_restart(id);
        }
        actions.extend(self.advance(now));
        actions
    }

    /// Moves a child whose next incarnation was already planned into the group restart.
    fn join_group_restart(&mut self, id: ChildId) {
        let phase = match self.phase(id) {
            Some(ChildPhase::Restarting { .. }) => ChildPhase::Waiting,
            Some(ChildPhase::Stopping { then: AfterStop::Start, deadline }) => {
                ChildPhase::Stopping { then: AfterStop::JoinGroupRestart, deadline }
            }
            Some(ChildPhase::Killing { abandon_at }) => {
                let deadline = abandon_at.map_or(StopDeadline::Never, StopDeadline::AbandonAt);
                ChildPhase::Stopping { then: self.after_group_stop(id), deadline }
            }
            _ => return,
        };
        self.set_phase(id, phase);
    }

    /// Lets a child that was stopped for its group's restart wait for its turn.
    pub(super) fn await_group_restart(&mut self, id: ChildId) -> Vec<SupervisorAction> {
        self.set_phase(id, ChildPhase::Waiting);
        let due = self.group_restart.map_or(Duration::ZERO, GroupRestart::starts_at);
        vec![SupervisorAction::ResolveWaiters { id, outcome: ChildOutcome::Postponed(due) }]
    }

    /// Starts a child: at once, or in its turn if it is part of a group restart.
    pub(super) fn start_in_turn(&mut self, id: ChildId, now: Duration) -> Vec<SupervisorAction> {
        if self.group_restart.is_none_or(|group_restart| id < group_restart.from) {
            return self.launch(id, now);
        }
        let mut actions = self.await_group_restart(id);
        actions.extend(self.advance(now));
        actions
    }

    /// Ends the delay of a group restart.
    pub(super) fn skip_delay(&mut self, now: Duration) -> Vec<SupervisorAction> {
        if let Some(GroupRestart {
            stage: RestartStage::Delaying { due } | RestartStage::Stopping { due },
            ..
        }) = &mut self.group_restart
        {
            *due = now.min(*due);
        }
        self.advance(now)
    }

    /// Takes the next step of a stop or of a group restart.
    pub(super) fn advance(&mut self, now: Duration) -> Vec<SupervisorAction> {
        if let Lifecycle::Stopping { reason } = self.lifecycle {
            return self.stop_next(reason, now);
        }
        let Some(group_restart) = self.group_restart else { return Vec::new() };
        match group_restart.stage {
            RestartStage::Stopping { due } => {
                if let Some(id) = self.last_running(group_restart.from) {
                    return self.stop_for_group_restart(id, now);
                }
                if self.index.live.range(group_restart.from..).next().is_some() {
                    return Vec::new();
                }
                self.set_stage(RestartStage::Delaying { due }, now)
            }
            RestartStage::Delaying { due } if due > now => Vec::new(),
            RestartStage::Delaying { .. } => self.set_stage(RestartStage::Starting, now),
            RestartStage::Starting => self.start_next(group_restart, now),
        }
    }

    fn set_stage(&mut self, stage: RestartStage, now: Duration) -> Vec<SupervisorAction> {
        if let Some(group_restart) = &mut self.group_restart {
            group_restart.stage = stage;
        }
        self.advance(now)
    }

    fn stop_for_group_restart(&mut self, id: ChildId, now: Duration) -> Vec<SupervisorAction> {
        self.stop_child(id, self.after_group_stop(id), now)
    }

    fn after_group_stop(&self, id: ChildId) -> AfterStop {
        let restart = self.children.get(&id).map(|child| child.policy.restart);
        if restart == Some(RestartType::Temporary) {
            AfterStop::Deregister
        } else {
            AfterStop::JoinGroupRestart
        }
    }

    /// Returns the next step for a child that ended before the group restart had stopped it: it counts as stopped.
    pub(super) fn after_pending_group_stop(&self, id: ChildId) -> Option<AfterStop> {
        let group_restart = self.group_restart.filter(|group_restart| id >= group_restart.from)?;
        matches!(group_restart.stage, RestartStage::Stopping { .. }).then(|| self.after_group_stop(id))
    }

    fn start_next(&mut self, group_restart: GroupRestart, now: Duration) -> Vec<SupervisorAction> {
        if self.index.starting.range(group_restart.from..).next().is_some() {
            return Vec::new();
        }
        // A child before this group may wait as well, from a group restart that this one replaced.
        if let Some(&id) = self.index.waiting.first() {
            self.group_restart = Some(GroupRestart { from: group_restart.from.min(id), ..group_restart });
            return self.launch(id, now);
        }
        self.group_restart = None;
        if self.lifecycle != Lifecycle::Starting {
            return Vec::new();
        }
        self.lifecycle = Lifecycle::Running;
        vec![SupervisorAction::Ready]
    }
}

//! Rounds: children that start in order, all of them when the supervisor comes up, a group when it is restarted.
//!
//! One round is under way at a time. What is to be restarted is stopped first, one child after the other in the
//! reverse of their order; then the delay passes; then each child that waits starts when the one before it is ready.
//! A child that fails meanwhile is decided about like any other, and the round goes on from there.

use std::time::Duration;

use super::action::{ChildId, ChildOutcome, SupervisorAction};
use super::child::{AfterStop, ChildPhase, StopDeadline};
use super::{Lifecycle, Machine};
use crate::policy::{Decision, RestartScope, RestartType};

/// Starts in order that are under way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct GroupRestart {
    /// The first child that it concerns; all that come after it are part of it.
    from: ChildId,
    stage: RestartStage,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum RestartStage {
    /// Those that still run are being stopped; the starts are due at this time.
    Stopping {
        due: Duration,
    },
    /// Nothing runs; the starts are due at this time.
    Delaying {
        due: Duration,
    },
    Starting,
}

impl GroupRestart {
    pub(super) fn all() -> Self {
        Self { from: 0, stage: RestartStage::Starting }
    }

    /// When it goes on.
    pub(super) fn due(self) -> Option<Duration> {
        match self.stage {
            RestartStage::Delaying { due } => Some(due),
            RestartStage::Stopping { .. } | RestartStage::Starting => None,
        }
    }

    /// When its starts are due, or were.
    fn starts_at(self) -> Duration {
        match self.stage {
            RestartStage::Stopping { due } | RestartStage::Delaying { due } => due,
            RestartStage::Starting => Duration::ZERO,
        }
    }
}

impl Machine {
    /// Whom a decision about `key` concerns, in order.
    pub(super) fn affected_children(&self, key: ChildId, decision: Decision) -> Vec<ChildId> {
        let from = match decision {
            Decision::Restart { scope: RestartScope::All, .. } => 0,
            Decision::Restart { scope: RestartScope::Rest, .. } => key,
            _ => return vec![key],
        };
        let returns = |other: ChildId| {
            other == key
                || self.children.get(&other).is_some_and(|member| {
                    member.is_active()
                        && (member.policy.restart != RestartType::Temporary || !member.is_live())
                })
        };
        self.children.range(from..).map(|(other, _)| *other).filter(|other| returns(*other)).collect()
    }

    /// Restarts `trigger`, which has exited, together with all others from `from` on.
    pub(super) fn restart_group(
        &mut self,
        trigger: ChildId,
        from: ChildId,
        due: Duration,
        now: Duration,
    ) -> Vec<SupervisorAction> {
        // A restart that was pending is part of this one; no delay that was announced is cut short.
        let pending = self.group_restart.map_or(Duration::ZERO, GroupRestart::starts_at);
        let due = due.max(pending);
        self.group_restart = Some(GroupRestart { from, stage: RestartStage::Stopping { due } });
        self.set_phase(trigger, ChildPhase::Waiting);
        let mut actions =
            vec![SupervisorAction::ResolveWaiters { key: trigger, outcome: ChildOutcome::Restarting(due) }];
        let others: Vec<ChildId> = self.children.range(from..).map(|(key, _)| *key).collect();
        for key in others {
            self.join_group_restart(key);
        }
        actions.extend(self.advance(now));
        actions
    }

    /// A child whose next incarnation was to come by another way takes its turn in the round instead.
    fn join_group_restart(&mut self, key: ChildId) {
        let phase = match self.phase(key) {
            Some(ChildPhase::Restarting { .. }) => ChildPhase::Waiting,
            Some(ChildPhase::Stopping { then: AfterStop::Start, deadline: urge }) => {
                ChildPhase::Stopping { then: AfterStop::JoinGroupRestart, deadline: urge }
            }
            Some(ChildPhase::Killing { abandon_at: cut_off_at }) => {
                let urge = cut_off_at.map_or(StopDeadline::Never, StopDeadline::AbandonAt);
                ChildPhase::Stopping { then: self.after_group_stop(key), deadline: urge }
            }
            _ => return,
        };
        self.set_phase(key, phase);
    }

    /// A child that has been stopped for its group's restart waits for its turn.
    pub(super) fn await_group_restart(&mut self, key: ChildId) -> Vec<SupervisorAction> {
        self.set_phase(key, ChildPhase::Waiting);
        let due = self.group_restart.map_or(Duration::ZERO, GroupRestart::starts_at);
        vec![SupervisorAction::ResolveWaiters { key, outcome: ChildOutcome::Postponed(due) }]
    }

    /// Starts a child: now, or in its turn where a round is under way that it is part of.
    pub(super) fn start_in_turn(&mut self, key: ChildId, now: Duration) -> Vec<SupervisorAction> {
        if self.group_restart.is_none_or(|round| key < round.from) {
            return self.launch(key, now);
        }
        let mut actions = self.await_group_restart(key);
        actions.extend(self.advance(now));
        actions
    }

    /// Lets a round that pauses go on at once.
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

    /// Takes the next step of what is under way: of going down, or of a round.
    pub(super) fn advance(&mut self, now: Duration) -> Vec<SupervisorAction> {
        if let Lifecycle::Stopping { reason: ending } = self.lifecycle {
            return self.stop_next(ending, now);
        }
        let Some(round) = self.group_restart else { return Vec::new() };
        match round.stage {
            RestartStage::Stopping { due } => {
                if let Some(key) = self.last_running(round.from) {
                    return self.stop_for_group_restart(key, now);
                }
                if self.index.live.range(round.from..).next().is_some() {
                    return Vec::new();
                }
                self.set_stage(RestartStage::Delaying { due }, now)
            }
            RestartStage::Delaying { due } if due > now => Vec::new(),
            RestartStage::Delaying { .. } => self.set_stage(RestartStage::Starting, now),
            RestartStage::Starting => self.start_next(round, now),
        }
    }

    fn set_stage(&mut self, step: RestartStage, now: Duration) -> Vec<SupervisorAction> {
        if let Some(round) = &mut self.group_restart {
            round.stage = step;
        }
        self.advance(now)
    }

    fn stop_for_group_restart(&mut self, key: ChildId, now: Duration) -> Vec<SupervisorAction> {
        self.stop_child(key, self.after_group_stop(key), now)
    }

    fn after_group_stop(&self, key: ChildId) -> AfterStop {
        let restart = self.children.get(&key).map(|member| member.policy.restart);
        if restart == Some(RestartType::Temporary) {
            AfterStop::Deregister
        } else {
            AfterStop::JoinGroupRestart
        }
    }

    /// What follows the end of a child that a round was about to stop anyway: it counts as stopped by it.
    pub(super) fn after_pending_group_stop(&self, key: ChildId) -> Option<AfterStop> {
        let round = self.group_restart.filter(|round| key >= round.from)?;
        matches!(round.stage, RestartStage::Stopping { .. }).then(|| self.after_group_stop(key))
    }

    fn start_next(&mut self, round: GroupRestart, now: Duration) -> Vec<SupervisorAction> {
        if self.index.starting.range(round.from..).next().is_some() {
            return Vec::new();
        }
        // One may come before those of this round: it waited for its turn in the round that this one displaced.
        if let Some(&key) = self.index.waiting.first() {
            self.group_restart = Some(GroupRestart { from: round.from.min(key), ..round });
            return self.launch(key, now);
        }
        self.group_restart = None;
        if self.lifecycle != Lifecycle::Starting {
            return Vec::new();
        }
        self.lifecycle = Lifecycle::Running;
        vec![SupervisorAction::Ready]
    }
}

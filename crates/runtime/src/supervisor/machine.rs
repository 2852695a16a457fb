//! The state machine of a supervisor: the phase of each child, and what to do next.
//!
//! Pure and synchronous: events and the time go in, actions come out, and the supervisor carries them out. One
//! question goes to [`decide`]: what follows an exit.
//!
//! - `action`: the actions
//! - `child`: the state of one child, and the index that finds children by their phase
//! - `group_restart`: starting children in order, and restarting groups
//! - `stop`: stopping children, within the time that there is
//! - `admin`: commands

mod action;
mod admin;
mod child;
mod group_restart;
mod stop;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::messaging::progress::ActorProgress;
use crate::policy::{
    AutoShutdown, ChildHistory, ChildPolicy, Decision, DecisionContext, Exit, ExitCause, RestartScope,
    RestartType, StateSource, SupervisorHistory, SupervisorPolicy, decide,
};

pub(crate) use action::{
    ChildId, ChildOutcome, CommandRejection, DecisionRecord, KillReason, ShutdownReason, SupervisorAction,
};
use child::{AfterStop, ChildIndex, ChildPhase, ChildState, StopDeadline};
use group_restart::GroupRestart;
use stop::StopTime;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Lifecycle {
    Starting,
    Running,
    Stopping { reason: ShutdownReason },
    Stopped,
}

/// The state machine of a supervisor.
#[derive(Debug)]
pub(crate) struct Machine {
    policy: SupervisorPolicy,
    history: SupervisorHistory,
    children: BTreeMap<ChildId, ChildState>,
    index: ChildIndex,
    lifecycle: Lifecycle,
    /// The group restart that is under way, if there is one.
    group_restart: Option<GroupRestart>,
    /// The time in which it has to end, if it stops within a limit.
    stop_time: Option<StopTime>,
    /// The total by which the deadlines of stops have moved.
    postponed: Duration,
    next_id: ChildId,
}

impl Machine {
    pub(crate) fn new(policy: SupervisorPolicy) -> Self {
        Self {
            policy,
            history: SupervisorHistory::default(),
            children: BTreeMap::new(),
            index: ChildIndex::default(),
            lifecycle: Lifecycle::Starting,
            group_restart: Some(GroupRestart::all()),
            stop_time: None,
            postponed: Duration::ZERO,
            next_id: 0,
        }
    }

    /// Registers an initial child.
    pub(crate) fn register(&mut self, policy: Arc<ChildPolicy>) -> ChildId {
        self.insert(policy, false)
    }

    /// Marks a registered child as failed: it does not start until it is reset.
    pub(crate) fn mark_failed(&mut self, id: ChildId) -> Vec<SupervisorAction> {
        self.set_phase(id, ChildPhase::Failed);
        vec![SupervisorAction::ResolveWaiters { id, outcome: ChildOutcome::Failed }]
    }

    /// Returns whether the child has an incarnation.
    pub(crate) fn is_live(&self, id: ChildId) -> bool {
        self.children.get(&id).is_some_and(ChildState::is_live)
    }

    fn insert(&mut self, policy: Arc<ChildPolicy>, is_add_pending: bool) -> ChildId {
        let id = self.next_id;
        self.next_id += 1;
        let history = ChildHistory::default();
        let child = ChildState {
            policy,
            history,
            phase: ChildPhase::Waiting,
            progress_watch: None,
            is_add_pending,
            has_been_ready: false,
        };
        self.index.insert(id, &child);
        self.children.insert(id, child);
        id
    }

    pub(crate) fn policy(&self) -> &SupervisorPolicy {
        &self.policy
    }

    pub(crate) fn history(&self, id: ChildId) -> Option<&ChildHistory> {
        self.children.get(&id).map(|child| &child.history)
    }

    /// Returns the time at which [`tick`](Self::tick) is next needed.
    pub(crate) fn next_wake(&self) -> Option<Duration> {
        let of_children = self.index.deadlines.first().map(|(at, _)| *at);
        let of_group = self.group_restart.and_then(GroupRestart::due);
        of_children.into_iter().chain(of_group).min()
    }

    fn phase(&self, id: ChildId) -> Option<ChildPhase> {
        self.children.get(&id).map(|child| child.phase)
    }

    /// Changes a child, and keeps the index in step.
    fn update(&mut self, id: ChildId, change: impl FnOnce(&mut ChildState)) {
        if let Some(child) = self.children.get_mut(&id) {
            self.index.remove(id, child);
            change(child);
            self.index.insert(id, child);
        }
    }

    fn set_phase(&mut self, id: ChildId, phase: ChildPhase) {
        self.update(id, |child| child.phase = phase);
    }

    fn remove_child(&mut self, id: ChildId) {
        if let Some(child) = self.children.remove(&id) {
            self.index.remove(id, &child);
        }
    }

    fn is_stopping(&self) -> bool {
        matches!(self.lifecycle, Lifecycle::Stopping { .. } | Lifecycle::Stopped)
    }

    // === starting ===

    /// Starts the initial children, one after the other.
    pub(crate) fn start_all(&mut self, now: Duration) -> Vec<SupervisorAction> {
        self.advance(now)
    }

    fn launch(&mut self, id: ChildId, now: Duration) -> Vec<SupervisorAction> {
        self.update(id, |child| {
            child.phase = ChildPhase::Starting;
            child.start_watch(now);
        });
        vec![SupervisorAction::Launch { id }]
    }

    /// Handles the readiness of a child.
    pub(crate) fn ready(&mut self, id: ChildId, now: Duration) -> Vec<SupervisorAction> {
        if self.phase(id) != Some(ChildPhase::Starting) {
            return Vec::new();
        }
        self.update(id, |child| {
            child.phase = ChildPhase::Running;
            child.start_watch(now);
            child.is_add_pending = false;
            child.has_been_ready = true;
        });
        let mut actions = vec![SupervisorAction::ResolveWaiters { id, outcome: ChildOutcome::Running }];
        actions.extend(self.advance(now));
        actions
    }

    /// Handles the exit of an incarnation that declined to start.
    pub(crate) fn declined(&mut self, id: ChildId, now: Duration) -> Vec<SupervisorAction> {
        let Some(child) = self.children.get(&id) else { return Vec::new() };
        if let ChildPhase::Stopping { then, .. } = child.phase {
            return self.finish_stop(id, then, false, now);
        }
        let mut actions = vec![SupervisorAction::ResolveWaiters { id, outcome: ChildOutcome::Declined }];
        if child.policy.restart == RestartType::Temporary || self.policy.dynamic {
            self.remove_child(id);
            actions.push(SupervisorAction::Deregister { id });
        } else {
            self.set_phase(id, ChildPhase::Stopped);
        }
        actions.extend(self.advance(now));
        actions
    }

    // === exits ===

    /// Returns whether an exit is unexpected: a permanent child ended normally by itself while its supervisor stops.
    pub(crate) fn is_unexpected(&self, id: ChildId, cause: ExitCause) -> bool {
        let permanent = |child: &ChildState| {
            child.policy.restart == RestartType::Permanent && child.phase == ChildPhase::Running
        };
        self.is_stopping() && cause == ExitCause::Normal && self.children.get(&id).is_some_and(permanent)
    }

    /// Handles the exit of a child's incarnation, which has been torn down.
    pub(crate) fn exited(
        &mut self,
        id: ChildId,
        exit: Exit,
        now: Duration,
        jitter: f64,
    ) -> Vec<SupervisorAction> {
        let Some(child) = self.children.get(&id) else { return Vec::new() };
        if !child.is_live() {
            return Vec::new();
        }
        let failed_to_start = exit.ready_since.is_none() && exit.cause != ExitCause::Normal;
        let (is_add_pending, has_been_ready) = (child.is_add_pending, child.has_been_ready);
        if let ChildPhase::Stopping { then, .. } = child.phase {
            return self.finish_stop(id, then, exit.abandoned, now);
        }
        if self.is_stopping() {
            return self.finish_stop(id, AfterStop::StayStopped, exit.abandoned, now);
        }
        if let Some(then) = self.after_pending_group_stop(id) {
            return self.finish_stop(id, then, exit.abandoned, now);
        }
        if is_add_pending && failed_to_start {
            self.remove_child(id);
            let mut actions = vec![
                SupervisorAction::ResolveWaiters { id, outcome: ChildOutcome::AddFailed },
                SupervisorAction::Deregister { id },
            ];
            actions.extend(self.advance(now));
            return actions;
        }
        if self.lifecycle == Lifecycle::Starting && failed_to_start && !has_been_ready {
            self.set_phase(id, ChildPhase::Stopped);
            let mut actions = vec![SupervisorAction::ResolveWaiters { id, outcome: ChildOutcome::Stopped }];
            actions.extend(self.shut_down(ShutdownReason::ChildStartFailed(id), now));
            return actions;
        }
        self.decide_exit(id, exit, now, jitter)
    }

    fn decide_exit(&mut self, id: ChildId, exit: Exit, now: Duration, jitter: f64) -> Vec<SupervisorAction> {
        let context = DecisionContext { now, jitter, significant_others: self.significant_others(id) };
        let Some(child) = self.children.get_mut(&id) else { return Vec::new() };
        let (history, siblings) = (child.history.clone(), self.history.clone());
        let decision =
            decide((&child.policy, &self.policy), (&mut child.history, &mut self.history), exit, context);
        let budget_used = child.policy.budget.map_or(0, |budget| child.history.used(budget, now));
        let scope = self.affected_children(id, decision);
        let record =
            DecisionRecord { decision, context, exit, history, siblings, budget_used, affected: scope };
        let mut actions = vec![SupervisorAction::Record { id, record: Box::new(record) }];
        actions.extend(self.apply_decision(id, decision, now));
        actions
    }

    /// Counts the other significant children that have not ended, where the policy needs the number.
    fn significant_others(&self, id: ChildId) -> u32 {
        let is_significant = |child: &ChildState| child.policy.significant;
        let matters = self.policy.auto_shutdown == AutoShutdown::AllSignificant
            && self.children.get(&id).is_some_and(is_significant);
        if !matters {
            return 0;
        }
        let others = self.children.iter().filter(|(other, _)| **other != id);
        let active = others.filter(|(_, child)| is_significant(child) && child.is_active()).count();
        u32::try_from(active).unwrap_or(u32::MAX)
    }

    fn apply_decision(&mut self, id: ChildId, decision: Decision, now: Duration) -> Vec<SupervisorAction> {
        match decision {
            Decision::Restart { scope, delay, attempt: _, state } => {
                let mut actions = Vec::new();
                if state == StateSource::Fresh {
                    actions.push(SupervisorAction::DiscardCheckpoint { id });
                }
                let due = now.saturating_add(delay);
                actions.extend(match scope {
                    RestartScope::One => self.restart_one(id, due, now),
                    RestartScope::All => self.restart_group(id, 0, due, now),
                    RestartScope::Rest => self.restart_group(id, id, due, now),
                });
                actions
            }
            Decision::Leave => self.finish_stop(id, AfterStop::StayStopped, false, now),
            Decision::GiveUp => self.fail_child(id, now),
            Decision::Escalate => {
                self.set_phase(id, ChildPhase::Failed);
                let mut actions =
                    vec![SupervisorAction::ResolveWaiters { id, outcome: ChildOutcome::Failed }];
                actions.extend(self.shut_down(ShutdownReason::TooManyFailures(id), now));
                actions
            }
            Decision::ShutDown => {
                self.set_phase(id, ChildPhase::Stopped);
                let mut actions =
                    vec![SupervisorAction::ResolveWaiters { id, outcome: ChildOutcome::Stopped }];
                actions.extend(self.shut_down(ShutdownReason::SignificantEnded(id), now));
                actions
            }
        }
    }

    fn restart_one(&mut self, id: ChildId, due: Duration, now: Duration) -> Vec<SupervisorAction> {
        let mut actions =
            vec![SupervisorAction::ResolveWaiters { id, outcome: ChildOutcome::Restarting(due) }];
        if due <= now {
            actions.extend(self.launch(id, now));
            return actions;
        }
        self.set_phase(id, ChildPhase::Restarting { due });
        // A child that crashed after it was ready does not delay the children after it.
        actions.extend(self.advance(now));
        actions
    }

    fn fail_child(&mut self, id: ChildId, now: Duration) -> Vec<SupervisorAction> {
        self.set_phase(id, ChildPhase::Failed);
        let mut actions = vec![SupervisorAction::ResolveWaiters { id, outcome: ChildOutcome::Failed }];
        actions.extend(self.advance(now));
        actions
    }

    /// Handles the end of a child that was being stopped, or that had no incarnation.
    fn finish_stop(
        &mut self,
        id: ChildId,
        then: AfterStop,
        abandoned: bool,
        now: Duration,
    ) -> Vec<SupervisorAction> {
        let Some(child) = self.children.get(&id) else { return Vec::new() };
        let is_temporary = child.policy.restart == RestartType::Temporary;
        let stays_failed = abandoned && child.policy.abandoned == crate::policy::AbandonedPolicy::Fail;
        let mut actions = match then {
            AfterStop::Start | AfterStop::JoinGroupRestart if self.is_stopping() => {
                self.mark_stopped(id, is_temporary)
            }
            AfterStop::Start | AfterStop::JoinGroupRestart if stays_failed => {
                return self.fail_child(id, now);
            }
            AfterStop::Start => return self.start_in_turn(id, now),
            AfterStop::JoinGroupRestart => self.await_group_restart(id),
            AfterStop::Deregister => self.mark_stopped(id, true),
            AfterStop::StayStopped => self.mark_stopped(id, is_temporary),
        };
        actions.extend(self.advance(now));
        actions
    }

    fn mark_stopped(&mut self, id: ChildId, forget: bool) -> Vec<SupervisorAction> {
        let mut actions = vec![SupervisorAction::ResolveWaiters { id, outcome: ChildOutcome::Stopped }];
        if forget {
            self.remove_child(id);
            actions.push(SupervisorAction::Deregister { id });
        } else {
            self.update(id, |child| {
                child.phase = ChildPhase::Stopped;
                child.is_add_pending = false;
            });
        }
        actions
    }

    // === time ===

    /// Handles the deadlines that have passed: restarts, kills, abandonments and progress checks.
    pub(crate) fn tick(&mut self, now: Duration) -> Vec<SupervisorAction> {
        let due = self.index.deadlines.range(..=(now, ChildId::MAX));
        let ids: Vec<ChildId> = due.map(|(_, id)| *id).collect();
        let mut actions: Vec<SupervisorAction> =
            ids.into_iter().flat_map(|id| self.tick_one(id, now)).collect();
        actions.extend(self.advance(now));
        actions
    }

    fn tick_one(&mut self, id: ChildId, now: Duration) -> Vec<SupervisorAction> {
        let Some(child) = self.children.get(&id) else { return Vec::new() };
        match child.phase {
            ChildPhase::Restarting { .. } => self.launch(id, now),
            ChildPhase::Stopping { then, deadline: StopDeadline::KillAt(_) } => {
                let deadline = StopDeadline::AbandonAt(self.abandon_at(child, now));
                self.set_phase(id, ChildPhase::Stopping { then, deadline });
                vec![SupervisorAction::Kill { id, reason: KillReason::Requested }]
            }
            ChildPhase::Stopping { then, deadline: StopDeadline::AbandonAt(_) } => {
                self.set_phase(id, ChildPhase::Stopping { then, deadline: StopDeadline::Never });
                vec![SupervisorAction::Abandon { id }]
            }
            ChildPhase::Killing { .. } => {
                self.set_phase(id, ChildPhase::Killing { abandon_at: None });
                vec![SupervisorAction::Abandon { id }]
            }
            ChildPhase::Starting | ChildPhase::Running => vec![SupervisorAction::Inspect { id }],
            _ => Vec::new(),
        }
    }

    /// Handles the result of a progress check; `time_awake` is the time for which this process ran until `now`.
    pub(crate) fn inspected(
        &mut self,
        id: ChildId,
        progress: ActorProgress,
        now: Duration,
        time_awake: Duration,
    ) -> Vec<SupervisorAction> {
        if !matches!(self.phase(id), Some(ChildPhase::Starting | ChildPhase::Running)) {
            return Vec::new();
        }
        let mut reason = None;
        self.update(id, |child| {
            reason = child.check_progress(progress, now, time_awake);
            if reason.is_some() {
                child.phase = ChildPhase::Killing { abandon_at: Some(child.abandon_at(now)) };
            }
        });
        reason.map(|reason| SupervisorAction::Kill { id, reason }).into_iter().collect()
    }
}

#[cfg(test)]
mod tests;

//! A supervisor's bookkeeping: which child is in which phase, and what has to be done next.
//!
//! Pure and synchronous: events and the time go in, actions come out. The supervisor only observes and obeys. The
//! one question that is not answered here, what follows an exit, goes to [`decide`].
//!
//! - `action`: what goes out
//! - `member`: one child, and the index that finds children by their phase
//! - `round`: starting children in order, and restarting groups
//! - `orders`: what is asked by hand

mod action;
mod admin;
mod child;
mod group_restart;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::policy::{
    AutoShutdown, ChildHistory, ChildPolicy, Decision, DecisionContext, Exit, ExitCause, RestartScope,
    RestartType, Shutdown, StateSource, SupervisorHistory, SupervisorPolicy, decide,
};

pub(crate) use action::{
    ChildId, ChildOutcome, CommandRejection, DecisionRecord, KillReason, ShutdownReason, SupervisorAction,
};
pub(crate) use child::ActorProgress;

use child::{AfterStop, ChildIndex, ChildPhase, ChildState, StopDeadline};
use group_restart::GroupRestart;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Lifecycle {
    Starting,
    Running,
    Stopping { reason: ShutdownReason },
    Stopped,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Machine {
    policy: SupervisorPolicy,
    history: SupervisorHistory,
    children: BTreeMap<ChildId, ChildState>,
    index: ChildIndex,
    lifecycle: Lifecycle,
    /// The starts in order that are under way, if any are.
    group_restart: Option<GroupRestart>,
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
            next_id: 0,
        }
    }

    /// Takes in a child that is there from the start.
    pub(crate) fn register(&mut self, policy: Arc<ChildPolicy>) -> ChildId {
        self.insert(policy, false)
    }

    /// Takes a child that was enlisted for one that has failed: it does not start until it is reset.
    pub(crate) fn mark_failed(&mut self, key: ChildId) -> Vec<SupervisorAction> {
        self.set_phase(key, ChildPhase::Failed);
        vec![SupervisorAction::ResolveWaiters { key, outcome: ChildOutcome::Failed }]
    }

    /// Whether the child has an incarnation.
    pub(crate) fn is_live(&self, key: ChildId) -> bool {
        self.children.get(&key).is_some_and(ChildState::is_live)
    }

    fn insert(&mut self, policy: Arc<ChildPolicy>, on_probation: bool) -> ChildId {
        let key = self.next_id;
        self.next_id += 1;
        let history = ChildHistory::default();
        let member = ChildState {
            policy,
            history,
            phase: ChildPhase::Waiting,
            progress_watch: None,
            is_add_pending: on_probation,
            has_been_ready: false,
        };
        self.index.insert(key, &member);
        self.children.insert(key, member);
        key
    }

    pub(crate) fn policy(&self) -> &SupervisorPolicy {
        &self.policy
    }

    pub(crate) fn history(&self, key: ChildId) -> Option<&ChildHistory> {
        self.children.get(&key).map(|member| &member.history)
    }

    /// When [`tick`](Self::tick) is next needed.
    pub(crate) fn next_wake(&self) -> Option<Duration> {
        let of_members = self.index.deadlines.first().map(|(at, _)| *at);
        let of_round = self.group_restart.and_then(GroupRestart::due);
        of_members.into_iter().chain(of_round).min()
    }

    fn phase(&self, key: ChildId) -> Option<ChildPhase> {
        self.children.get(&key).map(|member| member.phase)
    }

    /// Changes a child, and keeps the index true.
    fn update(&mut self, key: ChildId, change: impl FnOnce(&mut ChildState)) {
        if let Some(member) = self.children.get_mut(&key) {
            self.index.remove(key, member);
            change(member);
            self.index.insert(key, member);
        }
    }

    fn set_phase(&mut self, key: ChildId, phase: ChildPhase) {
        self.update(key, |member| member.phase = phase);
    }

    fn remove_child(&mut self, key: ChildId) {
        if let Some(member) = self.children.remove(&key) {
            self.index.remove(key, &member);
        }
    }

    fn is_stopping(&self) -> bool {
        matches!(self.lifecycle, Lifecycle::Stopping { .. } | Lifecycle::Stopped)
    }

    // === starting ===

    /// Starts the children that were there from the start, one after the other.
    pub(crate) fn start_all(&mut self, now: Duration) -> Vec<SupervisorAction> {
        self.advance(now)
    }

    fn launch(&mut self, key: ChildId, now: Duration) -> Vec<SupervisorAction> {
        self.update(key, |member| {
            member.phase = ChildPhase::Starting;
            member.start_watch(now);
        });
        vec![SupervisorAction::Launch { key }]
    }

    /// A child is ready.
    pub(crate) fn ready(&mut self, key: ChildId, now: Duration) -> Vec<SupervisorAction> {
        if self.phase(key) != Some(ChildPhase::Starting) {
            return Vec::new();
        }
        self.update(key, |member| {
            member.phase = ChildPhase::Running;
            member.start_watch(now);
            member.is_add_pending = false;
            member.has_been_ready = true;
        });
        let mut actions = vec![SupervisorAction::ResolveWaiters { key, outcome: ChildOutcome::Running }];
        actions.extend(self.advance(now));
        actions
    }

    /// A child's incarnation declined to start, and has ended.
    pub(crate) fn declined(&mut self, key: ChildId, now: Duration) -> Vec<SupervisorAction> {
        let Some(member) = self.children.get(&key) else { return Vec::new() };
        if let ChildPhase::Stopping { then, .. } = member.phase {
            return self.finish_stop(key, then, false, now);
        }
        let mut actions = vec![SupervisorAction::ResolveWaiters { key, outcome: ChildOutcome::Declined }];
        if member.policy.restart == RestartType::Temporary || self.policy.dynamic {
            self.remove_child(key);
            actions.push(SupervisorAction::Deregister { key });
        } else {
            self.set_phase(key, ChildPhase::Stopped);
        }
        actions.extend(self.advance(now));
        actions
    }

    // === exits ===

    /// Whether the exit of this child is out of turn: it is to run for ever, and ended of itself while its
    /// supervisor goes down.
    pub(crate) fn is_unexpected(&self, key: ChildId, cause: ExitCause) -> bool {
        let permanent = |member: &ChildState| {
            member.policy.restart == RestartType::Permanent && member.phase == ChildPhase::Running
        };
        self.is_stopping() && cause == ExitCause::Normal && self.children.get(&key).is_some_and(permanent)
    }

    /// A child's incarnation has ended and is torn down.
    pub(crate) fn exited(
        &mut self,
        key: ChildId,
        exit: Exit,
        now: Duration,
        jitter: f64,
    ) -> Vec<SupervisorAction> {
        let Some(member) = self.children.get(&key) else { return Vec::new() };
        if !member.is_live() {
            return Vec::new();
        }
        let failed_to_start = exit.ready_since.is_none() && exit.cause != ExitCause::Normal;
        let (on_probation, ever_ready) = (member.is_add_pending, member.has_been_ready);
        if let ChildPhase::Stopping { then, .. } = member.phase {
            return self.finish_stop(key, then, exit.abandoned, now);
        }
        if self.is_stopping() {
            return self.finish_stop(key, AfterStop::StayStopped, exit.abandoned, now);
        }
        if let Some(then) = self.after_pending_group_stop(key) {
            return self.finish_stop(key, then, exit.abandoned, now);
        }
        if on_probation && failed_to_start {
            self.remove_child(key);
            let mut actions = vec![
                SupervisorAction::ResolveWaiters { key, outcome: ChildOutcome::AddFailed },
                SupervisorAction::Deregister { key },
            ];
            actions.extend(self.advance(now));
            return actions;
        }
        if self.lifecycle == Lifecycle::Starting && failed_to_start && !ever_ready {
            self.set_phase(key, ChildPhase::Stopped);
            let mut actions = vec![SupervisorAction::ResolveWaiters { key, outcome: ChildOutcome::Stopped }];
            actions.extend(self.shut_down(ShutdownReason::ChildStartFailed(key), now));
            return actions;
        }
        self.decide_exit(key, exit, now, jitter)
    }

    fn decide_exit(&mut self, key: ChildId, exit: Exit, now: Duration, jitter: f64) -> Vec<SupervisorAction> {
        let moment = DecisionContext { now, jitter, significant_others: self.significant_others(key) };
        let Some(member) = self.children.get_mut(&key) else { return Vec::new() };
        let (history, siblings) = (member.history.clone(), self.history.clone());
        let decision =
            decide((&member.policy, &self.policy), (&mut member.history, &mut self.history), exit, moment);
        let budget_used = member.policy.budget.map_or(0, |budget| member.history.used(budget, now));
        let scope = self.affected_children(key, decision);
        let ruling = DecisionRecord {
            decision,
            context: moment,
            exit,
            history,
            siblings,
            budget_used,
            affected: scope,
        };
        let mut actions = vec![SupervisorAction::Record { key, record: Box::new(ruling) }];
        actions.extend(self.apply_decision(key, decision, now));
        actions
    }

    /// How many other significant children have not ended; counted only where it matters.
    fn significant_others(&self, key: ChildId) -> u32 {
        let is_significant = |member: &ChildState| member.policy.significant;
        let matters = self.policy.auto_shutdown == AutoShutdown::AllSignificant
            && self.children.get(&key).is_some_and(is_significant);
        if !matters {
            return 0;
        }
        let others = self.children.iter().filter(|(other, _)| **other != key);
        let active = others.filter(|(_, member)| is_significant(member) && member.is_active()).count();
        u32::try_from(active).unwrap_or(u32::MAX)
    }

    fn apply_decision(&mut self, key: ChildId, decision: Decision, now: Duration) -> Vec<SupervisorAction> {
        match decision {
            Decision::Restart { scope, delay, attempt: _, state } => {
                let mut actions = Vec::new();
                if state == StateSource::Fresh {
                    actions.push(SupervisorAction::DiscardCheckpoint { key });
                }
                let due = now.saturating_add(delay);
                actions.extend(match scope {
                    RestartScope::One => self.restart_one(key, due, now),
                    RestartScope::All => self.restart_group(key, 0, due, now),
                    RestartScope::Rest => self.restart_group(key, key, due, now),
                });
                actions
            }
            Decision::Leave => self.finish_stop(key, AfterStop::StayStopped, false, now),
            Decision::Abandon => self.fail_child(key, now),
            Decision::Escalate => {
                self.set_phase(key, ChildPhase::Failed);
                let mut actions =
                    vec![SupervisorAction::ResolveWaiters { key, outcome: ChildOutcome::Failed }];
                actions.extend(self.shut_down(ShutdownReason::TooManyFailures(key), now));
                actions
            }
            Decision::ShutDown => {
                self.set_phase(key, ChildPhase::Stopped);
                let mut actions =
                    vec![SupervisorAction::ResolveWaiters { key, outcome: ChildOutcome::Stopped }];
                actions.extend(self.shut_down(ShutdownReason::SignificantEnded(key), now));
                actions
            }
        }
    }

    fn restart_one(&mut self, key: ChildId, due: Duration, now: Duration) -> Vec<SupervisorAction> {
        let mut actions =
            vec![SupervisorAction::ResolveWaiters { key, outcome: ChildOutcome::Restarting(due) }];
        if due <= now {
            actions.extend(self.launch(key, now));
            return actions;
        }
        self.set_phase(key, ChildPhase::Restarting { due });
        // A child that crashed after it was ready does not hold up those that come after it.
        actions.extend(self.advance(now));
        actions
    }

    fn fail_child(&mut self, key: ChildId, now: Duration) -> Vec<SupervisorAction> {
        self.set_phase(key, ChildPhase::Failed);
        let mut actions = vec![SupervisorAction::ResolveWaiters { key, outcome: ChildOutcome::Failed }];
        actions.extend(self.advance(now));
        actions
    }

    /// A child that was to end has ended, or had no incarnation in the first place.
    fn finish_stop(
        &mut self,
        key: ChildId,
        then: AfterStop,
        abandoned: bool,
        now: Duration,
    ) -> Vec<SupervisorAction> {
        let Some(member) = self.children.get(&key) else { return Vec::new() };
        let is_temporary = member.policy.restart == RestartType::Temporary;
        let stays_failed = abandoned && member.policy.abandoned == crate::policy::AbandonedPolicy::Fail;
        let mut actions = match then {
            AfterStop::Start | AfterStop::JoinGroupRestart if self.is_stopping() => {
                self.mark_stopped(key, is_temporary)
            }
            AfterStop::Start | AfterStop::JoinGroupRestart if stays_failed => {
                return self.fail_child(key, now);
            }
            AfterStop::Start => return self.start_in_turn(key, now),
            AfterStop::JoinGroupRestart => self.await_group_restart(key),
            AfterStop::Deregister => self.mark_stopped(key, true),
            AfterStop::StayStopped => self.mark_stopped(key, is_temporary),
        };
        actions.extend(self.advance(now));
        actions
    }

    fn mark_stopped(&mut self, key: ChildId, forget: bool) -> Vec<SupervisorAction> {
        let mut actions = vec![SupervisorAction::ResolveWaiters { key, outcome: ChildOutcome::Stopped }];
        if forget {
            self.remove_child(key);
            actions.push(SupervisorAction::Deregister { key });
        } else {
            self.update(key, |member| {
                member.phase = ChildPhase::Stopped;
                member.is_add_pending = false;
            });
        }
        actions
    }

    // === time ===

    /// Does what is due: restarts, kills of what did not stop in time, looks at those that are watched.
    pub(crate) fn tick(&mut self, now: Duration) -> Vec<SupervisorAction> {
        let due = self.index.deadlines.range(..=(now, ChildId::MAX));
        let keys: Vec<ChildId> = due.map(|(_, key)| *key).collect();
        let mut actions: Vec<SupervisorAction> =
            keys.into_iter().flat_map(|key| self.tick_one(key, now)).collect();
        actions.extend(self.advance(now));
        actions
    }

    fn tick_one(&mut self, key: ChildId, now: Duration) -> Vec<SupervisorAction> {
        let Some(member) = self.children.get(&key) else { return Vec::new() };
        match member.phase {
            ChildPhase::Restarting { .. } => self.launch(key, now),
            ChildPhase::Stopping { then, deadline: StopDeadline::KillAt(_) } => {
                let urge = StopDeadline::AbandonAt(member.abandon_at(now));
                self.set_phase(key, ChildPhase::Stopping { then, deadline: urge });
                vec![SupervisorAction::Kill { key, reason: KillReason::Requested }]
            }
            ChildPhase::Stopping { then, deadline: StopDeadline::AbandonAt(_) } => {
                self.set_phase(key, ChildPhase::Stopping { then, deadline: StopDeadline::Never });
                vec![SupervisorAction::Abandon { key }]
            }
            ChildPhase::Killing { .. } => {
                self.set_phase(key, ChildPhase::Killing { abandon_at: None });
                vec![SupervisorAction::Abandon { key }]
            }
            ChildPhase::Starting | ChildPhase::Running => vec![SupervisorAction::Inspect { key }],
            _ => Vec::new(),
        }
    }

    /// A look at a child's progress showed this.
    pub(crate) fn inspected(
        &mut self,
        key: ChildId,
        progress: ActorProgress,
        now: Duration,
    ) -> Vec<SupervisorAction> {
        if !matches!(self.phase(key), Some(ChildPhase::Starting | ChildPhase::Running)) {
            return Vec::new();
        }
        let mut verdict = None;
        self.update(key, |member| {
            verdict = member.check_progress(progress, now);
            if verdict.is_some() {
                member.phase = ChildPhase::Killing { abandon_at: Some(member.abandon_at(now)) };
            }
        });
        verdict.map(|verdict| SupervisorAction::Kill { key, reason: verdict }).into_iter().collect()
    }

    // === going down ===

    /// Stops all children in the reverse of their order, or all at once where their order does not matter, and then
    /// finishes.
    pub(crate) fn shut_down(&mut self, ending: ShutdownReason, now: Duration) -> Vec<SupervisorAction> {
        if self.is_stopping() {
            return Vec::new();
        }
        self.lifecycle = Lifecycle::Stopping { reason: ending };
        self.group_restart = None;
        let mut actions = self.cancel_pending();
        if self.policy.dynamic {
            for key in self.running() {
                actions.extend(self.stop_child(key, AfterStop::StayStopped, now));
            }
        }
        actions.extend(self.advance(now));
        actions
    }

    fn stop_next(&mut self, ending: ShutdownReason, now: Duration) -> Vec<SupervisorAction> {
        if self.index.live.is_empty() {
            self.lifecycle = Lifecycle::Stopped;
            return vec![SupervisorAction::Exit(ending)];
        }
        self.last_running(0).map_or_else(Vec::new, |key| self.stop_child(key, AfterStop::StayStopped, now))
    }

    fn running(&self) -> Vec<ChildId> {
        let runs = |key: &ChildId| !matches!(self.phase(*key), Some(ChildPhase::Stopping { .. }));
        self.index.live.iter().copied().filter(runs).collect()
    }

    /// The last child from `from` on that has an incarnation, unless that is already being stopped.
    fn last_running(&self, from: ChildId) -> Option<ChildId> {
        let last = self.index.live.range(from..).next_back().copied();
        last.filter(|key| !matches!(self.phase(*key), Some(ChildPhase::Stopping { .. })))
    }

    /// Children that only waited for something come to rest.
    fn cancel_pending(&mut self) -> Vec<SupervisorAction> {
        let pending =
            |member: &ChildState| matches!(member.phase, ChildPhase::Waiting | ChildPhase::Restarting { .. });
        let keys: Vec<ChildId> =
            self.children.iter().filter(|(_, member)| pending(member)).map(|(key, _)| *key).collect();
        keys.into_iter().flat_map(|key| self.mark_stopped(key, false)).collect()
    }

    /// Ends a child, and then does what `then` says.
    fn stop_child(&mut self, key: ChildId, then: AfterStop, now: Duration) -> Vec<SupervisorAction> {
        let Some(member) = self.children.get(&key) else { return Vec::new() };
        let cut_off = StopDeadline::AbandonAt(member.abandon_at(now));
        let (urge, action) = match member.phase {
            // A child that is to be dropped is dropped, whatever else is asked of it meanwhile.
            ChildPhase::Stopping { then: AfterStop::Deregister, .. } => return Vec::new(),
            ChildPhase::Stopping { deadline: urge, .. } => (urge, None),
            ChildPhase::Killing { abandon_at: cut_off_at } => {
                (cut_off_at.map_or(StopDeadline::Never, StopDeadline::AbandonAt), None)
            }
            ChildPhase::Starting | ChildPhase::Running => match member.policy.shutdown {
                Shutdown::Graceful(timeout) => (
                    StopDeadline::KillAt(now.saturating_add(timeout)),
                    Some(SupervisorAction::RequestStop { key }),
                ),
                Shutdown::Unlimited => (StopDeadline::Never, Some(SupervisorAction::RequestStop { key })),
                Shutdown::Kill => {
                    (cut_off, Some(SupervisorAction::Kill { key, reason: KillReason::Requested }))
                }
            },
            ChildPhase::Waiting
            | ChildPhase::Restarting { .. }
            | ChildPhase::Stopped
            | ChildPhase::Failed => {
                return self.finish_stop(key, then, false, now);
            }
        };
        self.set_phase(key, ChildPhase::Stopping { then, deadline: urge });
        action.into_iter().collect()
    }
}

#[cfg(test)]
mod tests;

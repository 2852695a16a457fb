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
mod member;
mod orders;
mod round;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::policy::{
    AutoShutdown, ChildHistory, ChildPolicy, Decision, Exit, ExitCause, Moment, RestartType, Scope, Shutdown,
    StateSource, SupervisorHistory, SupervisorPolicy, decide,
};

pub(crate) use action::{Action, Ending, Key, Objection, Rest, Ruling, Verdict};
pub(crate) use member::Progress;

use member::{Index, Member, Phase, Then, Urge};
use round::Round;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Course {
    ComingUp,
    Up,
    GoingDown { ending: Ending },
    Finished,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Roster {
    policy: SupervisorPolicy,
    history: SupervisorHistory,
    members: BTreeMap<Key, Member>,
    index: Index,
    course: Course,
    /// The starts in order that are under way, if any are.
    round: Option<Round>,
    next_key: Key,
}

impl Roster {
    pub(crate) fn new(policy: SupervisorPolicy) -> Self {
        Self {
            policy,
            history: SupervisorHistory::default(),
            members: BTreeMap::new(),
            index: Index::default(),
            course: Course::ComingUp,
            round: Some(Round::of_all()),
            next_key: 0,
        }
    }

    /// Takes in a child that is there from the start.
    pub(crate) fn enlist(&mut self, policy: Arc<ChildPolicy>) -> Key {
        self.insert(policy, false)
    }

    /// Takes a child that was enlisted for one that has failed: it does not start until it is reset.
    pub(crate) fn fail(&mut self, key: Key) -> Vec<Action> {
        self.become_phase(key, Phase::Failed);
        vec![Action::Settle { key, rest: Rest::Failed }]
    }

    /// Whether the child has an incarnation.
    pub(crate) fn is_live(&self, key: Key) -> bool {
        self.members.get(&key).is_some_and(Member::is_live)
    }

    fn insert(&mut self, policy: Arc<ChildPolicy>, on_probation: bool) -> Key {
        let key = self.next_key;
        self.next_key += 1;
        let history = ChildHistory::default();
        let member =
            Member { policy, history, phase: Phase::Waiting, watch: None, on_probation, ever_ready: false };
        self.index.enter(key, &member);
        self.members.insert(key, member);
        key
    }

    pub(crate) fn policy(&self) -> &SupervisorPolicy {
        &self.policy
    }

    pub(crate) fn history(&self, key: Key) -> Option<&ChildHistory> {
        self.members.get(&key).map(|member| &member.history)
    }

    /// When [`tick`](Self::tick) is next needed.
    pub(crate) fn next_wake(&self) -> Option<Duration> {
        let of_members = self.index.alarms.first().map(|(at, _)| *at);
        let of_round = self.round.and_then(Round::due);
        of_members.into_iter().chain(of_round).min()
    }

    fn phase(&self, key: Key) -> Option<Phase> {
        self.members.get(&key).map(|member| member.phase)
    }

    /// Changes a child, and keeps the index true.
    fn change(&mut self, key: Key, change: impl FnOnce(&mut Member)) {
        if let Some(member) = self.members.get_mut(&key) {
            self.index.leave(key, member);
            change(member);
            self.index.enter(key, member);
        }
    }

    fn become_phase(&mut self, key: Key, phase: Phase) {
        self.change(key, |member| member.phase = phase);
    }

    fn drop_member(&mut self, key: Key) {
        if let Some(member) = self.members.remove(&key) {
            self.index.leave(key, &member);
        }
    }

    fn is_going_down(&self) -> bool {
        matches!(self.course, Course::GoingDown { .. } | Course::Finished)
    }

    // === starting ===

    /// Starts the children that were there from the start, one after the other.
    pub(crate) fn come_up(&mut self, now: Duration) -> Vec<Action> {
        self.advance(now)
    }

    fn launch(&mut self, key: Key, now: Duration) -> Vec<Action> {
        self.change(key, |member| {
            member.phase = Phase::Starting;
            member.watch_from(now);
        });
        vec![Action::Launch { key }]
    }

    /// A child is ready.
    pub(crate) fn ready(&mut self, key: Key, now: Duration) -> Vec<Action> {
        if self.phase(key) != Some(Phase::Starting) {
            return Vec::new();
        }
        self.change(key, |member| {
            member.phase = Phase::Running;
            member.watch_from(now);
            member.on_probation = false;
            member.ever_ready = true;
        });
        let mut actions = vec![Action::Settle { key, rest: Rest::Running }];
        actions.extend(self.advance(now));
        actions
    }

    /// A child's incarnation declined to start, and has ended.
    pub(crate) fn declined(&mut self, key: Key, now: Duration) -> Vec<Action> {
        let Some(member) = self.members.get(&key) else { return Vec::new() };
        if let Phase::Stopping { then, .. } = member.phase {
            return self.stopped(key, then, false, now);
        }
        let mut actions = vec![Action::Settle { key, rest: Rest::Declined }];
        if member.policy.restart == RestartType::Temporary || self.policy.dynamic {
            self.drop_member(key);
            actions.push(Action::Forget { key });
        } else {
            self.become_phase(key, Phase::Stopped);
        }
        actions.extend(self.advance(now));
        actions
    }

    // === exits ===

    /// Whether the exit of this child is out of turn: it is to run for ever, and ended of itself while its
    /// supervisor goes down.
    pub(crate) fn is_unexpected(&self, key: Key, cause: ExitCause) -> bool {
        let permanent = |member: &Member| {
            member.policy.restart == RestartType::Permanent && member.phase == Phase::Running
        };
        self.is_going_down() && cause == ExitCause::Normal && self.members.get(&key).is_some_and(permanent)
    }

    /// A child's incarnation has ended and is torn down.
    pub(crate) fn exited(&mut self, key: Key, exit: Exit, now: Duration, jitter: f64) -> Vec<Action> {
        let Some(member) = self.members.get(&key) else { return Vec::new() };
        if !member.is_live() {
            return Vec::new();
        }
        let failed_to_start = exit.ready_since.is_none() && exit.cause != ExitCause::Normal;
        let (on_probation, ever_ready) = (member.on_probation, member.ever_ready);
        if let Phase::Stopping { then, .. } = member.phase {
            return self.stopped(key, then, exit.abandoned, now);
        }
        if self.is_going_down() {
            return self.stopped(key, Then::Rest, exit.abandoned, now);
        }
        if let Some(then) = self.after_pending_round_stop(key) {
            return self.stopped(key, then, exit.abandoned, now);
        }
        if on_probation && failed_to_start {
            self.drop_member(key);
            let mut actions = vec![Action::Settle { key, rest: Rest::Refused }, Action::Forget { key }];
            actions.extend(self.advance(now));
            return actions;
        }
        if self.course == Course::ComingUp && failed_to_start && !ever_ready {
            self.become_phase(key, Phase::Stopped);
            let mut actions = vec![Action::Settle { key, rest: Rest::Stopped }];
            actions.extend(self.shut_down(Ending::ChildNotStarted(key), now));
            return actions;
        }
        self.rule_on(key, exit, now, jitter)
    }

    fn rule_on(&mut self, key: Key, exit: Exit, now: Duration, jitter: f64) -> Vec<Action> {
        let moment = Moment { now, jitter, significant_others: self.significant_others(key) };
        let Some(member) = self.members.get_mut(&key) else { return Vec::new() };
        let (history, siblings) = (member.history.clone(), self.history.clone());
        let decision =
            decide((&member.policy, &self.policy), (&mut member.history, &mut self.history), exit, moment);
        let budget_used = member.policy.budget.map_or(0, |budget| member.history.used(budget, now));
        let scope = self.concerned(key, decision);
        let ruling = Ruling { decision, moment, exit, history, siblings, budget_used, scope };
        let mut actions = vec![Action::Record { key, decided: Box::new(ruling) }];
        actions.extend(self.obey(key, decision, now));
        actions
    }

    /// How many other significant children have not ended; counted only where it matters.
    fn significant_others(&self, key: Key) -> u32 {
        let is_significant = |member: &Member| member.policy.significant;
        let matters = self.policy.auto_shutdown == AutoShutdown::AllSignificant
            && self.members.get(&key).is_some_and(is_significant);
        if !matters {
            return 0;
        }
        let others = self.members.iter().filter(|(other, _)| **other != key);
        let active = others.filter(|(_, member)| is_significant(member) && member.is_active()).count();
        u32::try_from(active).unwrap_or(u32::MAX)
    }

    fn obey(&mut self, key: Key, decision: Decision, now: Duration) -> Vec<Action> {
        match decision {
            Decision::Restart { scope, delay, attempt: _, state } => {
                let mut actions = Vec::new();
                if state == StateSource::Fresh {
                    actions.push(Action::DiscardCheckpoint { key });
                }
                let due = now.saturating_add(delay);
                actions.extend(match scope {
                    Scope::One => self.restart_one(key, due, now),
                    Scope::All => self.restart_group(key, 0, due, now),
                    Scope::Rest => self.restart_group(key, key, due, now),
                });
                actions
            }
            Decision::Leave => self.stopped(key, Then::Rest, false, now),
            Decision::Abandon => self.failed(key, now),
            Decision::Escalate => {
                self.become_phase(key, Phase::Failed);
                let mut actions = vec![Action::Settle { key, rest: Rest::Failed }];
                actions.extend(self.shut_down(Ending::TooManyFailures(key), now));
                actions
            }
            Decision::ShutDown => {
                self.become_phase(key, Phase::Stopped);
                let mut actions = vec![Action::Settle { key, rest: Rest::Stopped }];
                actions.extend(self.shut_down(Ending::SignificantEnded(key), now));
                actions
            }
        }
    }

    fn restart_one(&mut self, key: Key, due: Duration, now: Duration) -> Vec<Action> {
        let mut actions = vec![Action::Settle { key, rest: Rest::Restarting(due) }];
        if due <= now {
            actions.extend(self.launch(key, now));
            return actions;
        }
        self.become_phase(key, Phase::Restarting { due });
        // A child that crashed after it was ready does not hold up those that come after it.
        actions.extend(self.advance(now));
        actions
    }

    fn failed(&mut self, key: Key, now: Duration) -> Vec<Action> {
        self.become_phase(key, Phase::Failed);
        let mut actions = vec![Action::Settle { key, rest: Rest::Failed }];
        actions.extend(self.advance(now));
        actions
    }

    /// A child that was to end has ended, or had no incarnation in the first place.
    fn stopped(&mut self, key: Key, then: Then, abandoned: bool, now: Duration) -> Vec<Action> {
        let Some(member) = self.members.get(&key) else { return Vec::new() };
        let is_temporary = member.policy.restart == RestartType::Temporary;
        let stays_failed = abandoned && member.policy.abandoned == crate::policy::Abandoned::Fail;
        let mut actions = match then {
            Then::Launch | Then::Wait if self.is_going_down() => self.come_to_rest(key, is_temporary),
            Then::Launch | Then::Wait if stays_failed => return self.failed(key, now),
            Then::Launch => return self.bring(key, now),
            Then::Wait => self.wait_for_turn(key),
            Then::Forget => self.come_to_rest(key, true),
            Then::Rest => self.come_to_rest(key, is_temporary),
        };
        actions.extend(self.advance(now));
        actions
    }

    fn come_to_rest(&mut self, key: Key, forget: bool) -> Vec<Action> {
        let mut actions = vec![Action::Settle { key, rest: Rest::Stopped }];
        if forget {
            self.drop_member(key);
            actions.push(Action::Forget { key });
        } else {
            self.change(key, |member| {
                member.phase = Phase::Stopped;
                member.on_probation = false;
            });
        }
        actions
    }

    // === time ===

    /// Does what is due: restarts, kills of what did not stop in time, looks at those that are watched.
    pub(crate) fn tick(&mut self, now: Duration) -> Vec<Action> {
        let due = self.index.alarms.range(..=(now, Key::MAX));
        let keys: Vec<Key> = due.map(|(_, key)| *key).collect();
        let mut actions: Vec<Action> = keys.into_iter().flat_map(|key| self.tick_one(key, now)).collect();
        actions.extend(self.advance(now));
        actions
    }

    fn tick_one(&mut self, key: Key, now: Duration) -> Vec<Action> {
        let Some(member) = self.members.get(&key) else { return Vec::new() };
        match member.phase {
            Phase::Restarting { .. } => self.launch(key, now),
            Phase::Stopping { then, urge: Urge::KillAt(_) } => {
                let urge = Urge::CutOffAt(member.cut_off_at(now));
                self.become_phase(key, Phase::Stopping { then, urge });
                vec![Action::Kill { key, verdict: Verdict::Ordered }]
            }
            Phase::Stopping { then, urge: Urge::CutOffAt(_) } => {
                self.become_phase(key, Phase::Stopping { then, urge: Urge::Never });
                vec![Action::CutOff { key }]
            }
            Phase::Condemned { .. } => {
                self.become_phase(key, Phase::Condemned { cut_off_at: None });
                vec![Action::CutOff { key }]
            }
            Phase::Starting | Phase::Running => vec![Action::Inspect { key }],
            _ => Vec::new(),
        }
    }

    /// A look at a child's progress showed this.
    pub(crate) fn inspected(&mut self, key: Key, progress: Progress, now: Duration) -> Vec<Action> {
        if !matches!(self.phase(key), Some(Phase::Starting | Phase::Running)) {
            return Vec::new();
        }
        let mut verdict = None;
        self.change(key, |member| {
            verdict = member.note_progress(progress, now);
            if verdict.is_some() {
                member.phase = Phase::Condemned { cut_off_at: Some(member.cut_off_at(now)) };
            }
        });
        verdict.map(|verdict| Action::Kill { key, verdict }).into_iter().collect()
    }

    // === going down ===

    /// Stops all children in the reverse of their order, or all at once where their order does not matter, and then
    /// finishes.
    pub(crate) fn shut_down(&mut self, ending: Ending, now: Duration) -> Vec<Action> {
        if self.is_going_down() {
            return Vec::new();
        }
        self.course = Course::GoingDown { ending };
        self.round = None;
        let mut actions = self.give_up_pending();
        if self.policy.dynamic {
            for key in self.all_that_run() {
                actions.extend(self.end(key, Then::Rest, now));
            }
        }
        actions.extend(self.advance(now));
        actions
    }

    fn go_down(&mut self, ending: Ending, now: Duration) -> Vec<Action> {
        if self.index.live.is_empty() {
            self.course = Course::Finished;
            return vec![Action::Finish(ending)];
        }
        self.last_that_runs(0).map_or_else(Vec::new, |key| self.end(key, Then::Rest, now))
    }

    fn all_that_run(&self) -> Vec<Key> {
        let runs = |key: &Key| !matches!(self.phase(*key), Some(Phase::Stopping { .. }));
        self.index.live.iter().copied().filter(runs).collect()
    }

    /// The last child from `from` on that has an incarnation, unless that is already being stopped.
    fn last_that_runs(&self, from: Key) -> Option<Key> {
        let last = self.index.live.range(from..).next_back().copied();
        last.filter(|key| !matches!(self.phase(*key), Some(Phase::Stopping { .. })))
    }

    /// Children that only waited for something come to rest.
    fn give_up_pending(&mut self) -> Vec<Action> {
        let pending = |member: &Member| matches!(member.phase, Phase::Waiting | Phase::Restarting { .. });
        let keys: Vec<Key> =
            self.members.iter().filter(|(_, member)| pending(member)).map(|(key, _)| *key).collect();
        keys.into_iter().flat_map(|key| self.come_to_rest(key, false)).collect()
    }

    /// Ends a child, and then does what `then` says.
    fn end(&mut self, key: Key, then: Then, now: Duration) -> Vec<Action> {
        let Some(member) = self.members.get(&key) else { return Vec::new() };
        let cut_off = Urge::CutOffAt(member.cut_off_at(now));
        let (urge, action) = match member.phase {
            // A child that is to be dropped is dropped, whatever else is asked of it meanwhile.
            Phase::Stopping { then: Then::Forget, .. } => return Vec::new(),
            Phase::Stopping { urge, .. } => (urge, None),
            Phase::Condemned { cut_off_at } => (cut_off_at.map_or(Urge::Never, Urge::CutOffAt), None),
            Phase::Starting | Phase::Running => match member.policy.shutdown {
                Shutdown::Graceful(timeout) => {
                    (Urge::KillAt(now.saturating_add(timeout)), Some(Action::AskToStop { key }))
                }
                Shutdown::Unlimited => (Urge::Never, Some(Action::AskToStop { key })),
                Shutdown::Kill => (cut_off, Some(Action::Kill { key, verdict: Verdict::Ordered })),
            },
            Phase::Waiting | Phase::Restarting { .. } | Phase::Stopped | Phase::Failed => {
                return self.stopped(key, then, false, now);
            }
        };
        self.become_phase(key, Phase::Stopping { then, urge });
        action.into_iter().collect()
    }
}

#[cfg(test)]
mod tests;

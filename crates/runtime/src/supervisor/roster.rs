//! A supervisor's bookkeeping: which child is in which phase, and what has to be done next.
//!
//! Pure and synchronous: events and the time go in, actions come out. The supervisor only observes and obeys. The
//! one question that is not answered here, what follows an exit, goes to [`decide`].

use std::collections::BTreeMap;
use std::time::Duration;

use crate::policy::{
    ChildHistory, ChildPolicy, Decision, Exit, ExitCause, Shutdown, StateSource, SupervisorHistory,
    SupervisorPolicy, decide,
};

/// A child, numbered in the order of its coming.
pub(crate) type Key = u64;

/// What the supervisor has to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Start the child's next incarnation.
    Launch { key: Key },
    /// Set the child's checkpoint aside.
    DiscardCheckpoint { key: Key },
    /// Ask the child to end in order.
    AskToStop { key: Key },
    /// Kill the child.
    Kill { key: Key },
    /// Record what was decided about an exit.
    Record { key: Key, decided: Box<Ruling> },
    /// The child has come to rest: whoever waits for it learns how.
    Settle { key: Key, rest: Rest },
    /// Drop the child altogether.
    Forget { key: Key },
    /// All children that were there from the start are ready.
    ComeUp,
    /// The supervisor has ended: in order, or for a reason.
    Finish(Option<String>),
}

/// A decision with everything that it followed from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ruling {
    pub(crate) decision: Decision,
    pub(crate) now: Duration,
    pub(crate) jitter: f64,
    pub(crate) exit: Exit,
    pub(crate) history: ChildHistory,
    pub(crate) siblings: SupervisorHistory,
    /// Restarts that count against the budget after this decision.
    pub(crate) budget_used: u32,
}

/// How a child has come to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// It runs.
    Running,
    /// It waits for its next incarnation, due at this time.
    Restarting(Duration),
    /// It is stopped.
    Stopped,
    /// It could not be started, and nothing of it is kept.
    Refused,
    /// Its budget is spent.
    Failed,
}

/// Why an order was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Objection {
    /// The child runs.
    Running,
    /// The child is between two incarnations.
    Restarting,
    /// The supervisor itself is stopping.
    Stopping,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    /// Not started yet: it was there from the start, and others come first.
    Waiting,
    Starting,
    Running,
    Restarting {
        due: Duration,
    },
    Stopping {
        kill_at: Option<Duration>,
        then: Then,
    },
    Stopped,
    Failed,
}

/// What follows when a child that was asked to stop has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Rest,
    Launch,
    Forget,
}

#[derive(Debug)]
struct Member {
    policy: ChildPolicy,
    history: ChildHistory,
    phase: Phase,
    /// Added while the supervisor ran, and never ready so far.
    on_probation: bool,
}

impl Member {
    fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Starting | Phase::Running | Phase::Stopping { .. })
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Course {
    ComingUp,
    Up,
    GoingDown { reason: Option<String> },
    Finished,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Roster {
    policy: SupervisorPolicy,
    history: SupervisorHistory,
    members: BTreeMap<Key, Member>,
    course: Course,
    next_key: Key,
}

impl Roster {
    pub(crate) fn new(policy: SupervisorPolicy) -> Self {
        Self {
            policy,
            history: SupervisorHistory::default(),
            members: BTreeMap::new(),
            course: Course::ComingUp,
            next_key: 0,
        }
    }

    /// Takes in a child that is there from the start.
    pub(crate) fn enlist(&mut self, policy: ChildPolicy) -> Key {
        self.insert(policy, Phase::Waiting, false)
    }

    fn insert(&mut self, policy: ChildPolicy, phase: Phase, on_probation: bool) -> Key {
        let key = self.next_key;
        self.next_key += 1;
        let history = ChildHistory::default();
        self.members.insert(key, Member { policy, history, phase, on_probation });
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
        let wake = |member: &Member| match member.phase {
            Phase::Restarting { due } => Some(due),
            Phase::Stopping { kill_at, .. } => kill_at,
            _ => None,
        };
        self.members.values().filter_map(wake).min()
    }

    // === coming up ===

    /// Starts the children that were there from the start, one after the other.
    pub(crate) fn come_up(&mut self) -> Vec<Action> {
        if self.course != Course::ComingUp {
            return Vec::new();
        }
        let waiting = self.members.iter().find(|(_, member)| member.phase == Phase::Waiting);
        let Some((&key, _)) = waiting else {
            self.course = Course::Up;
            return vec![Action::ComeUp];
        };
        self.launch(key)
    }

    fn launch(&mut self, key: Key) -> Vec<Action> {
        let Some(member) = self.members.get_mut(&key) else { return Vec::new() };
        member.phase = Phase::Starting;
        vec![Action::Launch { key }]
    }

    /// A child is ready.
    pub(crate) fn ready(&mut self, key: Key) -> Vec<Action> {
        let Some(member) = self.members.get_mut(&key) else { return Vec::new() };
        if member.phase != Phase::Starting {
            return Vec::new();
        }
        member.phase = Phase::Running;
        member.on_probation = false;
        let mut actions = vec![Action::Settle { key, rest: Rest::Running }];
        actions.extend(self.come_up());
        actions
    }

    // === exits ===

    /// A child's incarnation has ended and is torn down.
    pub(crate) fn exited(&mut self, key: Key, exit: Exit, now: Duration, jitter: f64) -> Vec<Action> {
        let Some(member) = self.members.get_mut(&key) else { return Vec::new() };
        if let Phase::Stopping { then, .. } = member.phase {
            return self.stopped(key, then, now);
        }
        if matches!(self.course, Course::GoingDown { .. } | Course::Finished) {
            member.phase = Phase::Stopped;
            let mut actions = vec![Action::Settle { key, rest: Rest::Stopped }];
            actions.extend(self.go_down(now));
            return actions;
        }
        if member.on_probation && exit.cause == ExitCause::StartFailed {
            self.members.remove(&key);
            return vec![Action::Settle { key, rest: Rest::Refused }, Action::Forget { key }];
        }
        if self.course == Course::ComingUp && exit.cause == ExitCause::StartFailed {
            member.phase = Phase::Stopped;
            let mut actions = vec![Action::Settle { key, rest: Rest::Stopped }];
            actions.extend(self.shut_down(Some("a child failed to start".to_owned()), now));
            return actions;
        }
        self.rule_on(key, exit, now, jitter)
    }

    fn rule_on(&mut self, key: Key, exit: Exit, now: Duration, jitter: f64) -> Vec<Action> {
        let Some(member) = self.members.get_mut(&key) else { return Vec::new() };
        let (history, siblings) = (member.history.clone(), self.history.clone());
        let decision = decide(
            (&member.policy, &self.policy),
            (&mut member.history, &mut self.history),
            now,
            exit,
            jitter,
        );
        let budget_used = member.policy.budget.map_or(0, |budget| member.history.used(budget, now));
        let ruling = Ruling { decision, now, jitter, exit, history, siblings, budget_used };
        let mut actions = vec![Action::Record { key, decided: Box::new(ruling) }];
        actions.extend(self.obey(key, decision, now));
        actions
    }

    fn obey(&mut self, key: Key, decision: Decision, now: Duration) -> Vec<Action> {
        let Some(member) = self.members.get_mut(&key) else { return Vec::new() };
        match decision {
            Decision::Restart { scope: _, delay, attempt: _, state } => {
                let mut actions = Vec::new();
                if state == StateSource::Fresh {
                    actions.push(Action::DiscardCheckpoint { key });
                }
                if delay.is_zero() {
                    actions.extend(self.launch(key));
                } else {
                    let due = now + delay;
                    member.phase = Phase::Restarting { due };
                    actions.push(Action::Settle { key, rest: Rest::Restarting(due) });
                }
                // A child that crashed after it was ready does not hold up those that come after it.
                actions.extend(self.come_up_if_idle());
                actions
            }
            Decision::Leave => {
                member.phase = Phase::Stopped;
                self.rested(key, Rest::Stopped)
            }
            Decision::Abandon => {
                member.phase = Phase::Failed;
                self.rested(key, Rest::Failed)
            }
            Decision::Escalate => {
                member.phase = Phase::Failed;
                let mut actions = vec![Action::Settle { key, rest: Rest::Failed }];
                actions.extend(self.shut_down(Some("its children failed too often".to_owned()), now));
                actions
            }
        }
    }

    /// A child has come to rest; those that come after it do not wait for it.
    fn rested(&mut self, key: Key, rest: Rest) -> Vec<Action> {
        let mut actions = vec![Action::Settle { key, rest }];
        if self.course == Course::ComingUp {
            actions.extend(self.come_up_if_idle());
        }
        actions
    }

    /// Goes on coming up, unless a child is on its way already.
    fn come_up_if_idle(&mut self) -> Vec<Action> {
        let busy = self.members.values().any(|member| member.phase == Phase::Starting);
        if busy { Vec::new() } else { self.come_up() }
    }

    fn stopped(&mut self, key: Key, then: Then, now: Duration) -> Vec<Action> {
        let Some(member) = self.members.get_mut(&key) else { return Vec::new() };
        member.phase = Phase::Stopped;
        let going_down = matches!(self.course, Course::GoingDown { .. });
        let mut actions = match then {
            Then::Launch if !going_down => return self.launch(key),
            Then::Forget => {
                self.members.remove(&key);
                vec![Action::Settle { key, rest: Rest::Stopped }, Action::Forget { key }]
            }
            Then::Rest | Then::Launch => vec![Action::Settle { key, rest: Rest::Stopped }],
        };
        if going_down {
            actions.extend(self.go_down(now));
        } else if self.course == Course::ComingUp {
            actions.extend(self.come_up_if_idle());
        }
        actions
    }

    // === time ===

    /// Restarts what is due, and kills what did not stop in time.
    pub(crate) fn tick(&mut self, now: Duration) -> Vec<Action> {
        let keys: Vec<Key> = self.members.keys().copied().collect();
        keys.into_iter().flat_map(|key| self.tick_one(key, now)).collect()
    }

    fn tick_one(&mut self, key: Key, now: Duration) -> Vec<Action> {
        let is_going_down = self.check_course().is_err();
        let Some(member) = self.members.get_mut(&key) else { return Vec::new() };
        match &mut member.phase {
            Phase::Restarting { due } if *due <= now && !is_going_down => self.launch(key),
            Phase::Stopping { kill_at, .. } if kill_at.is_some_and(|at| at <= now) => {
                *kill_at = None;
                vec![Action::Kill { key }]
            }
            _ => Vec::new(),
        }
    }

    // === orders ===

    /// Takes in a child and starts it. If it cannot be started, nothing of it is kept.
    pub(crate) fn add(&mut self, policy: ChildPolicy) -> Result<(Key, Vec<Action>), Objection> {
        self.check_course()?;
        let key = self.insert(policy, Phase::Waiting, true);
        Ok((key, self.launch(key)))
    }

    /// Stops a child; a restart that is pending will not happen. Idempotent.
    pub(crate) fn stop(&mut self, key: Key, now: Duration) -> Vec<Action> {
        self.end(key, Then::Rest, now)
    }

    /// Starts a child that is stopped or has failed.
    pub(crate) fn start(&mut self, key: Key) -> Result<Vec<Action>, Objection> {
        self.check_course()?;
        match self.members.get(&key).map(|member| member.phase) {
            Some(Phase::Stopped | Phase::Failed) => Ok(self.launch(key)),
            Some(Phase::Restarting { .. } | Phase::Stopping { .. }) => Err(Objection::Restarting),
            _ => Err(Objection::Running),
        }
    }

    /// Restarts a child by hand: now, whatever phase it is in, and without touching its budget.
    pub(crate) fn restart(&mut self, key: Key, now: Duration) -> Result<Vec<Action>, Objection> {
        self.check_course()?;
        Ok(match self.members.get_mut(&key).map(|member| &mut member.phase) {
            Some(Phase::Stopped | Phase::Failed | Phase::Restarting { .. }) => self.launch(key),
            Some(Phase::Stopping { then: Then::Forget, .. }) => return Err(Objection::Restarting),
            Some(Phase::Stopping { then, .. }) => {
                *then = Then::Launch;
                Vec::new()
            }
            _ => self.end(key, Then::Launch, now),
        })
    }

    /// Gives a child its whole budget back, and starts it if it had failed.
    pub(crate) fn reset(&mut self, key: Key) -> Result<Vec<Action>, Objection> {
        self.check_course()?;
        let Some(member) = self.members.get_mut(&key) else { return Ok(Vec::new()) };
        member.history.reset();
        Ok(if member.phase == Phase::Failed { self.launch(key) } else { Vec::new() })
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

    /// Ends a child, and then does what `then` says.
    fn end(&mut self, key: Key, then: Then, now: Duration) -> Vec<Action> {
        let Some(member) = self.members.get_mut(&key) else { return Vec::new() };
        match &mut member.phase {
            // A child that is to be dropped is dropped, whatever else is asked of it meanwhile.
            Phase::Stopping { then: Then::Forget, .. } => Vec::new(),
            Phase::Stopping { then: earlier, .. } => {
                *earlier = then;
                Vec::new()
            }
            Phase::Starting | Phase::Running => {
                let (kill_at, action) = match member.policy.shutdown {
                    Shutdown::Graceful(timeout) => (Some(now + timeout), Action::AskToStop { key }),
                    Shutdown::Kill => (None, Action::Kill { key }),
                };
                member.phase = Phase::Stopping { kill_at, then };
                vec![action]
            }
            Phase::Waiting | Phase::Restarting { .. } | Phase::Stopped | Phase::Failed => {
                self.stopped(key, then, now)
            }
        }
    }

    // === going down ===

    /// Stops all children in the reverse of their order, and then finishes.
    pub(crate) fn shut_down(&mut self, reason: Option<String>, now: Duration) -> Vec<Action> {
        if matches!(self.course, Course::GoingDown { .. } | Course::Finished) {
            return Vec::new();
        }
        self.course = Course::GoingDown { reason };
        let mut actions = self.give_up_pending();
        actions.extend(self.go_down(now));
        actions
    }

    fn go_down(&mut self, now: Duration) -> Vec<Action> {
        let Course::GoingDown { reason } = &self.course else { return Vec::new() };
        let last = self.members.iter().rev().find(|(_, member)| member.is_live());
        match last.map(|(key, member)| (*key, member.phase)) {
            Some((_, Phase::Stopping { .. })) => Vec::new(),
            Some((key, _)) => self.end(key, Then::Rest, now),
            None => {
                let reason = reason.clone();
                self.course = Course::Finished;
                vec![Action::Finish(reason)]
            }
        }
    }

    /// Children that only waited for something come to rest.
    fn give_up_pending(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        for (&key, member) in &mut self.members {
            if matches!(member.phase, Phase::Waiting | Phase::Restarting { .. }) {
                member.phase = Phase::Stopped;
                actions.push(Action::Settle { key, rest: Rest::Stopped });
            }
        }
        actions
    }
}

#[cfg(test)]
mod tests;

//! Rounds: children that start in order, all of them when the supervisor comes up, a group when it is restarted.
//!
//! One round is under way at a time. What is to be restarted is stopped first, one child after the other in the
//! reverse of their order; then the delay passes; then each child that waits starts when the one before it is ready.
//! A child that fails meanwhile is decided about like any other, and the round goes on from there.

use std::time::Duration;

use super::action::{Action, Key, Rest};
use super::member::{Phase, Then, Urge};
use super::{Course, Roster};
use crate::policy::{Decision, RestartType, Scope};

/// Starts in order that are under way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Round {
    /// The first child that it concerns; all that come after it are part of it.
    from: Key,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    /// Those that still run are being stopped; the starts are due at this time.
    Stopping {
        due: Duration,
    },
    /// Nothing runs; the starts are due at this time.
    Pausing {
        due: Duration,
    },
    Starting,
}

impl Round {
    pub(super) fn of_all() -> Self {
        Self { from: 0, step: Step::Starting }
    }

    /// When it goes on.
    pub(super) fn due(self) -> Option<Duration> {
        match self.step {
            Step::Pausing { due } => Some(due),
            Step::Stopping { .. } | Step::Starting => None,
        }
    }

    /// When its starts are due, or were.
    fn starts_at(self) -> Duration {
        match self.step {
            Step::Stopping { due } | Step::Pausing { due } => due,
            Step::Starting => Duration::ZERO,
        }
    }
}

impl Roster {
    /// Whom a decision about `key` concerns, in order.
    pub(super) fn concerned(&self, key: Key, decision: Decision) -> Vec<Key> {
        let from = match decision {
            Decision::Restart { scope: Scope::All, .. } => 0,
            Decision::Restart { scope: Scope::Rest, .. } => key,
            _ => return vec![key],
        };
        let returns = |other: Key| {
            other == key
                || self.members.get(&other).is_some_and(|member| {
                    member.is_active()
                        && (member.policy.restart != RestartType::Temporary || !member.is_live())
                })
        };
        self.members.range(from..).map(|(other, _)| *other).filter(|other| returns(*other)).collect()
    }

    /// Restarts `trigger`, which has exited, together with all others from `from` on.
    pub(super) fn restart_group(
        &mut self,
        trigger: Key,
        from: Key,
        due: Duration,
        now: Duration,
    ) -> Vec<Action> {
        // A restart that was pending is part of this one; no delay that was announced is cut short.
        let pending = self.round.map_or(Duration::ZERO, Round::starts_at);
        let due = due.max(pending);
        self.round = Some(Round { from, step: Step::Stopping { due } });
        self.become_phase(trigger, Phase::Waiting);
        let mut actions = vec![Action::Settle { key: trigger, rest: Rest::Restarting(due) }];
        let others: Vec<Key> = self.members.range(from..).map(|(key, _)| *key).collect();
        for key in others {
            self.join_round(key);
        }
        actions.extend(self.advance(now));
        actions
    }

    /// A child whose next incarnation was to come by another way takes its turn in the round instead.
    fn join_round(&mut self, key: Key) {
        let phase = match self.phase(key) {
            Some(Phase::Restarting { .. }) => Phase::Waiting,
            Some(Phase::Stopping { then: Then::Launch, urge }) => Phase::Stopping { then: Then::Wait, urge },
            Some(Phase::Condemned { cut_off_at }) => {
                let urge = cut_off_at.map_or(Urge::Never, Urge::CutOffAt);
                Phase::Stopping { then: self.after_round_stop(key), urge }
            }
            _ => return,
        };
        self.become_phase(key, phase);
    }

    /// A child that has been stopped for its group's restart waits for its turn.
    pub(super) fn wait_for_turn(&mut self, key: Key) -> Vec<Action> {
        self.become_phase(key, Phase::Waiting);
        let due = self.round.map_or(Duration::ZERO, Round::starts_at);
        vec![Action::Settle { key, rest: Rest::Postponed(due) }]
    }

    /// Starts a child: now, or in its turn where a round is under way that it is part of.
    pub(super) fn bring(&mut self, key: Key, now: Duration) -> Vec<Action> {
        if self.round.is_none_or(|round| key < round.from) {
            return self.launch(key, now);
        }
        let mut actions = self.wait_for_turn(key);
        actions.extend(self.advance(now));
        actions
    }

    /// Lets a round that pauses go on at once.
    pub(super) fn hurry(&mut self, now: Duration) -> Vec<Action> {
        if let Some(Round { step: Step::Pausing { due } | Step::Stopping { due }, .. }) = &mut self.round {
            *due = now.min(*due);
        }
        self.advance(now)
    }

    /// Takes the next step of what is under way: of going down, or of a round.
    pub(super) fn advance(&mut self, now: Duration) -> Vec<Action> {
        if let Course::GoingDown { ending } = self.course {
            return self.go_down(ending, now);
        }
        let Some(round) = self.round else { return Vec::new() };
        match round.step {
            Step::Stopping { due } => {
                if let Some(key) = self.last_that_runs(round.from) {
                    return self.end_for_round(key, now);
                }
                if self.index.live.range(round.from..).next().is_some() {
                    return Vec::new();
                }
                self.step(Step::Pausing { due }, now)
            }
            Step::Pausing { due } if due > now => Vec::new(),
            Step::Pausing { .. } => self.step(Step::Starting, now),
            Step::Starting => self.start_next(round, now),
        }
    }

    fn step(&mut self, step: Step, now: Duration) -> Vec<Action> {
        if let Some(round) = &mut self.round {
            round.step = step;
        }
        self.advance(now)
    }

    fn end_for_round(&mut self, key: Key, now: Duration) -> Vec<Action> {
        self.end(key, self.after_round_stop(key), now)
    }

    fn after_round_stop(&self, key: Key) -> Then {
        let restart = self.members.get(&key).map(|member| member.policy.restart);
        if restart == Some(RestartType::Temporary) { Then::Forget } else { Then::Wait }
    }

    /// What follows the end of a child that a round was about to stop anyway: it counts as stopped by it.
    pub(super) fn after_pending_round_stop(&self, key: Key) -> Option<Then> {
        let round = self.round.filter(|round| key >= round.from)?;
        matches!(round.step, Step::Stopping { .. }).then(|| self.after_round_stop(key))
    }

    fn start_next(&mut self, round: Round, now: Duration) -> Vec<Action> {
        if self.index.starting.range(round.from..).next().is_some() {
            return Vec::new();
        }
        // One may come before those of this round: it waited for its turn in the round that this one displaced.
        if let Some(&key) = self.index.waiting.first() {
            self.round = Some(Round { from: round.from.min(key), ..round });
            return self.launch(key, now);
        }
        self.round = None;
        if self.course != Course::ComingUp {
            return Vec::new();
        }
        self.course = Course::Up;
        vec![Action::ComeUp]
    }
}

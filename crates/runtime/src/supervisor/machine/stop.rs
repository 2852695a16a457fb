//! Stopping one child, or all of them within the time that the supervisor has.

use std::time::Duration;

use super::action::{ChildId, KillReason, ShutdownReason, SupervisorAction};
use super::child::{AfterStop, ChildPhase, ChildState, StopDeadline};
use super::{Lifecycle, Machine};
use crate::events::RestartCanceller;
use crate::policy::Shutdown;
use crate::stop_clock::MovingDeadline;

/// The least time that a killed child has to end before it is abandoned.
const KILL_WAIT_MIN: Duration = Duration::from_millis(100);

/// The time in which a supervisor has to end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct StopTime {
    /// The supervisor itself has to end by this time.
    by: Duration,
    /// The children have to end a tenth earlier: killed ones need a moment to end, and their exits have to be recorded.
    children_by: Duration,
    /// The time that the children that were not asked yet would need.
    needed: Duration,
}

impl StopTime {
    fn new(by: Duration, now: Duration) -> Self {
        let children_by = by.saturating_sub(by.saturating_sub(now) / 10);
        Self { by, children_by, needed: Duration::ZERO }
    }

    /// Returns the time that a child may need: what its policy grants, or all there is.
    fn needed_by(self, child: &ChildState, now: Duration) -> Duration {
        match child.policy.shutdown {
            Shutdown::Graceful(timeout) => timeout,
            Shutdown::Unlimited => self.children_by.saturating_sub(now),
            Shutdown::Kill => Duration::ZERO,
        }
    }
}

/// Returns the share out of `left` of a child that may need the time `own`, if those that stop after it may need `others`.
fn share(left: Duration, own: Duration, others: Duration) -> Duration {
    let all = own.saturating_add(others);
    if all <= left { own } else { left.mul_f64(own.as_secs_f64() / all.as_secs_f64()) }
}

impl Machine {
    /// Stops all children, and then exits; by the time `by`, if there is one. The children share the time that is
    /// left, in proportion to what they may need.
    pub(crate) fn shut_down_by(&mut self, by: Option<Duration>, now: Duration) -> Vec<SupervisorAction> {
        if let (Some(by), false) = (by, self.is_stopping()) {
            self.limit_stop(by, now);
        }
        self.shut_down(ShutdownReason::Requested, now)
    }

    fn limit_stop(&mut self, by: Duration, now: Duration) {
        let mut time = StopTime::new(by, now);
        self.stop_time = Some(time);
        let live: Vec<ChildId> = self.index.live.iter().copied().collect();
        for id in live {
            let Some(child) = self.children.get(&id) else { continue };
            let ChildPhase::Stopping { then, deadline } = child.phase else {
                time.needed = time.needed.saturating_add(time.needed_by(child, now));
                continue;
            };
            // It was asked before, and has no more time than the supervisor.
            let deadline = match deadline {
                StopDeadline::KillAt(at) => StopDeadline::KillAt(at.min(time.children_by)),
                StopDeadline::Never => StopDeadline::KillAt(time.children_by),
                StopDeadline::AbandonAt(at) => StopDeadline::AbandonAt(at.min(self.abandon_at(child, now))),
            };
            self.set_phase(id, ChildPhase::Stopping { then, deadline });
        }
        self.stop_time = Some(time);
    }

    /// Stops all children, in the order of the policy, and then exits.
    pub(crate) fn shut_down(&mut self, reason: ShutdownReason, now: Duration) -> Vec<SupervisorAction> {
        if self.is_stopping() {
            return Vec::new();
        }
        self.lifecycle = Lifecycle::Stopping { reason };
        self.group_restart = None;
        let mut actions = self.cancel_pending();
        if self.policy.stops_together() {
            for id in self.running() {
                actions.extend(self.stop_child(id, AfterStop::StayStopped, now));
            }
        }
        actions.extend(self.advance(now));
        actions
    }

    pub(super) fn stop_next(&mut self, reason: ShutdownReason, now: Duration) -> Vec<SupervisorAction> {
        if self.index.live.is_empty() {
            self.lifecycle = Lifecycle::Stopped;
            return vec![SupervisorAction::Exit(reason)];
        }
        self.last_running(0).map_or_else(Vec::new, |id| self.stop_child(id, AfterStop::StayStopped, now))
    }

    fn running(&self) -> Vec<ChildId> {
        let runs = |id: &ChildId| !matches!(self.phase(*id), Some(ChildPhase::Stopping { .. }));
        self.index.live.iter().copied().filter(runs).collect()
    }

    /// Returns the last child from `from` on that has an incarnation, unless that child is already being stopped.
    pub(super) fn last_running(&self, from: ChildId) -> Option<ChildId> {
        let last = self.index.live.range(from..).next_back().copied();
        last.filter(|id| !matches!(self.phase(*id), Some(ChildPhase::Stopping { .. })))
    }

    /// Marks the children that wait for a start as stopped.
    fn cancel_pending(&mut self) -> Vec<SupervisorAction> {
        let cancelled = |(id, child): (&ChildId, &ChildState)| {
            child.cancelled_restart(*id, RestartCanceller::Supervisor).map(|record| (*id, record))
        };
        let pending: Vec<(ChildId, SupervisorAction)> = self.children.iter().filter_map(cancelled).collect();
        let stop =
            |(id, record)| std::iter::once(record).chain(self.mark_stopped(id, false)).collect::<Vec<_>>();
        pending.into_iter().flat_map(stop).collect()
    }

    /// Stops a child, and then does what `then` says.
    pub(super) fn stop_child(
        &mut self,
        id: ChildId,
        then: AfterStop,
        now: Duration,
    ) -> Vec<SupervisorAction> {
        let Some(child) = self.children.get(&id) else { return Vec::new() };
        let (deadline, action) = match child.phase {
            // A removal wins over later commands.
            ChildPhase::Stopping { then: AfterStop::Deregister, .. } => return Vec::new(),
            ChildPhase::Stopping { deadline, .. } => (deadline, None),
            ChildPhase::Killing { abandon_at } => {
                let at = abandon_at.map(|at| at.min(self.abandon_at(child, now)));
                (at.map_or(StopDeadline::Never, StopDeadline::AbandonAt), None)
            }
            ChildPhase::Starting | ChildPhase::Running => {
                let abandon = StopDeadline::AbandonAt(self.abandon_at(child, now));
                let kills = child.policy.shutdown == Shutdown::Kill;
                let deadline = self.stop_deadline(id, now);
                // The children that stopped before may have used up its time.
                if kills || matches!(deadline, StopDeadline::KillAt(at) if at <= now) {
                    (abandon, Some(SupervisorAction::Kill { id, reason: KillReason::Requested }))
                } else {
                    (deadline, Some(SupervisorAction::RequestStop { id }))
                }
            }
            ChildPhase::Waiting
            | ChildPhase::Restarting { .. }
            | ChildPhase::Stopped
            | ChildPhase::Failed => {
                let cancelled = child.cancelled_restart(id, RestartCanceller::Command);
                let stopped = self.finish_stop(id, then, false, now);
                return cancelled.into_iter().chain(stopped).collect();
            }
        };
        self.set_phase(id, ChildPhase::Stopping { then, deadline });
        action.into_iter().collect()
    }

    /// Returns the deadline of a child that is asked to stop now.
    fn stop_deadline(&mut self, id: ChildId, now: Duration) -> StopDeadline {
        let Some(child) = self.children.get(&id) else { return StopDeadline::Never };
        let own = match child.policy.shutdown {
            Shutdown::Graceful(timeout) => Some(now.saturating_add(timeout)),
            Shutdown::Unlimited | Shutdown::Kill => None,
        };
        let shared = self.stop_time.as_mut().map(|time| {
            let (left, needed) = (time.children_by.saturating_sub(now), time.needed_by(child, now));
            if self.policy.stops_together() {
                return time.children_by;
            }
            time.needed = time.needed.saturating_sub(needed);
            now.saturating_add(share(left, needed, time.needed))
        });
        own.into_iter().chain(shared).min().map_or(StopDeadline::Never, StopDeadline::KillAt)
    }

    /// Returns the deadline at which a child that was asked to stop is killed.
    pub(crate) fn kill_at(&self, id: ChildId) -> Option<MovingDeadline> {
        match self.phase(id)? {
            ChildPhase::Stopping { deadline: StopDeadline::KillAt(at), .. } => {
                Some(MovingDeadline::new(at, self.postponed))
            }
            _ => None,
        }
    }

    /// Returns whether a stop or a kill has a deadline.
    pub(crate) fn has_stop_deadline(&self) -> bool {
        !self.index.stopping.is_empty()
    }

    /// Moves the deadlines of all stops and kills, if `postponed` is more than it was: the total by which deadlines have
    /// moved. To be called before each event.
    pub(crate) fn postpone_stops(&mut self, postponed: Duration) {
        let more = postponed.saturating_sub(std::mem::replace(&mut self.postponed, postponed));
        if more.is_zero() {
            return;
        }
        if let Some(time) = &mut self.stop_time {
            time.by = time.by.saturating_add(more);
            time.children_by = time.children_by.saturating_add(more);
        }
        let stopping: Vec<ChildId> = self.index.stopping.iter().copied().collect();
        for id in stopping {
            self.update(id, |child| child.postpone_stop(more));
        }
    }

    /// Returns the time that what a killed child leaves has to end.
    pub(crate) fn kill_timeout(&self, id: ChildId, now: Duration) -> Duration {
        self.children.get(&id).map_or(Duration::ZERO, |child| self.abandon_at(child, now).saturating_sub(now))
    }

    /// Returns the time at which a child that is killed now is abandoned: within a tenth of what the supervisor has left.
    pub(super) fn abandon_at(&self, child: &ChildState, now: Duration) -> Duration {
        let limit = self.stop_time.map_or(Duration::MAX, |time| time.by.saturating_sub(now) / 10);
        child.abandon_at(now).min(now.saturating_add(limit.max(KILL_WAIT_MIN)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn children_get_what_they_need_or_their_part_of_what_is_left() {
        assert_eq!(share(ms(100), ms(40), ms(60)), ms(40));
        assert_eq!(share(ms(100), ms(300), ms(100)), ms(75));
        assert_eq!(share(ms(100), ms(300), ms(0)), ms(100), "the last one gets all");
        assert_eq!(share(ms(0), ms(300), ms(100)), ms(0));
        assert_eq!(share(ms(100), Duration::MAX, Duration::MAX), ms(100));
    }
}

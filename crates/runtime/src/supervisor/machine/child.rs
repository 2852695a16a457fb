//! The state of one child, and the index that finds children by their phase.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::action::{ChildId, KillReason, SupervisorAction};
use crate::events::RestartCanceller;
use crate::messaging::progress::ActorProgress;
use crate::policy::{ChildHistory, ChildPolicy};
use crate::standstill::{DRAIN_TIME, LATE_MIN};

/// The phase of a child.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ChildPhase {
    /// The child starts when its turn in the group restart comes.
    Waiting,
    Starting,
    Running,
    /// The next incarnation is due.
    Restarting {
        due: Duration,
    },
    /// The child was asked to end.
    Stopping {
        then: AfterStop,
        deadline: StopDeadline,
    },
    /// The child was killed because it is stuck.
    Killing {
        abandon_at: Option<Duration>,
    },
    Stopped,
    Failed,
}

/// The step that follows when a stopping child has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterStop {
    StayStopped,
    Start,
    /// The child takes its turn in the restart of its group.
    JoinGroupRestart,
    Deregister,
}

/// The deadline for a child that does not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopDeadline {
    /// The child may take as long as it needs.
    Never,
    /// The child is killed at this time.
    KillAt(Duration),
    /// The child has been killed, and is abandoned at this time.
    AbandonAt(Duration),
}

/// The time of the next progress check, and the result of the last one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ProgressWatch {
    pub(super) next_check_at: Duration,
    /// The step that was under way, and the time awake of the check that first saw it.
    pub(super) busy_since: Option<(u64, Duration)>,
    /// True if the last check came late, and left time for what had come meanwhile.
    pub(super) was_late: bool,
}

#[derive(Debug)]
pub(super) struct ChildState {
    pub(super) policy: Arc<ChildPolicy>,
    pub(super) history: ChildHistory,
    pub(super) phase: ChildPhase,
    pub(super) progress_watch: Option<ProgressWatch>,
    /// True until a child that was added later is ready for the first time.
    pub(super) is_add_pending: bool,
    pub(super) has_been_ready: bool,
}

impl ChildState {
    /// Returns whether the child has an incarnation.
    pub(super) fn is_live(&self) -> bool {
        matches!(
            self.phase,
            ChildPhase::Starting
                | ChildPhase::Running
                | ChildPhase::Stopping { .. }
                | ChildPhase::Killing { .. }
        )
    }

    /// Returns the action that records the end of a planned start, if one is planned.
    pub(super) fn cancelled_restart(&self, id: ChildId, by: RestartCanceller) -> Option<SupervisorAction> {
        matches!(self.phase, ChildPhase::Waiting | ChildPhase::Restarting { .. })
            .then_some(SupervisorAction::RecordCancelledRestart { id, by })
    }

    /// Returns whether the supervisor keeps the child running, now or soon.
    pub(super) fn is_active(&self) -> bool {
        match self.phase {
            ChildPhase::Waiting | ChildPhase::Starting | ChildPhase::Running => true,
            ChildPhase::Restarting { .. } | ChildPhase::Killing { .. } => true,
            ChildPhase::Stopping { then, .. } => {
                matches!(then, AfterStop::Start | AfterStop::JoinGroupRestart)
            }
            ChildPhase::Stopped | ChildPhase::Failed => false,
        }
    }

    /// Returns the deadline of its stop or of its kill, if it has one.
    pub(super) fn stop_deadline(&self) -> Option<Duration> {
        match self.phase {
            ChildPhase::Stopping { .. } | ChildPhase::Killing { .. } => self.deadline(),
            _ => None,
        }
    }

    /// Returns the time at which the supervisor has to act on the child.
    fn deadline(&self) -> Option<Duration> {
        match self.phase {
            ChildPhase::Restarting { due } => Some(due),
            ChildPhase::Stopping {
                deadline: StopDeadline::KillAt(at) | StopDeadline::AbandonAt(at), ..
            } => Some(at),
            ChildPhase::Killing { abandon_at } => abandon_at,
            ChildPhase::Starting | ChildPhase::Running => {
                self.progress_watch.map(|watch| watch.next_check_at)
            }
            ChildPhase::Waiting
            | ChildPhase::Stopping { deadline: StopDeadline::Never, .. }
            | ChildPhase::Stopped
            | ChildPhase::Failed => None,
        }
    }

    /// Moves the deadline of its stop or of its kill.
    pub(super) fn postpone_stop(&mut self, by: Duration) {
        if let ChildPhase::Stopping {
            deadline: StopDeadline::KillAt(at) | StopDeadline::AbandonAt(at), ..
        }
        | ChildPhase::Killing { abandon_at: Some(at) } = &mut self.phase
        {
            *at = at.saturating_add(by);
        }
    }

    pub(super) fn abandon_at(&self, now: Duration) -> Duration {
        now.saturating_add(self.policy.kill_timeout)
    }

    /// Starts the progress watch, if the policy sets a limit.
    pub(super) fn start_watch(&mut self, now: Duration) {
        let look_at = |limit| now.saturating_add(check_interval(limit));
        self.progress_watch = self.policy.stuck_after.map(|limit| ProgressWatch {
            next_check_at: look_at(limit),
            busy_since: None,
            was_late: false,
        });
    }

    /// Updates the progress watch, and returns the kill reason of a stuck child. A standstill is no time that it took. The
    /// first check after one judges nothing, so that a handler gets what came meanwhile.
    pub(super) fn check_progress(
        &mut self,
        progress: ActorProgress,
        now: Duration,
        time_awake: Duration,
    ) -> Option<KillReason> {
        let limit = self.policy.stuck_after?;
        let watch = self.progress_watch.as_mut()?;
        let is_late = now.saturating_sub(watch.next_check_at) >= LATE_MIN;
        let was_late = std::mem::replace(&mut watch.was_late, is_late);
        let is_spared = is_late && !was_late;
        let interval = check_interval(limit);
        let interval = if is_spared { interval.min(DRAIN_TIME) } else { interval };
        watch.next_check_at = now.saturating_add(interval);
        watch.busy_since = match watch.busy_since {
            _ if !progress.is_busy => None,
            Some((step, since)) if step == progress.steps => Some((step, since)),
            _ => Some((progress.steps, time_awake)),
        };
        let (_, since) = watch.busy_since?;
        let is_stuck = time_awake.saturating_sub(since) >= limit && !is_spared;
        is_stuck.then_some(KillReason::Stuck)
    }
}

/// Returns a quarter of the limit, so that a stuck child is found at most that much late.
fn check_interval(limit: Duration) -> Duration {
    (limit / 4).max(Duration::from_millis(1))
}

/// Finds children by phase, so that no step scans all of them.
#[derive(Debug, Default)]
pub(super) struct ChildIndex {
    pub(super) live: BTreeSet<ChildId>,
    pub(super) waiting: BTreeSet<ChildId>,
    pub(super) starting: BTreeSet<ChildId>,
    /// The children that are stopped or killed within a time.
    pub(super) stopping: BTreeSet<ChildId>,
    pub(super) deadlines: BTreeSet<(Duration, ChildId)>,
}

impl ChildIndex {
    pub(super) fn insert(&mut self, id: ChildId, child: &ChildState) {
        if child.is_live() {
            self.live.insert(id);
        }
        match child.phase {
            ChildPhase::Waiting => drop(self.waiting.insert(id)),
            ChildPhase::Starting => drop(self.starting.insert(id)),
            _ => {}
        }
        if child.stop_deadline().is_some() {
            self.stopping.insert(id);
        }
        if let Some(at) = child.deadline() {
            self.deadlines.insert((at, id));
        }
    }

    pub(super) fn remove(&mut self, id: ChildId, child: &ChildState) {
        self.live.remove(&id);
        self.waiting.remove(&id);
        self.starting.remove(&id);
        self.stopping.remove(&id);
        if let Some(at) = child.deadline() {
            self.deadlines.remove(&(at, id));
        }
    }
}

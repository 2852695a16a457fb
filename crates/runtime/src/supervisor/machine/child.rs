//! One child in its present phase, and the index that finds children by it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::action::{ChildId, KillReason};
use crate::policy::{ChildHistory, ChildPolicy};

/// What a child is doing, as its supervisor's bookkeeping knows it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ChildPhase {
    /// It is to start when its turn comes: those before it come first.
    Waiting,
    Starting,
    Running,
    /// Its next incarnation is due.
    Restarting {
        due: Duration,
    },
    /// It was told to end.
    Stopping {
        then: AfterStop,
        deadline: StopDeadline,
    },
    /// It was killed because it is stuck.
    Killing {
        abandon_at: Option<Duration>,
    },
    Stopped,
    Failed,
}

/// What follows when a child that was told to stop has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterStop {
    StayStopped,
    Start,
    /// It takes its turn in the restart of its group.
    JoinGroupRestart,
    Deregister,
}

/// What is done about a child that does not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopDeadline {
    /// It may take its time.
    Never,
    /// It is killed at this time.
    KillAt(Duration),
    /// It has been killed, and is cut off at this time.
    AbandonAt(Duration),
}

/// What a look at a child's progress showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ActorProgress {
    /// Steps that it has completed.
    pub(crate) steps: u64,
    /// Whether it is in the middle of one.
    pub(crate) is_busy: bool,
}

/// When a child is looked at next, and what the last look showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ProgressWatch {
    pub(super) next_check_at: Duration,
    /// The step that it was in the middle of, and since when at least.
    pub(super) busy_since: Option<(u64, Duration)>,
}

#[derive(Debug)]
pub(super) struct ChildState {
    pub(super) policy: Arc<ChildPolicy>,
    pub(super) history: ChildHistory,
    pub(super) phase: ChildPhase,
    pub(super) progress_watch: Option<ProgressWatch>,
    /// Added while the supervisor ran, and never ready so far.
    pub(super) is_add_pending: bool,
    pub(super) has_been_ready: bool,
}

impl ChildState {
    /// Whether it has an incarnation.
    pub(super) fn is_live(&self) -> bool {
        matches!(
            self.phase,
            ChildPhase::Starting
                | ChildPhase::Running
                | ChildPhase::Stopping { .. }
                | ChildPhase::Killing { .. }
        )
    }

    /// Whether its supervisor means it to run, now or soon.
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

    /// When the supervisor has to do something about it.
    fn deadline(&self) -> Option<Duration> {
        match self.phase {
            ChildPhase::Restarting { due } => Some(due),
            ChildPhase::Stopping {
                deadline: StopDeadline::KillAt(at) | StopDeadline::AbandonAt(at), ..
            } => Some(at),
            ChildPhase::Killing { abandon_at: cut_off_at } => cut_off_at,
            ChildPhase::Starting | ChildPhase::Running => {
                self.progress_watch.map(|watch| watch.next_check_at)
            }
            ChildPhase::Waiting
            | ChildPhase::Stopping { deadline: StopDeadline::Never, .. }
            | ChildPhase::Stopped
            | ChildPhase::Failed => None,
        }
    }

    pub(super) fn abandon_at(&self, now: Duration) -> Duration {
        now.saturating_add(self.policy.kill_timeout)
    }

    /// Begins to be watched, if its policy sets a limit.
    pub(super) fn start_watch(&mut self, now: Duration) {
        let look_at = |limit| now.saturating_add(check_interval(limit));
        self.progress_watch = self
            .policy
            .stuck_after
            .map(|limit| ProgressWatch { next_check_at: look_at(limit), busy_since: None });
    }

    /// Notes what a look showed, and says whether the child is stuck.
    pub(super) fn check_progress(&mut self, progress: ActorProgress, now: Duration) -> Option<KillReason> {
        let limit = self.policy.stuck_after?;
        let watch = self.progress_watch.as_mut()?;
        watch.next_check_at = now.saturating_add(check_interval(limit));
        watch.busy_since = match watch.busy_since {
            _ if !progress.is_busy => None,
            Some((step, since)) if step == progress.steps => Some((step, since)),
            _ => Some((progress.steps, now)),
        };
        let (_, since) = watch.busy_since?;
        (now.saturating_sub(since) >= limit).then_some(KillReason::Stuck)
    }
}

/// Four looks within the limit find a stuck child at the latest a quarter of the limit late.
fn check_interval(limit: Duration) -> Duration {
    (limit / 4).max(Duration::from_millis(1))
}

/// Finds children by what they are doing, so that no step has to look at all of them.
#[derive(Debug, Default)]
pub(super) struct ChildIndex {
    pub(super) live: BTreeSet<ChildId>,
    pub(super) waiting: BTreeSet<ChildId>,
    pub(super) starting: BTreeSet<ChildId>,
    pub(super) deadlines: BTreeSet<(Duration, ChildId)>,
}

impl ChildIndex {
    pub(super) fn insert(&mut self, key: ChildId, member: &ChildState) {
        if member.is_live() {
            self.live.insert(key);
        }
        match member.phase {
            ChildPhase::Waiting => drop(self.waiting.insert(key)),
            ChildPhase::Starting => drop(self.starting.insert(key)),
            _ => {}
        }
        if let Some(at) = member.deadline() {
            self.deadlines.insert((at, key));
        }
    }

    pub(super) fn remove(&mut self, key: ChildId, member: &ChildState) {
        self.live.remove(&key);
        self.waiting.remove(&key);
        self.starting.remove(&key);
        if let Some(at) = member.deadline() {
            self.deadlines.remove(&(at, key));
        }
    }
}

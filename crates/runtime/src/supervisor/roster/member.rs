//! One child in its present phase, and the index that finds children by it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::action::{Key, Verdict};
use crate::policy::{ChildHistory, ChildPolicy};

/// What a child is doing, as its supervisor's bookkeeping knows it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Phase {
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
        then: Then,
        urge: Urge,
    },
    /// It was killed because it is stuck.
    Condemned {
        cut_off_at: Option<Duration>,
    },
    Stopped,
    Failed,
}

/// What follows when a child that was told to stop has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Rest,
    Launch,
    /// It takes its turn in the restart of its group.
    Wait,
    Forget,
}

/// What is done about a child that does not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urge {
    /// It may take its time.
    Never,
    /// It is killed at this time.
    KillAt(Duration),
    /// It has been killed, and is cut off at this time.
    CutOffAt(Duration),
}

/// What a look at a child's progress showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Steps that it has completed.
    pub(crate) steps: u64,
    /// Whether it is in the middle of one.
    pub(crate) is_busy: bool,
}

/// When a child is looked at next, and what the last look showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Watch {
    pub(super) look_at: Duration,
    /// The step that it was in the middle of, and since when at least.
    pub(super) busy_since: Option<(u64, Duration)>,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) policy: Arc<ChildPolicy>,
    pub(super) history: ChildHistory,
    pub(super) phase: Phase,
    pub(super) watch: Option<Watch>,
    /// Added while the supervisor ran, and never ready so far.
    pub(super) on_probation: bool,
    pub(super) ever_ready: bool,
}

impl Member {
    /// Whether it has an incarnation.
    pub(super) fn is_live(&self) -> bool {
        matches!(
            self.phase,
            Phase::Starting | Phase::Running | Phase::Stopping { .. } | Phase::Condemned { .. }
        )
    }

    /// Whether its supervisor means it to run, now or soon.
    pub(super) fn is_active(&self) -> bool {
        match self.phase {
            Phase::Waiting | Phase::Starting | Phase::Running => true,
            Phase::Restarting { .. } | Phase::Condemned { .. } => true,
            Phase::Stopping { then, .. } => matches!(then, Then::Launch | Then::Wait),
            Phase::Stopped | Phase::Failed => false,
        }
    }

    /// When the supervisor has to do something about it.
    fn alarm(&self) -> Option<Duration> {
        match self.phase {
            Phase::Restarting { due } => Some(due),
            Phase::Stopping { urge: Urge::KillAt(at) | Urge::CutOffAt(at), .. } => Some(at),
            Phase::Condemned { cut_off_at } => cut_off_at,
            Phase::Starting | Phase::Running => self.watch.map(|watch| watch.look_at),
            Phase::Waiting | Phase::Stopping { urge: Urge::Never, .. } | Phase::Stopped | Phase::Failed => {
                None
            }
        }
    }

    pub(super) fn cut_off_at(&self, now: Duration) -> Duration {
        now.saturating_add(self.policy.kill_timeout)
    }

    /// Begins to be watched, if its policy sets a limit.
    pub(super) fn watch_from(&mut self, now: Duration) {
        let look_at = |limit| now.saturating_add(interval(limit));
        self.watch = self.policy.stuck_after.map(|limit| Watch { look_at: look_at(limit), busy_since: None });
    }

    /// Notes what a look showed, and says whether the child is stuck.
    pub(super) fn note_progress(&mut self, progress: Progress, now: Duration) -> Option<Verdict> {
        let limit = self.policy.stuck_after?;
        let watch = self.watch.as_mut()?;
        watch.look_at = now.saturating_add(interval(limit));
        watch.busy_since = match watch.busy_since {
            _ if !progress.is_busy => None,
            Some((step, since)) if step == progress.steps => Some((step, since)),
            _ => Some((progress.steps, now)),
        };
        let (_, since) = watch.busy_since?;
        (now.saturating_sub(since) >= limit).then_some(Verdict::Stuck)
    }
}

/// Four looks within the limit find a stuck child at the latest a quarter of the limit late.
fn interval(limit: Duration) -> Duration {
    (limit / 4).max(Duration::from_millis(1))
}

/// Finds children by what they are doing, so that no step has to look at all of them.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) live: BTreeSet<Key>,
    pub(super) waiting: BTreeSet<Key>,
    pub(super) starting: BTreeSet<Key>,
    pub(super) alarms: BTreeSet<(Duration, Key)>,
}

impl Index {
    pub(super) fn enter(&mut self, key: Key, member: &Member) {
        if member.is_live() {
            self.live.insert(key);
        }
        match member.phase {
            Phase::Waiting => drop(self.waiting.insert(key)),
            Phase::Starting => drop(self.starting.insert(key)),
            _ => {}
        }
        if let Some(at) = member.alarm() {
            self.alarms.insert((at, key));
        }
    }

    pub(super) fn leave(&mut self, key: Key, member: &Member) {
        self.live.remove(&key);
        self.waiting.remove(&key);
        self.starting.remove(&key);
        if let Some(at) = member.alarm() {
            self.alarms.remove(&(at, key));
        }
    }
}

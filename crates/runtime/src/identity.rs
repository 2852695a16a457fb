//! The identity of an actor, which is the same in all incarnations.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

use crate::clock::WallTime;
use crate::journal::Timeline;
use crate::path::ActorPath;
use crate::policy::{ChildHistory, ChildPolicy};
use crate::standstill::RunningSince;

/// The status of an actor, as its supervisor knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum ActorStatus {
    /// The incarnation is being started, or has deferred its readiness.
    Starting,
    /// The incarnation is ready.
    Running,
    /// The incarnation is being stopped.
    Stopping,
    /// The incarnation has ended, and the next one is due.
    Restarting,
    /// The actor was stopped, or ended by itself.
    Stopped,
    /// The restart budget is spent, or no restart can heal the last error; only a command starts the actor again.
    Failed,
}

/// The kind of an actor: supervisor or worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// An actor with children.
    Supervisor,
    /// An actor without children.
    Worker,
}

/// A snapshot of an actor for introspection. Its times are either durations since the start of the runtime, or wall times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS), ts(concrete(T = WallTime)))]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub struct ActorInfo<T = Duration> {
    /// The status.
    pub status: ActorStatus,
    /// The time of the last change of status.
    pub since: T,
    /// The present or last incarnation; 0 before the first.
    pub generation: u64,
    /// Restarts since the actor was added or reset.
    pub restarts: u64,
    /// The time at which the next incarnation is due, while the actor is restarting.
    pub restart_at: Option<T>,
    /// Restarts since it was last stable, added or reset.
    #[serde(default)]
    pub attempts: u32,
    /// Restarts that are left in the budget; `None` where the budget has no limit. A failed actor has none left,
    /// whatever its budget would grant by now.
    pub budget_left: Option<u32>,
    /// The error of the last incarnation, if it did not end in order.
    pub last_error: Option<String>,
    /// The time of that error.
    #[serde(default)]
    pub last_error_at: Option<T>,
    /// The next step for a person, where no restart can heal that error. A program that shows the tree may add its own.
    #[serde(default)]
    pub next_step: Option<String>,
    /// Incarnations that were abandoned and still have not ended.
    #[serde(default)]
    pub abandoned: u32,
}

impl ActorInfo {
    /// Returns the same with wall times, by the clock as it was then.
    #[must_use]
    pub fn dated(self, timeline: &Timeline) -> ActorInfo<WallTime> {
        let wall_time = |at| WallTime(timeline.wall_time(at));
        ActorInfo {
            since: wall_time(self.since),
            restart_at: self.restart_at.map(wall_time),
            last_error_at: self.last_error_at.map(wall_time),
            status: self.status,
            generation: self.generation,
            restarts: self.restarts,
            attempts: self.attempts,
            budget_left: self.budget_left,
            last_error: self.last_error,
            next_step: self.next_step,
            abandoned: self.abandoned,
        }
    }
}

/// The state of a child, which its supervisor keeps up to date.
#[derive(Debug)]
pub(crate) struct SlotState {
    pub(crate) status: ActorStatus,
    pub(crate) since: Duration,
    pub(crate) generation: u64,
    pub(crate) restarts: u64,
    pub(crate) restart_due: Option<Duration>,
    pub(crate) ready_since: Option<RunningSince>,
    /// True if the present incarnation reports itself when it is ready, and has not yet.
    pub(crate) is_readiness_deferred: bool,
    pub(crate) history: ChildHistory,
    pub(crate) last_error: Option<String>,
    pub(crate) last_error_at: Option<Duration>,
    pub(crate) next_step: Option<String>,
    pub(crate) abandoned: u32,
}

impl SlotState {
    /// Changes the status and the time of its change.
    pub(crate) fn set_status(&mut self, status: ActorStatus, now: Duration) {
        if self.status != status {
            self.status = status;
            self.since = now;
        }
        self.restart_due = None;
    }
}

/// The part of a slot that is readable without a message.
#[derive(Debug)]
pub(crate) struct ActorIdentity {
    name: Box<str>,
    kind: ActorKind,
    policy: Arc<ChildPolicy>,
    persistent: bool,
    path: OnceLock<ActorPath>,
    state: Mutex<SlotState>,
}

impl ActorIdentity {
    pub(crate) fn new(name: &str, kind: ActorKind, policy: Arc<ChildPolicy>, persistent: bool) -> Self {
        let state = SlotState {
            status: ActorStatus::Starting,
            since: Duration::ZERO,
            generation: 0,
            restarts: 0,
            restart_due: None,
            ready_since: None,
            is_readiness_deferred: false,
            history: ChildHistory::default(),
            last_error: None,
            last_error_at: None,
            next_step: None,
            abandoned: 0,
        };
        Self { name: name.into(), kind, policy, persistent, path: OnceLock::new(), state: Mutex::new(state) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn kind(&self) -> ActorKind {
        self.kind
    }

    pub(crate) fn policy(&self) -> &Arc<ChildPolicy> {
        &self.policy
    }

    /// Returns whether a restart of the supervisor keeps this child.
    pub(crate) fn is_persistent(&self) -> bool {
        self.persistent
    }

    pub(crate) fn path(&self) -> Option<&ActorPath> {
        self.path.get()
    }

    /// Assigns the actor's path. The first one stays; false if there was one.
    pub(crate) fn assign_path(&self, path: ActorPath) -> bool {
        self.path.set(path).is_ok()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock()
    }

    pub(crate) fn info(&self, now: Duration) -> ActorInfo {
        let state = self.state();
        let ready_since =
            state.ready_since.as_ref().map(|since| since.at.saturating_add(since.stood_still(now)));
        ActorInfo {
            status: state.status,
            since: state.since,
            generation: state.generation,
            restarts: state.restarts,
            restart_at: state.restart_due,
            attempts: state.history.attempts(),
            budget_left: match state.status {
                ActorStatus::Failed => Some(0),
                _ => state.history.budget_left(&self.policy, ready_since, now),
            },
            last_error: state.last_error.clone(),
            last_error_at: state.last_error_at,
            next_step: state.next_step.clone(),
            abandoned: state.abandoned,
        }
    }
}

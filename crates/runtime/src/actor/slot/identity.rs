//! Who an actor is, whichever incarnation it is in.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

use crate::path::ActorPath;
use crate::policy::{ChildHistory, ChildPolicy};

/// What an actor is doing, as its supervisor knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorStatus {
    /// Its incarnation is being started.
    Starting,
    /// Its incarnation is ready.
    Running,
    /// Its incarnation is being stopped.
    Stopping,
    /// Its incarnation has ended, and the next one is due.
    Restarting,
    /// It was stopped, or ended of itself.
    Stopped,
    /// Its budget is spent; only a reset brings it back.
    Failed,
}

/// Whether an actor supervises others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// It has children.
    Supervisor,
    /// It has none.
    Worker,
}

/// What introspection says of an actor at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActorInfo {
    /// What it is doing.
    pub status: ActorStatus,
    /// Since when, counted from the start of the runtime.
    pub since: Duration,
    /// Its present or last incarnation; 0 before the first.
    pub generation: u64,
    /// Restarts since it was taken in or reset.
    pub restarts: u64,
    /// When its next incarnation is due, while it is restarting.
    pub restart_due: Option<Duration>,
    /// Restarts that its budget still grants; `None` where it grants any number.
    pub budget_left: Option<u32>,
    /// Why its last incarnation ended, if that was not in order.
    pub last_error: Option<String>,
    /// When that was, counted from the start of the runtime.
    #[serde(default)]
    pub last_error_at: Option<Duration>,
    /// Incarnations that were killed, did not end and were abandoned, and still have not ended.
    #[serde(default)]
    pub abandoned: u32,
}

/// What a supervisor keeps up to date about a child.
#[derive(Debug)]
pub(crate) struct SlotState {
    pub(crate) status: ActorStatus,
    pub(crate) since: Duration,
    pub(crate) generation: u64,
    pub(crate) restarts: u64,
    pub(crate) restart_due: Option<Duration>,
    pub(crate) ready_since: Option<Duration>,
    pub(crate) history: ChildHistory,
    pub(crate) last_error: Option<String>,
    pub(crate) last_error_at: Option<Duration>,
    pub(crate) abandoned: u32,
}

impl SlotState {
    /// Changes the status, and since when it holds.
    pub(crate) fn set_status(&mut self, status: ActorStatus, now: Duration) {
        if self.status != status {
            self.status = status;
            self.since = now;
        }
        self.restart_due = None;
    }
}

/// The part of a slot that everyone may look at.
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
    pub(crate) fn new(name: &str, kind: ActorKind, policy: Arc<ChildPolicy>, lasting: bool) -> Self {
        let standing = SlotState {
            status: ActorStatus::Starting,
            since: Duration::ZERO,
            generation: 0,
            restarts: 0,
            restart_due: None,
            ready_since: None,
            history: ChildHistory::default(),
            last_error: None,
            last_error_at: None,
            abandoned: 0,
        };
        Self {
            name: name.into(),
            kind,
            policy,
            persistent: lasting,
            path: OnceLock::new(),
            state: Mutex::new(standing),
        }
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

    /// Whether it comes back with a supervisor that it was added to.
    pub(crate) fn is_persistent(&self) -> bool {
        self.persistent
    }

    pub(crate) fn path(&self) -> Option<&ActorPath> {
        self.path.get()
    }

    /// Gives the actor its place. The first one stays; false if there was one.
    pub(crate) fn assign_path(&self, path: ActorPath) -> bool {
        self.path.set(path).is_ok()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock()
    }

    pub(crate) fn info(&self, now: Duration) -> ActorInfo {
        let standing = self.state();
        ActorInfo {
            status: standing.status,
            since: standing.since,
            generation: standing.generation,
            restarts: standing.restarts,
            restart_due: standing.restart_due,
            budget_left: standing.history.budget_left(&self.policy, standing.ready_since, now),
            last_error: standing.last_error.clone(),
            last_error_at: standing.last_error_at,
            abandoned: standing.abandoned,
        }
    }
}

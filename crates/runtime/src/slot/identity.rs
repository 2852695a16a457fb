//! Who an actor is, whichever incarnation it is in.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::path::ActorPath;
use crate::policy::{ChildHistory, ChildPolicy};

/// What an actor is doing, as its supervisor knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
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
pub enum Kind {
    /// It has children.
    Supervisor,
    /// It has none.
    Worker,
}

/// What introspection says of an actor at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vitals {
    /// What it is doing.
    pub status: Status,
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
pub(crate) struct Standing {
    pub(crate) status: Status,
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

impl Standing {
    /// Changes the status, and since when it holds.
    pub(crate) fn become_status(&mut self, status: Status, now: Duration) {
        if self.status != status {
            self.status = status;
            self.since = now;
        }
        self.restart_due = None;
    }
}

/// The part of a slot that everyone may look at.
#[derive(Debug)]
pub(crate) struct Identity {
    name: Box<str>,
    kind: Kind,
    policy: Arc<ChildPolicy>,
    lasting: bool,
    path: OnceLock<ActorPath>,
    standing: Mutex<Standing>,
}

impl Identity {
    pub(crate) fn new(name: &str, kind: Kind, policy: Arc<ChildPolicy>, lasting: bool) -> Self {
        let standing = Standing {
            status: Status::Starting,
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
            lasting,
            path: OnceLock::new(),
            standing: Mutex::new(standing),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn policy(&self) -> &Arc<ChildPolicy> {
        &self.policy
    }

    /// Whether it comes back with a supervisor that it was added to.
    pub(crate) fn is_lasting(&self) -> bool {
        self.lasting
    }

    pub(crate) fn path(&self) -> Option<&ActorPath> {
        self.path.get()
    }

    /// Gives the actor its place. The first one stays; false if there was one.
    pub(crate) fn place(&self, path: ActorPath) -> bool {
        self.path.set(path).is_ok()
    }

    pub(crate) fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn vitals(&self, now: Duration) -> Vitals {
        let standing = self.standing();
        Vitals {
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

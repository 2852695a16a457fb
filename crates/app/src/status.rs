//! The state of a runtime in one view, as `mainstay status --json` prints it.

use mainstay_actors::agent::{AgentStatus, ProcessUsage};
use mainstay_actors::cache::CacheStats;
use mainstay_actors::connection::status::ConnectionState;
use mainstay_actors::error::{Error, Reason};
use mainstay_actors::queue::QueueStats;
use mainstay_runtime::journal::Cursor;
use serde::{Deserialize, Serialize};

/// The state of a runtime in one view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// The runtime itself.
    pub runtime: RuntimeReport,
    /// The WebSocket.
    pub connection: ConnectionReport,
    /// The requests.
    pub queue: QueueReport,
    /// The cache.
    pub cache: CacheReport,
    /// The agents, in the order in which they were added.
    pub agents: Vec<AgentView>,
}

/// The runtime itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeReport {
    /// The number of this run: 1, 2, 3 … per data folder.
    pub run: u64,
    /// The random id of this run. It differs in every run of every data folder.
    pub boot: String,
    /// The process.
    pub pid: u32,
    /// How long it has been running.
    pub uptime_ms: u64,
    /// The number of the newest event within the run. `RUN.SEQ` is its cursor.
    pub seq: u64,
}

impl RuntimeReport {
    /// Returns the cursor of the newest event.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor::new(self.run, self.seq)
    }
}

/// The requests. All times are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueReport {
    /// How many wait and run.
    #[serde(flatten)]
    pub stats: QueueStats,
    /// Why all of them wait, while the backend cannot be reached.
    pub held: Option<OutageReport>,
}

/// The cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheReport {
    /// How it is doing.
    #[serde(flatten)]
    pub stats: CacheStats,
    /// The folders of `cache.watch`.
    #[serde(default)]
    pub folders: Vec<WatchedFolder>,
}

/// A folder of `cache.watch`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchedFolder {
    /// Its path, as it was named.
    pub path: String,
    /// Whether it is watched at the moment, and what is read in it is kept; the journal says why not.
    pub is_watched: bool,
}

/// Why requests are held: the backend cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutageReport {
    /// Since when.
    pub since: String,
    /// What keeps them.
    pub reason: Reason,
    /// The same for a person.
    pub message: String,
    /// How many trials have failed.
    pub failures: u32,
    /// When the next one may go out.
    pub next_probe_at: String,
    /// How long until then.
    pub next_probe_in_ms: u64,
}

/// The WebSocket. All times are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionReport {
    /// Its state.
    pub state: ConnectionState,
    /// Since when.
    pub since: String,
    /// The attempt under way or next; connected: the one that succeeded.
    pub attempt: u32,
    /// How many attempts may fail in a row.
    pub max: u32,
    /// When the next attempt begins, if one is planned.
    pub next_attempt_at: Option<String>,
    /// How long until then.
    pub next_attempt_in_ms: Option<u64>,
    /// The last thing that went wrong, for a person.
    pub last_error: Option<String>,
    /// The same as a whole error.
    #[serde(default)]
    pub error: Option<Error>,
    /// When that was.
    #[serde(default)]
    pub last_error_at: Option<String>,
}

/// One agent. All times are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentView {
    /// Its id.
    pub id: String,
    /// How it is reached.
    pub driver: String,
    /// Its state.
    pub status: AgentStatus,
    /// Since when.
    pub since: String,
    /// Whether its restarts are used up: it stays as it is until somebody resets it.
    #[serde(default)]
    pub gave_up: bool,
    /// The incarnation of its actor.
    pub generation: u64,
    /// How often it has been restarted.
    pub restarts: u64,
    /// Restarts that are left before it is given up; `None` where there is no limit.
    pub budget_left: Option<u32>,
    /// How many there are in all, and how they are earned back; `None` where there is no limit.
    #[serde(default)]
    pub budget: Option<AgentBudget>,
    /// When it is restarted next, if that is planned.
    pub restart_at: Option<String>,
    /// What is wrong, while something is.
    pub last_error: Option<String>,
    /// The same as a whole error.
    #[serde(default)]
    pub error: Option<Error>,
    /// Why it was last restarted, once that is over.
    #[serde(default)]
    pub resolved_error: Option<ResolvedError>,
    /// Checks missed in a row.
    pub misses: u32,
    /// How many of them fail it, while it is not at work.
    #[serde(default)]
    pub fail_after: u32,
    /// When it was last checked.
    pub last_check: Option<String>,
    /// Seconds since it was started, as it says.
    pub uptime_s: Option<f64>,
    /// Its errors so far, as it says.
    pub error_count: Option<u64>,
    /// When the state was read that it would be given back.
    pub state_saved_at: Option<String>,
    /// Its process, if it has one of its own here.
    #[serde(default)]
    pub process: Option<ProcessUsage>,
    /// How many letters wait to be handed to it.
    #[serde(default)]
    pub messages_waiting: usize,
    /// How many letters it is at work on.
    #[serde(default)]
    pub messages_in_flight: usize,
    /// What happens next, in plain words.
    pub next_step: String,
}

/// What was wrong with an agent, and is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedError {
    /// When it ended the agent, or had it ended.
    pub at: String,
    /// What it was, for a log.
    pub message: String,
}

/// How often an agent may be restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentBudget {
    /// Restarts within `window_ms`.
    pub max: u32,
    /// For how long a restart counts.
    pub window_ms: u64,
    /// An agent that has been up for this long has all of them back.
    pub stable_after_ms: u64,
}

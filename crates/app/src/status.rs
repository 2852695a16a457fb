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
    /// The time since the start, in milliseconds.
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
    /// The numbers of requests that wait and run.
    #[serde(flatten)]
    pub stats: QueueStats,
    /// The outage for which all requests wait, while the backend cannot be reached.
    pub held: Option<OutageReport>,
}

/// The cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheReport {
    /// The counters.
    #[serde(flatten)]
    pub stats: CacheStats,
    /// The folders of `cache.watch`.
    #[serde(default)]
    pub folders: Vec<WatchedFolder>,
}

/// A folder of `cache.watch`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchedFolder {
    /// The path as configured.
    pub path: String,
    /// True while it is watched, and its files and searches are kept; else the journal has the reason.
    pub is_watched: bool,
}

/// The outage for which requests are held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutageReport {
    /// Since when.
    pub since: String,
    /// The reason.
    pub reason: Reason,
    /// The same for a person.
    pub message: String,
    /// The number of failed probes.
    pub failures: u32,
    /// The time of the next probe.
    pub next_probe_at: String,
    /// The time until then, in milliseconds.
    pub next_probe_in_ms: u64,
}

/// The WebSocket. All times are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionReport {
    /// The state.
    pub state: ConnectionState,
    /// Since when.
    pub since: String,
    /// The running or next attempt; if connected, the one that succeeded.
    pub attempt: u32,
    /// The most failures in a row.
    pub max: u32,
    /// The time of the next attempt, if one is planned.
    pub next_attempt_at: Option<String>,
    /// The time until then, in milliseconds.
    pub next_attempt_in_ms: Option<u64>,
    /// The message of the last error, for a person.
    pub last_error: Option<String>,
    /// The same as a whole error.
    #[serde(default)]
    pub error: Option<Error>,
    /// The time of that error.
    #[serde(default)]
    pub last_error_at: Option<String>,
}

/// The view of one agent. All times are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentView {
    /// The id.
    pub id: String,
    /// The name of its driver.
    pub driver: String,
    /// The state.
    pub status: AgentStatus,
    /// Since when.
    pub since: String,
    /// True once its restarts are used up: it stays failed until a reset.
    #[serde(default)]
    pub gave_up: bool,
    /// The incarnation of its actor.
    pub generation: u64,
    /// The number of restarts.
    pub restarts: u64,
    /// Restarts that are left before it is given up; `None` where there is no limit.
    pub budget_left: Option<u32>,
    /// The whole budget; `None` if there is no limit.
    #[serde(default)]
    pub budget: Option<AgentBudget>,
    /// The time of the next restart, if one is planned.
    pub restart_at: Option<String>,
    /// The current problem, if there is one.
    pub last_error: Option<String>,
    /// The same as a whole error.
    #[serde(default)]
    pub error: Option<Error>,
    /// The reason of the last restart, once it is resolved.
    #[serde(default)]
    pub resolved_error: Option<ResolvedError>,
    /// Checks missed in a row.
    pub misses: u32,
    /// The number of misses in a row that fails it while it is idle.
    #[serde(default)]
    pub fail_after: u32,
    /// The time of the last check.
    pub last_check: Option<String>,
    /// The seconds since its start, by its own report.
    pub uptime_s: Option<f64>,
    /// The number of its errors so far, by its own report.
    pub error_count: Option<u64>,
    /// The time at which its state was read; a restart restores that state.
    pub state_saved_at: Option<String>,
    /// The agent's process, if it has one here.
    #[serde(default)]
    pub process: Option<ProcessUsage>,
    /// The number of messages that wait for delivery.
    #[serde(default)]
    pub messages_waiting: usize,
    /// The number of messages in flight.
    #[serde(default)]
    pub messages_in_flight: usize,
    /// The next step in plain words.
    pub next_step: String,
}

/// A problem of an agent that is resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedError {
    /// The time at which it ended the agent.
    pub at: String,
    /// The problem, as a text for a log.
    pub message: String,
}

/// The limits of an agent's restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentBudget {
    /// Restarts within `window_ms`.
    pub max: u32,
    /// The time for which a restart counts, in milliseconds.
    pub window_ms: u64,
    /// The time of health after which the budget is full again, in milliseconds.
    pub stable_after_ms: u64,
}

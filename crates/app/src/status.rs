//! The state of a runtime in one view, as `mainstay status --json` prints it.

use mainstay_actors::agent::AgentReport;
#[cfg(test)]
use mainstay_actors::agent::{AgentStatus, MessageId, OpenQuestion};
use mainstay_actors::cache::CacheStats;
use mainstay_actors::connection::status::ConnectionState;
use mainstay_actors::error::{Error, Reason};
use mainstay_actors::json::Json;
use mainstay_actors::queue::{QueueStats, RequestLatency};
use mainstay_runtime::clock::WallTime;
use mainstay_runtime::journal::Cursor;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::owned_backend::OwnedBackendReport;
#[cfg(test)]
use crate::supervision_report::RestartBudget;
use crate::supervision_report::{ResolvedError, SupervisionReport};
use crate::verdict::Verdict;

/// The state of a runtime in one view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct StatusReport {
    /// The state in one sentence, with the command that helps.
    #[serde(default)]
    pub verdict: Verdict,
    /// The runtime itself.
    pub runtime: RuntimeReport,
    /// The backend's own process, if the runtime starts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub backend: Option<OwnedBackendReport>,
    /// The WebSocket.
    pub connection: ConnectionReport,
    /// The requests.
    pub queue: QueueReport,
    /// The cache.
    pub cache: CacheReport,
    /// The agents, in the order in which they were added.
    pub agents: Vec<AgentView>,
    /// The files that the runtime keeps.
    #[serde(default)]
    pub storage: StorageReport,
}

/// The files that the runtime keeps. Each is `ok`, or says why what is written to it is not safe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct StorageReport {
    /// The journal.
    pub journal: StorageState,
    /// The states of the actors.
    pub state: StorageState,
    /// The logs of programs.
    #[serde(default)]
    pub logs: StorageState,
}

/// The state of a file: `ok`, or the reason why it is degraded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS), ts(type = "string"))]
#[serde(from = "String", into = "String")]
pub enum StorageState {
    /// The file takes what is written.
    #[default]
    Ok,
    /// The file does not, for this reason. What is written meanwhile waits in memory.
    Degraded(String),
}

impl From<Option<String>> for StorageState {
    fn from(reason: Option<String>) -> Self {
        reason.map_or(Self::Ok, Self::Degraded)
    }
}

impl From<String> for StorageState {
    fn from(text: String) -> Self {
        if text == "ok" { Self::Ok } else { Self::Degraded(text) }
    }
}

impl From<StorageState> for String {
    fn from(state: StorageState) -> Self {
        match state {
            StorageState::Ok => "ok".to_owned(),
            StorageState::Degraded(reason) => reason,
        }
    }
}

/// The runtime itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct RuntimeReport {
    /// The number of this run: 1, 2, 3 … per data folder.
    pub run: u64,
    /// The random id of this run. It differs in every run of every data folder.
    pub boot: String,
    /// The process.
    pub pid: u32,
    /// The time since the start, in milliseconds.
    pub uptime_ms: u64,
    /// The time since which it is being stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional = nullable))]
    pub stopping_since: Option<WallTime>,
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

/// The requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct QueueReport {
    /// The numbers of requests that wait and run.
    #[serde(flatten)]
    pub stats: QueueStats,
    /// The durations of requests.
    #[serde(default)]
    pub latency: RequestLatency,
    /// The outage for which all requests wait, while the backend cannot be reached.
    pub held: Option<OutageReport>,
}

/// The cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
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
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct WatchedFolder {
    /// The path as configured.
    pub path: String,
    /// True while it is watched, and its files and searches are kept; else the journal has the reason.
    pub is_watched: bool,
}

/// The outage for which requests are held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct OutageReport {
    /// Since when.
    pub since: WallTime,
    /// The reason.
    pub reason: Reason,
    /// The same for a person.
    pub message: String,
    /// True while the backend that the runtime starts is not ready. Nothing is sent then, and `message` says what comes
    /// next.
    #[serde(default)]
    pub waits_for_backend: bool,
    /// The number of failed probes.
    pub failures: u32,
    /// The time of the next probe; none if the next request to come is one at once, or waits
    /// for the backend.
    pub next_probe_at: Option<WallTime>,
    /// The time until then, in milliseconds.
    pub next_probe_in_ms: Option<u64>,
}

/// The WebSocket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct ConnectionReport {
    /// The state.
    pub state: ConnectionState,
    /// Since when.
    pub since: WallTime,
    /// The running or next attempt; if connected, the one that succeeded.
    pub attempt: u32,
    /// The most failures in a row.
    pub max: u32,
    /// The time of the next attempt, if one is planned.
    pub next_attempt_at: Option<WallTime>,
    /// The time until then, in milliseconds.
    pub next_attempt_in_ms: Option<u64>,
    /// The next step in plain words.
    #[serde(default)]
    pub next_step: String,
    /// The message of the last error, for a person.
    pub last_error: Option<String>,
    /// The same as a whole error.
    #[serde(default)]
    pub error: Option<Error>,
    /// The time of that error.
    #[serde(default)]
    pub last_error_at: Option<WallTime>,
}

/// The view of one agent: its own report, and what its supervisor knows.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct AgentView {
    /// The report. While the agent's actor is down, the supervisor gives its status.
    #[serde(flatten)]
    pub report: AgentReport,
    /// The facts that its supervisor knows.
    #[serde(flatten)]
    pub supervision: SupervisionReport,
    /// The current problem for a person, if there is one.
    pub last_error: Option<String>,
    /// The reason of the last restart, once it is resolved.
    pub resolved_error: Option<ResolvedError>,
    /// The number of misses in a row that fails it while it is idle.
    pub fail_after: u32,
    /// The next step in plain words.
    pub next_step: String,
    /// True while its process prints so much that its log leaves lines out.
    pub noisy: bool,
    /// The last lines of its process, or of the one before it: at most 20. A longer traceback at the end has its first
    /// lines before them. Empty in lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "typescript", ts(optional = nullable))]
    pub output: Vec<String>,
    /// True if these lines are of a process that has ended.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(feature = "typescript", ts(optional = nullable))]
    pub output_is_old: bool,
}

impl<'de> Deserialize<'de> for AgentView {
    /// Reads each part from the text: serde would read a flattened one as a tree, which changes an agent's question.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct ViewMembers {
            last_error: Option<String>,
            #[serde(default)]
            resolved_error: Option<ResolvedError>,
            #[serde(default)]
            fail_after: u32,
            next_step: String,
            #[serde(default)]
            noisy: bool,
            #[serde(default)]
            output: Vec<String>,
            #[serde(default)]
            output_is_old: bool,
        }
        let text = Json::deserialize(deserializer)?;
        let read = || {
            let members: ViewMembers = text.read()?;
            Ok(Self {
                report: text.read()?,
                supervision: text.read()?,
                last_error: members.last_error,
                resolved_error: members.resolved_error,
                fail_after: members.fail_after,
                next_step: members.next_step,
                noisy: members.noisy,
                output: members.output,
                output_is_old: members.output_is_old,
            })
        };
        read().map_err(|error: serde_json::Error| D::Error::custom(error))
    }
}

#[cfg(test)]
impl AgentView {
    /// Returns a healthy agent that is working on a message.
    pub(crate) fn example() -> Self {
        let time = |text: &str| WallTime(text.parse().unwrap());
        Self {
            report: AgentReport {
                id: "planner".to_owned(),
                driver: "http".to_owned(),
                status: AgentStatus::Healthy,
                since: time("2026-03-01T11:57:00Z"),
                misses: 0,
                last_check: Some(time("2026-03-01T11:59:47.5Z")),
                error: None,
                uptime_s: Some(7300.0),
                error_count: Some(0),
                state_saved_at: Some(time("2026-03-01T11:59:47.7Z")),
                process: None,
                suspended: false,
                messages_waiting: 0,
                messages_in_flight: 1,
                questions: Vec::new(),
            },
            supervision: SupervisionReport {
                gave_up: false,
                unrecoverable: false,
                generation: 1,
                restarts: 0,
                budget_left: Some(5),
                budget: Some(RestartBudget { max: 5, window_ms: 600_000, stable_after_ms: 60_000 }),
                attempt: None,
                restart_at: None,
            },
            last_error: None,
            resolved_error: None,
            fail_after: 3,
            next_step: "checked regularly".to_owned(),
            noisy: false,
            output: Vec::new(),
            output_is_old: false,
        }
    }

    /// Returns a question of that agent.
    pub(crate) fn example_question() -> OpenQuestion {
        OpenQuestion {
            ask: "a1".to_owned(),
            message_id: Some(MessageId(7)),
            since: WallTime("2026-03-01T11:58:00Z".parse().unwrap()),
            body: serde_json::json!("May I?").into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn agent_view_json_is_one_flat_object() {
        let view = AgentView::example();
        let json = serde_json::to_string_pretty(&view).unwrap();
        expect![[r#"
            {
              "id": "planner",
              "driver": "http",
              "status": "healthy",
              "since": "2026-03-01T11:57:00.000Z",
              "misses": 0,
              "last_check": "2026-03-01T11:59:47.500Z",
              "error": null,
              "uptime_s": 7300.0,
              "error_count": 0,
              "state_saved_at": "2026-03-01T11:59:47.700Z",
              "process": null,
              "messages_waiting": 0,
              "messages_in_flight": 1,
              "questions": [],
              "gave_up": false,
              "generation": 1,
              "restarts": 0,
              "budget_left": 5,
              "budget": {
                "max": 5,
                "window_ms": 600000,
                "stable_after_ms": 60000
              },
              "restart_at": null,
              "last_error": null,
              "resolved_error": null,
              "fail_after": 3,
              "next_step": "checked regularly",
              "noisy": false
            }"#]]
        .assert_eq(&json);
        assert_eq!(serde_json::from_str::<AgentView>(&json).unwrap(), view);
    }

    #[test]
    fn agent_view_keeps_a_question_as_written() {
        let deep = "[".repeat(127) + &"]".repeat(127);
        for body in [r#"{"b":18446744073709551616,"a":[1e999,-0.0],"b":1.0}"#, &deep] {
            let mut view = AgentView::example();
            let body = Json::parse(body).unwrap();
            view.report.questions = vec![OpenQuestion { body, ..AgentView::example_question() }];
            let json = serde_json::to_string(&view).unwrap();
            assert_eq!(serde_json::from_str::<AgentView>(&json).unwrap(), view);
        }
    }
}

//! The facts that a verdict is made from.

use mainstay_actors::agent::{AgentReport, AgentStatus};
use mainstay_actors::connection::error::status_without_websocket;
use mainstay_actors::connection::status::ConnectionState;
use mainstay_runtime::clock::WallTime;
use mainstay_runtime::{ActorKind, ActorStatus, TreeNode};

use crate::owned_backend::OwnedBackendReport;
use crate::status::{AgentView, StatusReport, StorageState};
use crate::supervision_report::{RestartAttempt, SupervisionReport};
use crate::tree_place::BACKEND_NAME;

/// The file without which nothing is explained.
pub(super) const JOURNAL: &str = "journal";

/// The facts that a verdict is made from: of now, or of an earlier moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct VerdictFacts {
    /// The stop of the runtime, while it goes on.
    pub(crate) stopping: Option<StoppingFacts>,
    /// The files that do not take what is written: the part, and the reason. The journal comes first.
    pub(crate) storage: Vec<(&'static str, String)>,
    /// The backend's own process, if the runtime starts it.
    pub(crate) backend: Option<ChildFacts>,
    /// The connection, unless it is well.
    pub(crate) connection: Option<ConnectionFacts>,
    /// The outage for which requests are held.
    pub(crate) outage: Option<OutageFacts>,
    /// The requests that wait.
    pub(crate) requests_waiting: usize,
    /// The agents.
    pub(crate) agents: Vec<ChildFacts>,
    /// The questions of agents: the agent and the question's id.
    pub(crate) questions: Vec<(String, String)>,
    /// The folders that are not watched.
    pub(crate) unwatched: Vec<String>,
}

/// The facts of a runtime that is being stopped.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoppingFacts {
    pub(crate) since: WallTime,
    /// The names of the workers that were asked to end and have not.
    pub(crate) stopping: Vec<String>,
}

/// The facts of the backend's own process, or of an agent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChildFacts {
    pub(crate) name: String,
    pub(crate) state: ChildCondition,
    pub(crate) since: WallTime,
    pub(crate) restart_at: Option<WallTime>,
    pub(crate) attempt: Option<RestartAttempt>,
    /// True if it is given up because no restart can help.
    pub(crate) is_unrecoverable: bool,
    /// The sign that the backend waits for while it starts, and the last line that it has printed.
    pub(crate) awaits: Option<String>,
    pub(crate) last_line: Option<String>,
}

/// The state of a child, as far as a verdict needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChildCondition {
    Well,
    Starting,
    Unwell,
    Unknown,
    Suspended,
    Restarting,
    GivenUp,
    Stopped,
}

/// The facts of a connection that is not open.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConnectionFacts {
    pub(crate) state: ConnectionState,
    pub(crate) since: WallTime,
    pub(crate) attempt: u32,
    pub(crate) max: u32,
    pub(crate) next_attempt_at: Option<WallTime>,
    /// The HTTP status of the last answer, if it was that of a server without a WebSocket.
    pub(crate) status_without_websocket: Option<u16>,
}

/// The facts of an outage.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OutageFacts {
    pub(crate) since: WallTime,
    pub(crate) next_probe_at: Option<WallTime>,
}

impl VerdictFacts {
    /// Takes the facts of a status.
    pub(crate) fn of_status(status: &StatusReport) -> Self {
        let storage = &status.storage;
        let parts = [(JOURNAL, &storage.journal), ("state", &storage.state), ("logs", &storage.logs)];
        let degraded = parts.into_iter().filter_map(|(part, state)| match state {
            StorageState::Ok => None,
            StorageState::Degraded(reason) => Some((part, reason.clone())),
        });
        let link = &status.connection;
        let connection = ConnectionFacts {
            state: link.state,
            since: link.since,
            attempt: link.attempt,
            max: link.max,
            next_attempt_at: link.next_attempt_at,
            status_without_websocket: link.error.as_ref().and_then(status_without_websocket),
        };
        let questions = status.agents.iter().flat_map(|agent| {
            let report = &agent.report;
            report.questions.iter().map(|question| (report.id.clone(), question.ask.clone()))
        });
        let folders = status.cache.folders.iter().filter(|folder| !folder.is_watched);
        Self {
            stopping: None,
            storage: degraded.collect(),
            backend: status.backend.as_ref().map(ChildFacts::of_backend),
            connection: Some(connection),
            outage: status
                .queue
                .held
                .as_ref()
                .map(|held| OutageFacts { since: held.since, next_probe_at: held.next_probe_at }),
            requests_waiting: status.queue.stats.waiting,
            agents: status.agents.iter().map(ChildFacts::of_agent).collect(),
            questions: questions.collect(),
            unwatched: folders.map(|folder| folder.path.clone()).collect(),
        }
    }
}

impl StoppingFacts {
    /// Takes the facts of a stop that began at `since`.
    pub(crate) fn of_tree(since: WallTime, root: &TreeNode) -> Self {
        let mut stopping = Vec::new();
        add_running(root, &mut stopping);
        Self { since, stopping }
    }
}

fn add_running(node: &TreeNode, names: &mut Vec<String>) {
    if node.kind == ActorKind::Worker && node.info.status == ActorStatus::Stopping {
        names.push(node.path.rsplit('/').next().unwrap_or(&node.path).to_owned());
    }
    node.children.iter().for_each(|child| add_running(child, names));
}

impl ChildFacts {
    fn of_backend(backend: &OwnedBackendReport) -> Self {
        let state = match backend.status {
            _ if backend.suspended_since.is_some() => ChildCondition::Suspended,
            ActorStatus::Starting if backend.supervision.restarts > 0 => ChildCondition::Restarting,
            ActorStatus::Starting => ChildCondition::Starting,
            ActorStatus::Running => ChildCondition::Well,
            ActorStatus::Restarting => ChildCondition::Restarting,
            ActorStatus::Stopping | ActorStatus::Stopped => ChildCondition::Stopped,
            ActorStatus::Failed => ChildCondition::GivenUp,
        };
        let since = backend.suspended_since.unwrap_or(backend.since);
        Self {
            awaits: backend.awaits.clone(),
            last_line: backend.last_line.clone(),
            ..Self::new(BACKEND_NAME, state, since, &backend.supervision)
        }
    }

    fn of_agent(agent: &AgentView) -> Self {
        let AgentReport { id, status, since, suspended, .. } = &agent.report;
        let state = match status {
            AgentStatus::Failed if agent.supervision.gave_up => ChildCondition::GivenUp,
            AgentStatus::Degraded if *suspended => ChildCondition::Suspended,
            AgentStatus::Degraded => ChildCondition::Unwell,
            AgentStatus::Failed | AgentStatus::Restarting => ChildCondition::Restarting,
            AgentStatus::Starting if agent.supervision.restarts > 0 => ChildCondition::Restarting,
            AgentStatus::Starting => ChildCondition::Starting,
            AgentStatus::Stopped => ChildCondition::Stopped,
            AgentStatus::Healthy => ChildCondition::Well,
            AgentStatus::Unknown => ChildCondition::Unknown,
        };
        Self::new(id, state, *since, &agent.supervision)
    }

    fn new(name: &str, state: ChildCondition, since: WallTime, supervision: &SupervisionReport) -> Self {
        let SupervisionReport { attempt, unrecoverable, restart_at, .. } = supervision;
        Self {
            name: name.to_owned(),
            state,
            since,
            restart_at: *restart_at,
            attempt: *attempt,
            is_unrecoverable: *unrecoverable,
            awaits: None,
            last_line: None,
        }
    }
}

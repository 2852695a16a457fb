//! The states at one moment.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_actors::agent::AgentStatus;
use mainstay_actors::connection::status::ConnectionState;
use mainstay_runtime::clock::WallTime;
use mainstay_runtime::journal::Cursor;
use serde::{Deserialize, Serialize};

use super::step::{HistoryState, HistoryStep, StateChange};
use crate::supervision_report::RestartAttempt;
use crate::tree_place::{AGENTS_NAME, BACKEND_NAME, ROOT_NAME};
use crate::verdict::{ChildCondition, ChildFacts, ConnectionFacts, OutageFacts, Verdict, VerdictFacts};

/// The tree at one moment, and the verdict about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct HistoryMoment {
    /// The moment.
    pub at: WallTime,
    /// The last event before it, or at it; none if the journal begins later.
    pub cursor: Option<Cursor>,
    /// The verdict; none if no runtime was running.
    pub verdict: Option<Verdict>,
    /// The tree; none if no runtime was running.
    pub tree: Option<HistoryNode>,
}

/// An actor at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct HistoryNode {
    /// The path.
    pub path: String,
    /// The last part of the path.
    pub name: String,
    /// The state.
    pub state: HistoryState,
    /// The event with which the state began.
    pub since: WallTime,
    /// The incarnation.
    pub generation: u64,
    /// The restarts since the start of the run.
    pub restarts: u64,
    /// The last restart within its budget; none if a command has restarted it since.
    pub attempt: Option<RestartAttempt>,
    /// The time of the restart that is due.
    pub restart_at: Option<WallTime>,
    /// The end of the last incarnation, unless it was asked to end.
    pub last_error: Option<String>,
    /// The children, by their names.
    pub children: Vec<HistoryNode>,
}

/// The states at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct States {
    pub(super) is_running: bool,
    pub(super) cursor: Option<Cursor>,
    /// The actors, each at the place of its path in the log's list; `None` before its first event of the run.
    pub(super) actors: Vec<Option<ActorState>>,
    connection: Option<ConnectionFacts>,
    outage: Option<OutageFacts>,
    requests_waiting: usize,
}

/// The state of one actor.
#[derive(Debug, Clone)]
pub(super) struct ActorState {
    state: HistoryState,
    health: Option<AgentStatus>,
    is_suspended: bool,
    is_unconnected: bool,
    since: Timestamp,
    generation: u64,
    restarts: u64,
    attempt: Option<RestartAttempt>,
    is_unrecoverable: bool,
    restart_at: Option<WallTime>,
    last_error: Option<Arc<str>>,
}

impl ActorState {
    fn new(at: Timestamp) -> Self {
        Self {
            state: HistoryState::Starting,
            health: None,
            is_suspended: false,
            is_unconnected: false,
            since: at,
            generation: 0,
            restarts: 0,
            attempt: None,
            is_unrecoverable: false,
            restart_at: None,
            last_error: None,
        }
    }

    /// Returns the state with what its health and its connection make of it.
    pub(super) fn shown(&self) -> HistoryState {
        match (self.state, self.health) {
            (HistoryState::Up, _) if self.is_suspended || self.is_unconnected => HistoryState::Degraded,
            (HistoryState::Up, Some(AgentStatus::Starting)) => HistoryState::Starting,
            (HistoryState::Up, Some(AgentStatus::Degraded | AgentStatus::Failed | AgentStatus::Unknown)) => {
                HistoryState::Degraded
            }
            (state, _) => state,
        }
    }

    fn apply(&mut self, step: &HistoryStep) {
        match &step.change {
            StateChange::Starting => {
                self.state = HistoryState::Starting;
                self.restart_at = None;
                self.restarts += u64::from(self.generation > 0 && step.generation > self.generation);
                self.generation = step.generation;
            }
            StateChange::Ready => (self.state, self.generation) = (HistoryState::Up, step.generation),
            StateChange::Exited { was_asked, error } => {
                self.state = if *was_asked { HistoryState::Stopped } else { HistoryState::Down };
                self.health = None;
                self.is_suspended = false;
                self.last_error = (!was_asked).then(|| Arc::clone(error));
                // A restart by command is not counted.
                self.attempt = self.attempt.filter(|_| !was_asked);
            }
            StateChange::Restarting { at, attempt } => {
                (self.state, self.restart_at, self.attempt) = (HistoryState::Restarting, Some(*at), *attempt);
            }
            StateChange::GivenUp { is_unrecoverable } => {
                (self.state, self.restart_at) = (HistoryState::GivenUp, None);
                self.is_unrecoverable = *is_unrecoverable;
            }
            StateChange::Left => (self.state, self.restart_at) = (HistoryState::Stopped, None),
            StateChange::BudgetReset => self.attempt = None,
            StateChange::Health(status) => self.health = Some(*status),
            StateChange::Suspended(is_suspended) => self.is_suspended = *is_suspended,
            StateChange::Connection { state, .. } => {
                self.is_unconnected =
                    matches!(state, ConnectionState::Reconnecting | ConnectionState::Failed);
            }
            StateChange::RunStarted
            | StateChange::RunEnded
            | StateChange::Held { .. }
            | StateChange::Released => {}
        }
    }

    fn facts(&self, name: &str) -> ChildFacts {
        let condition = match self.shown() {
            HistoryState::Degraded if self.is_suspended => ChildCondition::Suspended,
            HistoryState::Degraded if self.health == Some(AgentStatus::Unknown) => ChildCondition::Unknown,
            HistoryState::Degraded => ChildCondition::Unwell,
            HistoryState::Starting if self.restarts > 0 => ChildCondition::Restarting,
            HistoryState::Starting => ChildCondition::Starting,
            HistoryState::Up => ChildCondition::Well,
            HistoryState::Down | HistoryState::Restarting => ChildCondition::Restarting,
            HistoryState::GivenUp => ChildCondition::GivenUp,
            HistoryState::Stopped => ChildCondition::Stopped,
        };
        ChildFacts {
            name: name.to_owned(),
            state: condition,
            since: WallTime(self.since),
            restart_at: self.restart_at,
            attempt: self.attempt,
            is_unrecoverable: self.is_unrecoverable,
            awaits: None,
            last_line: None,
        }
    }
}

impl States {
    /// Carries a change out.
    pub(super) fn apply(&mut self, step: &HistoryStep) {
        if self.cursor.is_none_or(|cursor| cursor.run != step.cursor.run) {
            *self = Self { is_running: true, ..Self::default() };
        }
        self.cursor = Some(step.cursor);
        match &step.change {
            StateChange::RunEnded => *self = Self { cursor: self.cursor, ..Self::default() },
            StateChange::Connection { state, attempt, max, next_attempt_at, status_without_websocket } => {
                self.connection = Some(ConnectionFacts {
                    state: *state,
                    since: self
                        .connection
                        .as_ref()
                        .filter(|link| link.state == *state)
                        .map_or(WallTime(step.at), |link| link.since),
                    attempt: *attempt,
                    max: *max,
                    next_attempt_at: *next_attempt_at,
                    status_without_websocket: *status_without_websocket,
                });
            }
            StateChange::Held { waiting } => {
                let since = self.outage.as_ref().map_or(WallTime(step.at), |outage| outage.since);
                self.outage = Some(OutageFacts { since, next_probe_at: None });
                self.requests_waiting = *waiting;
            }
            StateChange::Released => (self.outage, self.requests_waiting) = (None, 0),
            _ => {}
        }
        if matches!(step.change, StateChange::RunStarted | StateChange::RunEnded) {
            return;
        }
        let index = step.actor as usize;
        if self.actors.len() <= index {
            self.actors.resize(index + 1, None);
        }
        let Some(place) = self.actors.get_mut(index) else { return };
        let before = place.as_ref().map(ActorState::shown);
        let actor = place.get_or_insert_with(|| ActorState::new(step.at));
        actor.apply(step);
        if before != Some(actor.shown()) {
            actor.since = step.at;
        }
    }

    /// Returns the tree and the verdict as of `at`. `paths` has the path of each actor.
    pub(super) fn moment(&self, at: Timestamp, zone: &TimeZone, paths: &[Arc<str>]) -> HistoryMoment {
        HistoryMoment {
            at: WallTime(at),
            cursor: self.cursor,
            verdict: self.is_running.then(|| Verdict::of(&self.facts(paths), at, zone)),
            tree: if self.is_running { self.tree(paths) } else { None },
        }
    }

    fn present<'s>(&'s self, paths: &'s [Arc<str>]) -> impl Iterator<Item = (&'s str, &'s ActorState)> {
        let actors = paths.iter().zip(&self.actors);
        actors.filter_map(|(path, actor)| Some((&**path, actor.as_ref()?)))
    }

    fn facts(&self, paths: &[Arc<str>]) -> VerdictFacts {
        let mut facts = VerdictFacts {
            connection: self.connection.clone(),
            outage: self.outage.clone(),
            requests_waiting: self.requests_waiting,
            ..VerdictFacts::default()
        };
        for (path, actor) in self.present(paths) {
            match path.split('/').collect::<Vec<_>>()[..] {
                [ROOT_NAME, AGENTS_NAME, id] => facts.agents.push(actor.facts(id)),
                [ROOT_NAME, BACKEND_NAME] => facts.backend = Some(actor.facts(BACKEND_NAME)),
                _ => {}
            }
        }
        facts
    }

    fn tree(&self, paths: &[Arc<str>]) -> Option<HistoryNode> {
        let mut nodes: Vec<HistoryNode> =
            self.present(paths).map(|(path, actor)| node(path, actor)).collect();
        // A parent comes before its children, and siblings come in the order of their names.
        nodes.sort_by(|a, b| a.path.split('/').cmp(b.path.split('/')));
        let mut nodes = nodes.into_iter().peekable();
        let mut root = nodes.next()?;
        adopt(&mut root, &mut nodes);
        Some(root)
    }
}

fn node(path: &str, actor: &ActorState) -> HistoryNode {
    HistoryNode {
        path: path.to_owned(),
        name: path.rsplit('/').next().unwrap_or(path).to_owned(),
        state: actor.shown(),
        since: WallTime(actor.since),
        generation: actor.generation,
        restarts: actor.restarts,
        attempt: actor.attempt,
        restart_at: actor.restart_at,
        last_error: actor.last_error.as_deref().map(str::to_owned),
        children: Vec::new(),
    }
}

/// Moves the nodes below `parent` into it.
fn adopt(parent: &mut HistoryNode, nodes: &mut std::iter::Peekable<std::vec::IntoIter<HistoryNode>>) {
    let below = format!("{}/", parent.path);
    while let Some(mut child) = nodes.next_if(|node| node.path.starts_with(&below)) {
        adopt(&mut child, nodes);
        parent.children.push(child);
    }
}

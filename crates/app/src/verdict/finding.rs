//! Finds the worst of what is not well.

use mainstay_actors::connection::status::ConnectionState;

use super::facts::{ChildCondition, ChildFacts, ConnectionFacts, JOURNAL, StoppingFacts, VerdictFacts};
use super::{Finding, VerdictAction, VerdictLevel};
use crate::tree_place::BACKEND_NAME;

/// The names that a verdict lists. The others are counted.
const NAMES_MAX: usize = 3;

/// Returns the worst of what is not well: the first of these that there is.
pub(super) fn find(facts: &VerdictFacts) -> Finding {
    let VerdictFacts { backend, connection, agents, .. } = facts;
    let backend_in = |state| backend.as_ref().filter(|backend| backend.state == state);
    let connection_in =
        |state| connection.as_ref().filter(|link| link.state == state).map(ConnectionFacts::finding);
    let failed = connection_in(ConnectionState::Failed);
    // Requests and agents may work without a WebSocket, so what concerns them comes first.
    let (lacks_websocket, failed) = match failed {
        Some(Finding::NoWebsocket { .. }) => (failed, None),
        failed => (None, failed),
    };
    let children = || backend.iter().chain(agents);
    let given_up = ListedNames::of(children(), ChildCondition::GivenUp).map(ListedNames::given_up);
    let outage = facts.outage.as_ref().map(|outage| Finding::BackendAway {
        since: outage.since,
        next_probe_at: outage.next_probe_at,
        is_connection_enabled: connection
            .as_ref()
            .is_some_and(|link| link.state != ConnectionState::Disabled),
    });
    let suspended_agent = agents.iter().find(|agent| agent.state == ChildCondition::Suspended);
    [
        facts.stopping.as_ref().map(StoppingFacts::finding),
        facts.storage_fault(|part| part == JOURNAL),
        given_up,
        backend_in(ChildCondition::Suspended).map(ChildFacts::suspended),
        restarting(backend.iter()),
        starting(backend.iter()),
        ListedNames::of(backend.iter(), ChildCondition::Stopped).map(ListedNames::stopped),
        outage,
        failed,
        restarting(agents.iter()),
        suspended_agent.map(ChildFacts::suspended),
        ListedNames::of(agents.iter(), ChildCondition::Unwell).map(ListedNames::unwell),
        connection_in(ConnectionState::Reconnecting),
        lacks_websocket,
        ListedNames::of(agents.iter(), ChildCondition::Unknown).map(ListedNames::unknown),
        facts.storage_fault(|part| part != JOURNAL),
        facts.unwatched.first().map(|path| Finding::Unwatched { path: path.clone() }),
        facts.question(),
        ListedNames::of(agents.iter(), ChildCondition::Stopped).map(ListedNames::stopped),
        connection_in(ConnectionState::Disconnected),
        starting(agents.iter()),
    ]
    .into_iter()
    .flatten()
    .next()
    .unwrap_or(Finding::Well {})
}

/// The first names of several, and the number of the others.
struct ListedNames {
    first: Vec<String>,
    more: usize,
}

impl ListedNames {
    /// Returns the names of the children in a state, if there are any.
    fn of<'c>(children: impl Iterator<Item = &'c ChildFacts>, state: ChildCondition) -> Option<Self> {
        let of_state = children.filter(|child| child.state == state);
        let names = Self::of_names(of_state.map(|child| child.name.as_str()));
        (!names.first.is_empty()).then_some(names)
    }

    fn of_names<'c>(mut names: impl Iterator<Item = &'c str>) -> Self {
        let first = names.by_ref().take(NAMES_MAX).map(str::to_owned).collect();
        Self { first, more: names.count() }
    }

    fn given_up(self) -> Finding {
        Finding::GivenUp { names: self.first, more: self.more }
    }

    fn unwell(self) -> Finding {
        Finding::Unwell { names: self.first, more: self.more }
    }

    fn unknown(self) -> Finding {
        Finding::Unknown { names: self.first, more: self.more }
    }

    fn stopped(self) -> Finding {
        Finding::Stopped { names: self.first, more: self.more }
    }
}

/// Returns the restart that is due next.
fn restarting<'c>(children: impl Iterator<Item = &'c ChildFacts>) -> Option<Finding> {
    let restarting: Vec<_> = children.filter(|child| child.state == ChildCondition::Restarting).collect();
    let next = restarting.iter().min_by_key(|child| child.restart_at.map(|at| at.0))?;
    Some(Finding::Restarting {
        name: next.name.clone(),
        at: next.restart_at,
        attempt: next.attempt,
        more: restarting.len() - 1,
    })
}

fn starting<'c>(children: impl Iterator<Item = &'c ChildFacts> + Clone) -> Option<Finding> {
    let names = ListedNames::of(children.clone(), ChildCondition::Starting)?;
    let first = children.into_iter().find(|child| child.state == ChildCondition::Starting)?;
    Some(Finding::Starting {
        names: names.first,
        more: names.more,
        since: first.since,
        awaits: first.awaits.clone(),
        last_line: first.last_line.clone(),
    })
}

impl VerdictFacts {
    fn storage_fault(&self, is_part: impl Fn(&str) -> bool) -> Option<Finding> {
        let (part, message) = self.storage.iter().find(|(part, _)| is_part(part))?;
        Some(Finding::Storage { part: (*part).to_owned(), message: message.clone() })
    }

    /// Returns whether no restart can help the first of these that are given up.
    fn is_unrecoverable(&self, names: &[String]) -> bool {
        let mut children = self.backend.iter().chain(&self.agents);
        let first = names.first().and_then(|name| children.find(|child| child.name == *name));
        first.is_some_and(|child| child.is_unrecoverable)
    }

    fn question(&self) -> Option<Finding> {
        let (name, ask) = self.questions.first()?;
        Some(Finding::Asks { name: name.clone(), ask: ask.clone(), more: self.questions.len() - 1 })
    }
}

impl StoppingFacts {
    fn finding(&self) -> Finding {
        let names = ListedNames::of_names(self.stopping.iter().map(String::as_str));
        Finding::Stopping { since: self.since, names: names.first, more: names.more }
    }
}

impl ChildFacts {
    fn suspended(&self) -> Finding {
        Finding::Suspended { name: self.name.clone(), since: self.since }
    }
}

impl ConnectionFacts {
    fn finding(&self) -> Finding {
        let Self { state, since, attempt, max, next_attempt_at, status_without_websocket } = *self;
        match (state, status_without_websocket) {
            (ConnectionState::Disconnected, _) => Finding::Disconnected { since },
            (ConnectionState::Failed, Some(status)) => Finding::NoWebsocket { since, status },
            _ => Finding::Unconnected {
                since,
                attempt,
                max,
                next_attempt_at,
                has_failed: state == ConnectionState::Failed,
            },
        }
    }
}

impl Finding {
    pub(super) fn level(&self) -> VerdictLevel {
        match self {
            Self::Well {} => VerdictLevel::Ok,
            Self::Storage { .. } | Self::GivenUp { .. } | Self::Unconnected { has_failed: true, .. } => {
                VerdictLevel::Error
            }
            Self::Suspended { .. }
            | Self::Restarting { .. }
            | Self::BackendAway { .. }
            | Self::Unconnected { .. }
            | Self::NoWebsocket { .. }
            | Self::Unwell { .. }
            | Self::Unknown { .. }
            | Self::Unwatched { .. } => VerdictLevel::Warning,
            Self::Stopping { .. }
            | Self::Starting { .. }
            | Self::Asks { .. }
            | Self::Stopped { .. }
            | Self::Disconnected { .. } => VerdictLevel::Notice,
        }
    }

    /// Returns whether requests wait because of it.
    pub(super) fn holds_requests(&self) -> bool {
        let is_backend = |name: &String| name == BACKEND_NAME;
        match self {
            Self::BackendAway { .. } => true,
            Self::GivenUp { names, .. } | Self::Starting { names, .. } | Self::Stopped { names, .. } => {
                names.first().is_some_and(is_backend)
            }
            Self::Suspended { name, .. } | Self::Restarting { name, .. } => is_backend(name),
            _ => false,
        }
    }

    /// Returns the command that helps, if one does: as the next step of the child has it.
    pub(super) fn action(&self, facts: &VerdictFacts) -> Option<VerdictAction> {
        let agent = |names: &[String]| names.first().filter(|name| *name != BACKEND_NAME).cloned();
        match self {
            Self::GivenUp { names, .. } => Some(match (agent(names), facts.is_unrecoverable(names)) {
                (Some(id), false) => VerdictAction::ResetAgent { id },
                (Some(id), true) => VerdictAction::StartAgent { id },
                (None, false) => VerdictAction::ResetBackend {},
                (None, true) => VerdictAction::StartBackend {},
            }),
            Self::Stopped { names, .. } => Some(match agent(names) {
                Some(id) => VerdictAction::StartAgent { id },
                None => VerdictAction::StartBackend {},
            }),
            Self::Restarting { name, at: Some(_), .. } => Some(match agent(std::slice::from_ref(name)) {
                Some(id) => VerdictAction::RestartAgent { id },
                None => VerdictAction::RestartBackend {},
            }),
            // An attempt over a connection that is switched off is none.
            Self::BackendAway { is_connection_enabled: false, .. } => None,
            Self::BackendAway { .. } | Self::Unconnected { .. } | Self::Disconnected { .. } => {
                Some(VerdictAction::Reconnect {})
            }
            Self::Asks { name, ask, .. } => {
                Some(VerdictAction::AnswerAgent { id: name.clone(), ask: ask.clone() })
            }
            _ => None,
        }
    }
}

//! The conditions that an event begins and ends, and the subjects that it is about. Pure.

use mainstay_actors::agent::AgentStatus;
use mainstay_actors::connection::status::ConnectionState;
use mainstay_actors::error::Code;
use mainstay_runtime::journal::{Level, Record};
use mainstay_runtime::policy::ExitCause;

use crate::events::{
    self, ActorExited, ActorReady, ActorRestarted, AgentHealth, BackendResumed, BackendSuspended,
    ConnectionChanged, Decided, DecisionKind, Escalated, Event, GaveUp, OutputNoisy, OutputQuiet,
    ProcessExited, QueueHeld, QueueReleased, RequestFailed, RequestRetry, RequestTimedOut, RuntimeStopped,
    RuntimeStopping, StartOrdered, WatchLost, WatchRegained,
};

/// Something that is wrong for some time. An incident is open while it has one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Condition {
    /// The actor is down, and a decision about it is due or carried out.
    Down(String),
    /// The actor is given up.
    GivenUp(String),
    /// The agent is degraded or has failed.
    Unhealthy(String),
    /// The process of the actor is suspended.
    Suspended(String),
    /// The actor's program prints more than its log takes.
    Noisy(String),
    /// The connection is lost.
    Unconnected,
    /// The queue holds requests.
    Held,
    /// The folder is not watched.
    Unwatched(String),
    /// The runtime is stopping.
    Stopping,
}

/// A subject of an event. Events about the same subject belong together while the incident is open.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// The actor.
    Actor(String),
    /// The backend, as far as anything reaches it.
    Backend,
    /// The folder.
    Folder(String),
}

/// The meaning of one event for incidents.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// The conditions that hold from now on.
    pub(super) begins: Vec<Condition>,
    /// The conditions that hold no longer.
    pub(super) ends: Vec<Condition>,
    /// The subjects, the closest first.
    pub(super) subjects: Vec<Subject>,
    /// The actors whose next events belong to the same incident.
    pub(super) involves: Vec<String>,
    /// True if it begins an incident where no open one is about its subjects.
    pub(super) is_incident: bool,
}

/// The path of the backend's own process.
const BACKEND: &str = "root/backend";

/// Reads an event. One that concerns no incident has no subjects.
pub(super) fn read(record: &Record) -> Reading {
    let mut reading = read_supervision(record)
        .or_else(|| read_link(record))
        .or_else(|| read_program(record))
        .or_else(|| read_folder(record))
        .unwrap_or_else(|| read_other(record));
    if record.actor == BACKEND && !reading.subjects.is_empty() {
        reading.subjects.push(Subject::Backend);
    }
    reading
}

impl Reading {
    /// Begins these conditions, and an incident if none about the actor of `record` is open.
    fn begin(record: &Record, begins: impl Into<Vec<Condition>>) -> Self {
        let subjects = vec![Subject::Actor(record.actor.clone())];
        Self { begins: begins.into(), subjects, is_incident: true, ..Self::default() }
    }

    /// Ends these conditions of an incident about the actor of `record`.
    fn end(record: &Record, ends: impl Into<Vec<Condition>>) -> Self {
        Self { ends: ends.into(), subjects: vec![Subject::Actor(record.actor.clone())], ..Self::default() }
    }

    /// Makes it an event of an incident about the backend, if one is open.
    fn of_backend(mut self) -> Self {
        self.subjects.push(Subject::Backend);
        self
    }
}

/// Reads what supervisors record.
fn read_supervision(record: &Record) -> Option<Reading> {
    let actor = || record.actor.clone();
    Some(match record.kind.as_str() {
        RuntimeStopping::KIND => Reading::begin(record, [Condition::Stopping]),
        RuntimeStopped::KIND => Reading { is_incident: true, ..Reading::end(record, [Condition::Stopping]) },
        ActorExited::KIND => match record.event::<ActorExited>() {
            Some(ActorExited { cause: ExitCause::Normal | ExitCause::Shutdown, .. }) => {
                Reading::begin(record, [])
            }
            _ => Reading::begin(record, [Condition::Down(actor())]),
        },
        ActorReady::KIND => Reading::end(record, [Condition::Down(actor()), Condition::GivenUp(actor())]),
        ActorRestarted::KIND => Reading::end(record, []),
        GaveUp::KIND => Reading {
            ends: vec![Condition::Down(actor())],
            ..Reading::begin(record, [Condition::GivenUp(actor())])
        },
        StartOrdered::KIND => Reading::end(record, []),
        Escalated::KIND => Reading { involves: vec![actor()], ..Reading::begin(record, []) },
        Decided::KIND => read_decision(record),
        _ => return None,
    })
}

fn read_decision(record: &Record) -> Reading {
    let mut reading = Reading::begin(record, []);
    let Some(decided) = record.event::<Decided>() else { return reading };
    reading.involves = decided.scope.iter().map(ToString::to_string).collect();
    let actor = || record.actor.clone();
    match decided.decision {
        DecisionKind::Restart => return reading,
        DecisionKind::Leave => {}
        DecisionKind::GiveUp => reading.begins.push(Condition::GivenUp(actor())),
        DecisionKind::Escalate | DecisionKind::ShutDown => {
            if let Some((parent, _)) = record.actor.rsplit_once('/') {
                reading.begins.push(Condition::Down(parent.to_owned()));
                reading.involves.push(parent.to_owned());
            }
        }
    }
    reading.ends.push(Condition::Down(actor()));
    reading
}

/// Reads what the connection and the queue record of the backend.
fn read_link(record: &Record) -> Option<Reading> {
    Some(match record.kind.as_str() {
        ConnectionChanged::KIND => match record.event::<ConnectionChanged>()?.to {
            ConnectionState::Reconnecting | ConnectionState::Failed => {
                Reading::begin(record, [Condition::Unconnected]).of_backend()
            }
            ConnectionState::Connecting => Reading::end(record, []).of_backend(),
            ConnectionState::Connected | ConnectionState::Disconnected | ConnectionState::Disabled => {
                Reading::end(record, [Condition::Unconnected]).of_backend()
            }
        },
        QueueHeld::KIND if record.event::<QueueHeld>()?.is_orderly_start => Reading::default(),
        QueueHeld::KIND => Reading::begin(record, [Condition::Held]).of_backend(),
        QueueReleased::KIND => Reading::end(record, [Condition::Held]).of_backend(),
        RequestRetry::KIND => Reading::end(record, []).of_backend(),
        RequestFailed::KIND | RequestTimedOut::KIND => Reading::begin(record, []).of_backend(),
        _ => return None,
    })
}

/// Reads what is recorded of agents and of programs.
fn read_program(record: &Record) -> Option<Reading> {
    let actor = || record.actor.clone();
    Some(match record.kind.as_str() {
        AgentHealth::KIND => read_health(record, &record.event()?),
        ProcessExited::KIND if record.event::<ProcessExited>()?.was_requested => Reading::end(record, []),
        ProcessExited::KIND => Reading::begin(record, []),
        BackendSuspended::KIND => Reading::begin(record, [Condition::Suspended(actor())]),
        BackendResumed::KIND => Reading::end(record, [Condition::Suspended(actor())]),
        OutputNoisy::KIND => Reading::begin(record, [Condition::Noisy(actor())]),
        OutputQuiet::KIND => Reading::end(record, [Condition::Noisy(actor())]),
        _ => return None,
    })
}

fn read_health(record: &Record, health: &AgentHealth) -> Reading {
    let condition = Condition::Unhealthy(record.actor.clone());
    match health.to {
        AgentStatus::Degraded | AgentStatus::Failed => {
            let is_network = health.error.as_ref().is_some_and(|error| error.code == Code::NetworkError);
            let reading = Reading::begin(record, [condition]);
            if is_network { reading.of_backend() } else { reading }
        }
        AgentStatus::Unknown => Reading::end(record, []).of_backend(),
        AgentStatus::Starting | AgentStatus::Restarting => Reading::end(record, []),
        AgentStatus::Healthy => Reading::end(record, [condition]),
        AgentStatus::Stopped => Reading::end(record, [condition, Condition::Down(record.actor.clone())]),
    }
}

/// Reads what is recorded of watched folders.
fn read_folder(record: &Record) -> Option<Reading> {
    let (root, is_lost) = match record.kind.as_str() {
        WatchLost::KIND => (record.event::<WatchLost>()?.root, true),
        WatchRegained::KIND => (record.event::<WatchRegained>()?.root, false),
        _ => return None,
    };
    let condition = Condition::Unwatched(root.clone());
    let (begins, ends) = if is_lost { (vec![condition], vec![]) } else { (vec![], vec![condition]) };
    let subjects = vec![Subject::Folder(root)];
    Some(Reading { begins, ends, subjects, is_incident: is_lost, ..Reading::default() })
}

/// Reads any other event: a warning or an error is an incident of its own, unless one about its actor is open.
fn read_other(record: &Record) -> Reading {
    let (level, _) = events::read(record);
    if matches!(level, Level::Warn | Level::Error) {
        return Reading::begin(record, []);
    }
    match record.kind.as_str() {
        events::ActorStarted::KIND
        | events::Redelivered::KIND
        | events::MessageRedelivered::KIND
        | events::BudgetReset::KIND
        | events::AgentOutdated::KIND
        | events::BackendStarting::KIND
        | events::BackendStarted::KIND
        | events::StateLoaded::KIND
        | events::AbandonedEnded::KIND
        | events::RunInterrupted::KIND => {
            let mut reading = Reading::end(record, []);
            reading.is_incident = record.kind == events::RunInterrupted::KIND;
            reading
        }
        _ => Reading::default(),
    }
}

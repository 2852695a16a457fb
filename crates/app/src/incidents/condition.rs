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
pub(super) struct EventEffect {
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
pub(super) fn read(record: &Record) -> EventEffect {
    let mut effect = read_supervision(record)
        .or_else(|| read_link(record))
        .or_else(|| read_program(record))
        .or_else(|| read_folder(record))
        .unwrap_or_else(|| read_other(record));
    if record.actor == BACKEND && !effect.subjects.is_empty() {
        effect.subjects.push(Subject::Backend);
    }
    effect
}

impl EventEffect {
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
fn read_supervision(record: &Record) -> Option<EventEffect> {
    let actor = || record.actor.clone();
    Some(match record.kind.as_str() {
        RuntimeStopping::KIND => EventEffect::begin(record, [Condition::Stopping]),
        RuntimeStopped::KIND => {
            EventEffect { is_incident: true, ..EventEffect::end(record, [Condition::Stopping]) }
        }
        ActorExited::KIND => match record.event::<ActorExited>() {
            Some(ActorExited { cause: ExitCause::Normal | ExitCause::Shutdown, .. }) => {
                EventEffect::begin(record, [])
            }
            _ => EventEffect::begin(record, [Condition::Down(actor())]),
        },
        ActorReady::KIND => EventEffect::end(record, [Condition::Down(actor()), Condition::GivenUp(actor())]),
        ActorRestarted::KIND => EventEffect::end(record, []),
        GaveUp::KIND => EventEffect {
            ends: vec![Condition::Down(actor())],
            ..EventEffect::begin(record, [Condition::GivenUp(actor())])
        },
        StartOrdered::KIND => EventEffect::end(record, []),
        Escalated::KIND => EventEffect { involves: vec![actor()], ..EventEffect::begin(record, []) },
        Decided::KIND => read_decision(record),
        _ => return None,
    })
}

fn read_decision(record: &Record) -> EventEffect {
    let mut effect = EventEffect::begin(record, []);
    let Some(decided) = record.event::<Decided>() else { return effect };
    effect.involves = decided.scope.iter().map(ToString::to_string).collect();
    let actor = || record.actor.clone();
    match decided.decision {
        DecisionKind::Restart => return effect,
        DecisionKind::Leave => {}
        DecisionKind::GiveUp => effect.begins.push(Condition::GivenUp(actor())),
        DecisionKind::Escalate | DecisionKind::ShutDown => {
            if let Some((parent, _)) = record.actor.rsplit_once('/') {
                effect.begins.push(Condition::Down(parent.to_owned()));
                effect.involves.push(parent.to_owned());
            }
        }
    }
    effect.ends.push(Condition::Down(actor()));
    effect
}

/// Reads what the connection and the queue record of the backend.
fn read_link(record: &Record) -> Option<EventEffect> {
    Some(match record.kind.as_str() {
        ConnectionChanged::KIND => match record.event::<ConnectionChanged>()?.to {
            ConnectionState::Reconnecting | ConnectionState::Failed => {
                EventEffect::begin(record, [Condition::Unconnected]).of_backend()
            }
            ConnectionState::Connecting => EventEffect::end(record, []).of_backend(),
            ConnectionState::Connected | ConnectionState::Disconnected | ConnectionState::Disabled => {
                EventEffect::end(record, [Condition::Unconnected]).of_backend()
            }
        },
        QueueHeld::KIND if record.event::<QueueHeld>()?.is_orderly_start => EventEffect::default(),
        QueueHeld::KIND => EventEffect::begin(record, [Condition::Held]).of_backend(),
        QueueReleased::KIND => EventEffect::end(record, [Condition::Held]).of_backend(),
        RequestRetry::KIND => EventEffect::end(record, []).of_backend(),
        RequestFailed::KIND | RequestTimedOut::KIND => EventEffect::begin(record, []).of_backend(),
        _ => return None,
    })
}

/// Reads what is recorded of agents and of programs.
fn read_program(record: &Record) -> Option<EventEffect> {
    let actor = || record.actor.clone();
    Some(match record.kind.as_str() {
        AgentHealth::KIND => read_health(record, &record.event()?),
        ProcessExited::KIND if record.event::<ProcessExited>()?.was_requested => EventEffect::end(record, []),
        ProcessExited::KIND => EventEffect::begin(record, []),
        BackendSuspended::KIND => EventEffect::begin(record, [Condition::Suspended(actor())]),
        BackendResumed::KIND => EventEffect::end(record, [Condition::Suspended(actor())]),
        OutputNoisy::KIND => EventEffect::begin(record, [Condition::Noisy(actor())]),
        OutputQuiet::KIND => EventEffect::end(record, [Condition::Noisy(actor())]),
        _ => return None,
    })
}

fn read_health(record: &Record, health: &AgentHealth) -> EventEffect {
    let condition = Condition::Unhealthy(record.actor.clone());
    match health.to {
        AgentStatus::Degraded | AgentStatus::Failed => {
            let is_network = health.error.as_ref().is_some_and(|error| error.code == Code::NetworkError);
            let effect = EventEffect::begin(record, [condition]);
            if is_network { effect.of_backend() } else { effect }
        }
        AgentStatus::Unknown => EventEffect::end(record, []).of_backend(),
        AgentStatus::Starting | AgentStatus::Restarting => EventEffect::end(record, []),
        AgentStatus::Healthy => EventEffect::end(record, [condition]),
        AgentStatus::Stopped => EventEffect::end(record, [condition, Condition::Down(record.actor.clone())]),
    }
}

/// Reads what is recorded of watched folders.
fn read_folder(record: &Record) -> Option<EventEffect> {
    let (root, is_lost) = match record.kind.as_str() {
        WatchLost::KIND => (record.event::<WatchLost>()?.root, true),
        WatchRegained::KIND => (record.event::<WatchRegained>()?.root, false),
        _ => return None,
    };
    let condition = Condition::Unwatched(root.clone());
    let (begins, ends) = if is_lost { (vec![condition], vec![]) } else { (vec![], vec![condition]) };
    let subjects = vec![Subject::Folder(root)];
    Some(EventEffect { begins, ends, subjects, is_incident: is_lost, ..EventEffect::default() })
}

/// Reads any other event: a warning or an error is an incident of its own, unless one about its actor is open.
fn read_other(record: &Record) -> EventEffect {
    let (level, _) = events::read(record);
    if matches!(level, Level::Warn | Level::Error) {
        return EventEffect::begin(record, []);
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
            let mut effect = EventEffect::end(record, []);
            effect.is_incident = record.kind == events::RunInterrupted::KIND;
            effect
        }
        _ => EventEffect::default(),
    }
}

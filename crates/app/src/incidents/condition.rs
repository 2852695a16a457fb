//! The conditions that an event begins and ends, and the subjects that it is about. Pure.

use mainstay_actors::agent::AgentStatus;
use mainstay_actors::connection::error::ConnectionError;
use mainstay_actors::connection::status::ConnectionState;
use mainstay_actors::error::{Code, Reason};
use mainstay_runtime::journal::{Level, Record, millis_text};
use mainstay_runtime::policy::ExitCause;

use crate::events::{
    self, ActorExited, ActorReady, ActorRestarted, AgentHealth, BackendResumed, BackendSuspended,
    ConnectionChanged, Decided, DecisionKind, Escalated, Event, FaultPhase, GaveUp, JournalDegraded,
    LogsDegraded, MessageFailed, OutputNoisy, OutputQuiet, PidFileDamaged, ProcessExited, ProcessOrphaned,
    QueueHeld, QueueReleased, RequestFailed, RequestRef, RequestRetry, RequestTimedOut, RestartCancelled,
    RunInterrupted, RuntimeStopped, RuntimeStopping, StartOrder, StartOrdered, StateDegraded, WatchLost,
    WatchRegained,
};
use crate::tree_place::TreePlace;

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
    /// The part of the storage refuses what it is to keep.
    Refusing(String),
    /// The runtime is stopping.
    Stopping,
}

impl Condition {
    /// Returns the next step while it lasts, where no event names one.
    pub(super) const fn next_step(&self) -> &'static str {
        match self {
            Self::Down(_) => "its supervisor decides about a restart",
            Self::GivenUp(_) => "a command starts it again",
            Self::Unhealthy(_) => "the next checks decide whether it is restarted",
            Self::Suspended(_) => "it goes on once its process continues",
            Self::Noisy(_) => "its log leaves lines out until it prints less",
            Self::Unconnected => "a reconnect opens the connection at once",
            Self::Held => "the requests wait until the backend can be reached",
            Self::Unwatched(_) => "the folder is looked for again",
            Self::Refusing(_) => "what waits is written once the disk takes it",
            Self::Stopping => "the actors stop",
        }
    }
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
    /// The request.
    Request(u64),
    /// The run before this one, and what it left behind.
    EarlierRun,
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
    /// The next step in plain words, if the event names one.
    pub(super) next_step: Option<String>,
    /// True if it begins an incident where no open one is about its subjects.
    pub(super) is_incident: bool,
}

/// Reads an event. One that concerns no incident has no subjects.
pub(super) fn read(record: &Record) -> EventEffect {
    let mut effect = read_supervision(record)
        .or_else(|| read_link(record))
        .or_else(|| read_program(record))
        .or_else(|| read_folder(record))
        .or_else(|| read_storage(record))
        .unwrap_or_else(|| read_other(record));
    if TreePlace::of_path(&record.actor) == Some(TreePlace::Backend) && !effect.subjects.is_empty() {
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

    /// Names the next step.
    fn with_next_step(self, next_step: Option<String>) -> Self {
        Self { next_step, ..self }
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
        ActorExited::KIND => {
            let is_down = !matches!(
                record.event(),
                Some(ActorExited { cause: ExitCause::Normal | ExitCause::Shutdown, .. })
            );
            let begins: Vec<_> = is_down.then(|| Condition::Down(actor())).into_iter().collect();
            // Its process has ended as well.
            EventEffect { ends: vec![Condition::Suspended(actor())], ..EventEffect::begin(record, begins) }
        }
        ActorReady::KIND => EventEffect::end(record, [Condition::Down(actor()), Condition::GivenUp(actor())]),
        ActorRestarted::KIND => EventEffect::end(record, []),
        GaveUp::KIND => EventEffect {
            ends: vec![Condition::Down(actor())],
            next_step: record.event::<GaveUp>().map(|gave_up| give_up_step(&record.actor, gave_up)),
            ..EventEffect::begin(record, [Condition::GivenUp(actor())])
        },
        RestartCancelled::KIND => {
            EventEffect::end(record, [Condition::Down(actor()), Condition::Unhealthy(actor())])
        }
        StartOrdered::KIND => match record.event::<StartOrdered>()?.order {
            StartOrder::Start => EventEffect::end(record, []),
            StartOrder::Restart => EventEffect::begin(record, []),
        },
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
        DecisionKind::Restart => {
            effect.begins.push(Condition::Down(actor()));
            effect.next_step = Some(restart_step(&decided));
            return effect;
        }
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

/// Returns the next step of an actor that is given up: the command that starts it, if there is one.
fn give_up_step(actor: &str, GaveUp { unrecoverable, next_step, .. }: GaveUp) -> String {
    match TreePlace::of_path(actor) {
        Some(place) if unrecoverable => format!("{next_step} Then `{}` tries again", place.command("start")),
        Some(place) => format!("`{}` gives its restarts back and starts it", place.command("reset")),
        None => next_step,
    }
}

fn restart_step(decided: &Decided) -> String {
    match decided.delay_ms {
        None | Some(0) => "it is restarted at once".to_owned(),
        Some(ms) => format!("it is restarted {} after its exit", millis_text(ms)),
    }
}

/// Reads what the connection and the queue record of the backend.
fn read_link(record: &Record) -> Option<EventEffect> {
    Some(match record.kind.as_str() {
        ConnectionChanged::KIND => read_connection(record, &record.event()?),
        QueueHeld::KIND => read_hold(record, record.event()?),
        QueueReleased::KIND => EventEffect::end(record, [Condition::Held]).of_backend(),
        RequestRetry::KIND => {
            let RequestRetry { request, reason, .. } = record.event()?;
            EventEffect { is_incident: false, ..read_failure(&request, reason) }
        }
        RequestFailed::KIND => {
            let RequestFailed { request, reason, .. } = record.event()?;
            read_failure(&request, reason)
        }
        RequestTimedOut::KIND => {
            let RequestTimedOut(RequestFailed { request, reason, .. }) = record.event()?;
            read_failure(&request, reason)
        }
        _ => return None,
    })
}

fn read_connection(record: &Record, change: &ConnectionChanged) -> EventEffect {
    match change.to {
        ConnectionState::Reconnecting | ConnectionState::Failed => {
            EventEffect::begin(record, [Condition::Unconnected])
                .with_next_step(reconnect_step(change))
                .of_backend()
        }
        ConnectionState::Connecting => EventEffect::end(record, []).of_backend(),
        ConnectionState::Connected | ConnectionState::Disconnected | ConnectionState::Disabled => {
            EventEffect::end(record, [Condition::Unconnected]).of_backend()
        }
    }
}

/// Returns the next step of a lost connection: the next attempt, and first what a person can do if the connection has failed.
fn reconnect_step(change: &ConnectionChanged) -> Option<String> {
    let attempt = change
        .next_attempt_in_ms
        .map(|ms| format!("the next attempt to connect follows after {}", millis_text(ms)));
    let advice = change.error.as_ref().and_then(ConnectionError::advice);
    match (advice.filter(|_| change.to == ConnectionState::Failed), attempt) {
        (Some(advice), Some(attempt)) => Some(format!("{} ({attempt})", advice.trim_end_matches('.'))),
        (Some(advice), None) => Some(advice.to_owned()),
        (None, attempt) => attempt,
    }
}

fn read_hold(record: &Record, hold: QueueHeld) -> EventEffect {
    if hold.is_orderly_start {
        return EventEffect::default();
    }
    let probe =
        || hold.next_probe_in_ms.map(|ms| format!("the next probe follows after {}", millis_text(ms)));
    EventEffect::begin(record, [Condition::Held]).with_next_step(hold.backend.or_else(probe)).of_backend()
}

/// Reads the failure of a request. A backend that cannot be reached explains it. One that answers with an error does not, so
/// that failure is an incident of its own. One that its caller has cancelled is none.
fn read_failure(request: &RequestRef, reason: Reason) -> EventEffect {
    if reason == Reason::Cancelled {
        return EventEffect::default();
    }
    let mut effect = EventEffect {
        subjects: vec![Subject::Request(request.request_id.0)],
        is_incident: true,
        ..EventEffect::default()
    };
    match reason.code() {
        Code::NetworkError | Code::Timeout => effect.subjects.push(Subject::Backend),
        _ if matches!(reason, Reason::OutcomeUnknown | Reason::Quarantined) => {
            effect.subjects.push(Subject::Backend)
        }
        _ => {}
    }
    effect
}

/// Reads what is recorded of agents and of programs.
fn read_program(record: &Record) -> Option<EventEffect> {
    let actor = || record.actor.clone();
    Some(match record.kind.as_str() {
        AgentHealth::KIND => read_health(record, &record.event()?),
        MessageFailed::KIND if record.event::<MessageFailed>()?.reason == Reason::Cancelled => {
            EventEffect::default()
        }
        ProcessExited::KIND if record.event::<ProcessExited>()?.was_requested => EventEffect::end(record, []),
        ProcessExited::KIND => EventEffect::begin(record, []),
        BackendSuspended::KIND => {
            let BackendSuspended { pid, restart_after_ms } = record.event()?;
            let after = millis_text(restart_after_ms);
            EventEffect::begin(record, [Condition::Suspended(actor())]).with_next_step(Some(format!(
                "it is restarted after {after}; `kill -CONT {pid}` lets it continue"
            )))
        }
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
    let next_step = record.event::<WatchLost>().map(|lost| lost.next_step);
    Some(EventEffect { begins, ends, subjects, next_step, is_incident: is_lost, ..EventEffect::default() })
}

/// Reads what is recorded of the storage.
fn read_storage(record: &Record) -> Option<EventEffect> {
    let phase = match record.kind.as_str() {
        JournalDegraded::KIND => record.event::<JournalDegraded>()?.phase,
        LogsDegraded::KIND => record.event::<LogsDegraded>()?.phase,
        StateDegraded::KIND => record.event::<StateDegraded>()?.phase,
        _ => return None,
    };
    let refusing = || [Condition::Refusing(record.actor.clone())];
    Some(match phase {
        FaultPhase::Once => EventEffect::begin(record, []),
        FaultPhase::Begins => EventEffect::begin(record, refusing()),
        FaultPhase::Ends => EventEffect::end(record, refusing()),
    })
}

/// Reads any other event: a warning or an error is an incident of its own, unless one about its actor is open.
fn read_other(record: &Record) -> EventEffect {
    let (level, _) = events::read(record);
    let is_trouble = matches!(level, Level::Warn | Level::Error);
    match record.kind.as_str() {
        RunInterrupted::KIND | ProcessOrphaned::KIND | PidFileDamaged::KIND => EventEffect {
            subjects: vec![Subject::EarlierRun, Subject::Actor(record.actor.clone())],
            ..EventEffect::begin(record, [])
        },
        _ if is_trouble => EventEffect::begin(record, []),
        events::ActorStarted::KIND
        | events::Redelivered::KIND
        | events::MessageRedelivered::KIND
        | events::BudgetReset::KIND
        | events::AgentOutdated::KIND
        | events::BackendStarting::KIND
        | events::BackendStarted::KIND
        | events::StateLoaded::KIND
        | events::AbandonedEnded::KIND
        | events::AgentQuestionSettled::KIND => EventEffect::end(record, []),
        _ => EventEffect::default(),
    }
}

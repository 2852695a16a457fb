//! The fold of events into incidents. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mainstay_actors::error::Reason;
use mainstay_runtime::journal::{Event, Level, Record};
use serde_json::Value;

use super::condition::{self, Condition, EventEffect, Subject};
use super::incident::{Incident, IncidentEvent, IncidentMessage, IncidentTotals};
use super::policy_text::policy_text;
use super::story;
use crate::events::{
    self, ActorExited, ActorRestarted, DeadLetter, Decided, MessageFailed, MessageRedelivered, ProcessExited,
    QueueHeld, QueueOverflow, QueueReleased, Redelivered, RequestFailed, RequestRetry, RequestTimedOut,
};

/// The most incidents that are kept. The oldest ended one goes first.
const INCIDENTS_MAX: usize = 200;
/// The events of an incident that are kept from its start, and as many from its end.
const EVENTS_KEPT: usize = 100;
/// The most actors of one incident.
const ACTORS_MAX: usize = 32;
/// The most requests, and the most messages, of one incident.
const WORK_MAX: usize = 100;
/// The time after the end of an incident in which an event about its subjects still belongs to it, in milliseconds.
const SETTLE_MS: u64 = 5000;

/// Groups events into incidents. It takes them in order, across runs.
///
/// ```
/// use mainstay::incidents::IncidentLog;
/// use mainstay::journal::Record;
///
/// fn titles(records: &[Record]) -> Vec<String> {
///     let mut log = IncidentLog::default();
///     records.iter().for_each(|record| log.apply(record));
///     log.incidents().map(|incident| incident.title.clone()).collect()
/// }
/// # assert!(titles(&[]).is_empty());
/// ```
#[derive(Debug, Clone, Default)]
pub struct IncidentLog {
    /// In the order of their first events.
    tracked: VecDeque<Tracked>,
    run: u64,
}

/// An incident and what decides which events belong to it.
#[derive(Debug, Clone)]
struct Tracked {
    incident: Incident,
    /// The conditions that last, the worst first, each with its next step.
    conditions: BTreeMap<Condition, String>,
    subjects: BTreeSet<Subject>,
    /// The requests and messages that were repeated, by their actor and number, at most [`WORK_MAX`].
    repeated: BTreeSet<(String, u64)>,
    started_ms: u64,
    /// The time of its last event within the run.
    last_ms: u64,
}

impl IncidentLog {
    /// Takes the next event.
    pub fn apply(&mut self, record: &Record) {
        if record.run != self.run {
            self.run = record.run;
            self.tracked.iter_mut().for_each(Tracked::cut);
        }
        let effect = condition::read(record);
        let found = self.find(record, &effect);
        let place = match found {
            Some(place) => place,
            None if effect.is_incident => {
                self.make_room();
                self.tracked.push_back(Tracked::begin(record, &effect));
                self.tracked.len() - 1
            }
            None => return,
        };
        if let Some(tracked) = self.tracked.get_mut(place) {
            tracked.add(record, effect);
        }
    }

    /// Returns the incidents that are kept, oldest first.
    pub fn incidents(&self) -> impl DoubleEndedIterator<Item = &Incident> + ExactSizeIterator {
        self.tracked.iter().map(|tracked| &tracked.incident)
    }

    /// Finds the incident to which an event belongs: that of the stop of the runtime, or the latest one that is about the
    /// closest of the event's subjects.
    fn find(&self, record: &Record, effect: &EventEffect) -> Option<usize> {
        let is_open = |tracked: &Tracked| tracked.takes(record);
        if !effect.subjects.is_empty()
            && let Some(stop) = self.tracked.iter().rposition(|tracked| {
                is_open(tracked) && tracked.conditions.contains_key(&Condition::Stopping)
            })
        {
            return Some(stop);
        }
        let about = |subject: &Subject| {
            self.tracked.iter().rposition(|tracked| is_open(tracked) && tracked.subjects.contains(subject))
        };
        // The children of a supervisor that is down stop and start with it.
        let below = |subject: &Subject| match subject {
            Subject::Actor(path) => self.tracked.iter().rposition(|tracked| {
                is_open(tracked)
                    && ancestors(path)
                        .any(|parent| tracked.conditions.contains_key(&Condition::Down(parent.to_owned())))
            }),
            _ => None,
        };
        effect.subjects.iter().find_map(about).or_else(|| effect.subjects.iter().find_map(below))
    }

    /// Drops the oldest incident, one that is over if there is one.
    fn make_room(&mut self) {
        if self.tracked.len() >= INCIDENTS_MAX {
            let oldest = self.tracked.iter().position(|tracked| tracked.conditions.is_empty());
            self.tracked.remove(oldest.unwrap_or(0));
        }
    }
}

impl Tracked {
    fn begin(record: &Record, effect: &EventEffect) -> Self {
        let incident = Incident {
            id: record.cursor(),
            title: String::new(),
            actor: record.actor.clone(),
            started_at: record.at.clone(),
            ended_at: None,
            lasted_ms: 0,
            is_cut: false,
            policy: None,
            next_step: None,
            actors: Vec::new(),
            requests: Vec::new(),
            messages: Vec::new(),
            totals: IncidentTotals::default(),
            output: Vec::new(),
            events: Vec::new(),
            events_left_out: 0,
        };
        Self {
            incident,
            conditions: BTreeMap::new(),
            subjects: effect.subjects.iter().cloned().collect(),
            repeated: BTreeSet::new(),
            started_ms: record.mono_ms,
            last_ms: record.mono_ms,
        }
    }

    /// Returns whether an event of now about its subjects belongs to it.
    fn takes(&self, record: &Record) -> bool {
        let is_settling = record.mono_ms.saturating_sub(self.last_ms) <= SETTLE_MS;
        record.run == self.incident.id.run
            && !self.incident.is_cut
            && (!self.conditions.is_empty() || is_settling)
    }

    fn add(&mut self, record: &Record, effect: EventEffect) {
        // A request stays with the incident that has concerned it.
        let is_kept = |subject: &Subject| matches!(subject, Subject::Request(_)) || !effect.begins.is_empty();
        self.subjects.extend(effect.subjects.into_iter().filter(is_kept));
        self.subjects.extend(effect.involves.into_iter().map(Subject::Actor));
        for condition in effect.begins {
            let next_step = effect.next_step.clone().unwrap_or_else(|| condition.next_step().to_owned());
            self.conditions.insert(condition, next_step);
        }
        for condition in &effect.ends {
            self.conditions.remove(condition);
        }
        if effect.ends.contains(&Condition::Stopping) {
            self.conditions.clear();
        }
        self.last_ms = record.mono_ms;
        self.incident.lasted_ms = record.mono_ms.saturating_sub(self.started_ms);
        self.incident.ended_at = self.conditions.is_empty().then(|| record.at.clone());
        add_facts(&mut self.incident, record);
        self.count_repeat(record);
        self.incident.next_step = self.conditions.first_key_value().map(|(_, next_step)| next_step.clone());
        push_event(&mut self.incident, record);
        self.incident.title = story::title(&self.incident);
    }

    /// Counts a request or a message that is repeated, once for all its repeats. A message without a number counts each time.
    fn count_repeat(&mut self, record: &Record) {
        let totals = &mut self.incident.totals;
        let (total, id) = match record.kind.as_str() {
            RequestRetry::KIND => (&mut totals.requests_retried, number(record, "request_id")),
            MessageRedelivered::KIND => (&mut totals.messages_redelivered, number(record, "message_id")),
            Redelivered::KIND => (&mut totals.messages_redelivered, None),
            _ => return,
        };
        let is_known = id.is_some_and(|id| {
            self.repeated.len() < WORK_MAX && !self.repeated.insert((record.actor.clone(), id))
        });
        *total += u32::from(!is_known);
    }

    /// Ends it with the run.
    fn cut(&mut self) {
        if !self.conditions.is_empty() {
            self.conditions.clear();
            self.incident.is_cut = true;
            self.incident.next_step = None;
            self.incident.title = story::title(&self.incident);
        }
    }
}

/// Returns the paths of the supervisors above an actor.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

/// Adds an event, and drops one from the middle if there are too many.
fn push_event(incident: &mut Incident, record: &Record) {
    if incident.events.len() == 2 * EVENTS_KEPT {
        incident.events.remove(EVENTS_KEPT);
        incident.events_left_out += 1;
    }
    let (level, summary) = events::read(record);
    incident.events.push(IncidentEvent {
        cursor: record.cursor(),
        at: record.at.clone(),
        actor: record.actor.clone(),
        kind: record.kind.clone(),
        summary,
        is_trouble: matches!(level, Level::Warn | Level::Error),
    });
    if incident.actors.len() < ACTORS_MAX && !incident.actors.contains(&record.actor) {
        incident.actors.push(record.actor.clone());
    }
}

/// Adds the facts that an event reports: to the numbers, the work, the output and the next step.
fn add_facts(incident: &mut Incident, record: &Record) {
    let totals = &mut incident.totals;
    match record.kind.as_str() {
        ActorExited::KIND => totals.exits += 1,
        Decided::KIND => totals.decisions += 1,
        ActorRestarted::KIND => totals.restarts += 1,

        DeadLetter::KIND => totals.dead_letters += 1,
        RequestFailed::KIND | RequestTimedOut::KIND | QueueOverflow::KIND => totals.requests_failed += 1,
        MessageFailed::KIND => totals.messages_failed += 1,
        _ => {}
    }
    let held = record.event().map(|QueueHeld { waiting, .. }| waiting);
    let released = record.event().map(|QueueReleased { waiting, .. }| waiting);
    if let Some(waiting) = held.or(released) {
        totals.requests_held = totals.requests_held.max(u32::try_from(waiting).unwrap_or(u32::MAX));
    }
    let failed = record.event().map(|RequestFailed { reason, .. }| reason);
    let timed_out = record.event().map(|RequestTimedOut(RequestFailed { reason, .. })| reason);
    let message = record.event().map(|MessageFailed { reason, .. }| reason);
    totals.outcomes_unknown += u32::from(failed.or(timed_out).or(message) == Some(Reason::OutcomeUnknown));
    if let Some(ProcessExited { output, .. }) = record.event()
        && !output.is_empty()
        && !incident.is_stop()
    {
        incident.output = output;
    }
    add_work(incident, record);
    if let Some(decided) = record.event::<Decided>() {
        incident.policy = Some(policy_text(&decided));
    }
}

/// Returns a field that is a number.
fn number(record: &Record, field: &str) -> Option<u64> {
    record.fields.get(field).and_then(Value::as_u64)
}

/// Adds the request and the message that an event names. Many kinds name one, all in the same fields.
fn add_work(incident: &mut Incident, record: &Record) {
    if let Some(request) = number(record, "request_id")
        && incident.requests.len() < WORK_MAX
        && !incident.requests.contains(&request)
    {
        incident.requests.push(request);
    }
    if let Some(message_id) = number(record, "message_id") {
        let message = IncidentMessage { actor: record.actor.clone(), message_id };
        if incident.messages.len() < WORK_MAX && !incident.messages.contains(&message) {
            incident.messages.push(message);
        }
    }
}

//! The fold of events into incidents. Pure.

use std::collections::{BTreeSet, VecDeque};

use mainstay_actors::error::Reason;
use mainstay_runtime::journal::{Event, Record};
use serde_json::Value;

use super::condition::{self, Condition, EventEffect, Subject};
use super::incident::{Incident, IncidentEvent, IncidentMessage, IncidentTotals};
use super::story;
use crate::events::{
    self, ActorExited, ActorRestarted, DeadLetter, Decided, GaveUp, MessageFailed, MessageRedelivered,
    ProcessExited, QueueHeld, QueueReleased, RequestFailed, RequestRetry, RequestTimedOut, WatchLost,
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
    conditions: BTreeSet<Condition>,
    subjects: BTreeSet<Subject>,
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
            && let Some(stop) = self
                .tracked
                .iter()
                .rposition(|tracked| is_open(tracked) && tracked.conditions.contains(&Condition::Stopping))
        {
            return Some(stop);
        }
        effect.subjects.iter().find_map(|subject| {
            self.tracked.iter().rposition(|tracked| is_open(tracked) && tracked.subjects.contains(subject))
        })
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
            conditions: BTreeSet::new(),
            subjects: effect.subjects.iter().cloned().collect(),
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
        if !effect.begins.is_empty() {
            self.subjects.extend(effect.subjects);
        }
        self.subjects.extend(effect.involves.into_iter().map(Subject::Actor));
        self.conditions.extend(effect.begins);
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
        push_event(&mut self.incident, record);
        self.incident.title = story::title(&self.incident);
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

/// Adds an event, and drops one from the middle if there are too many.
fn push_event(incident: &mut Incident, record: &Record) {
    if incident.events.len() == 2 * EVENTS_KEPT {
        incident.events.remove(EVENTS_KEPT);
        incident.events_left_out += 1;
    }
    incident.events.push(IncidentEvent {
        cursor: record.cursor(),
        at: record.at.clone(),
        actor: record.actor.clone(),
        kind: record.kind.clone(),
        summary: events::summary(record),
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
        RequestRetry::KIND => totals.requests_retried += 1,
        MessageRedelivered::KIND => totals.messages_redelivered += 1,
        DeadLetter::KIND => totals.dead_letters += 1,
        RequestFailed::KIND | RequestTimedOut::KIND => totals.requests_failed += 1,
        MessageFailed::KIND => totals.messages_failed += 1,
        _ => {}
    }
    let held = record.event().map(|QueueHeld { waiting, .. }| waiting);
    let released = record.event().map(|QueueReleased { waiting, .. }| waiting);
    if let Some(waiting) = held.or(released) {
        totals.requests_held = totals.requests_held.max(u32::try_from(waiting).unwrap_or(u32::MAX));
    }
    let request = record.event().map(|RequestFailed { reason, .. }| reason);
    let message = record.event().map(|MessageFailed { reason, .. }| reason);
    totals.outcomes_unknown += u32::from(request.or(message) == Some(Reason::OutcomeUnknown));
    if let Some(ProcessExited { output, .. }) = record.event()
        && !output.is_empty()
    {
        incident.output = output;
    }
    add_work(incident, record);
    let gave_up = record.event().map(|GaveUp { next_step, .. }| next_step);
    if let Some(next_step) = gave_up.or_else(|| record.event().map(|WatchLost { next_step, .. }| next_step)) {
        incident.next_step = Some(next_step);
    }
    if incident.ended_at.is_some() {
        incident.next_step = None;
    }
}

/// Adds the request and the message that an event names. Many kinds name one, all in the same fields.
fn add_work(incident: &mut Incident, record: &Record) {
    let number = |field| record.fields.get(field).and_then(Value::as_u64);
    if let Some(request) = number("request_id")
        && incident.requests.len() < WORK_MAX
        && !incident.requests.contains(&request)
    {
        incident.requests.push(request);
    }
    if let Some(message_id) = number("message_id") {
        let message = IncidentMessage { actor: record.actor.clone(), message_id };
        if incident.messages.len() < WORK_MAX && !incident.messages.contains(&message) {
            incident.messages.push(message);
        }
    }
}

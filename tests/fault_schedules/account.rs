//! Whether what came of a schedule is what was promised: pure.

use std::collections::{BTreeMap, BTreeSet};

use mainstay::actors::connection::outbound::Fate;
use mainstay::actors::error::Reason;
use mainstay::runtime::journal::Record;
use mainstay::runtime::replay;
use serde_json::Value;

use crate::counted::TAG;
use crate::drive::{Called, Lived, Sent, echo, key};
use crate::events;
use crate::fault_proxy::wire::SeenRequest;
use crate::schedule::{Asked, Patience, Schedule};

/// What never happens, whatever the network does.
const NEVER: [&str; 9] = [
    "gave_up",
    "escalated",
    "auto_shutdown",
    "abandoned_ended",
    "checkpoint_discarded",
    "agent_stuck",
    "journal_degraded",
    "subscriber_lagged",
    "redelivered",
];

/// Everything that is wrong.
pub(crate) fn faults(schedule: &Schedule, lived: &Lived) -> Vec<String> {
    let mut faults = lived.complaints.clone();
    faults.extend(numbering(&lived.records));
    faults.extend(actors(&lived.records));
    faults.extend(connection(&lived.records));
    faults.extend(replay::check(lived.records.iter().cloned()).differences.iter().map(ToString::to_string));
    if lived.most_under_way > schedule.settings.max_concurrent {
        let (most, max) = (lived.most_under_way, schedule.settings.max_concurrent);
        faults.push(format!("{most} attempts were under way at once, and {max} may be"));
    }
    faults.extend(requests(schedule, lived));
    faults.extend(sends(schedule, lived));
    faults.extend(notes(lived));
    faults.extend(events::faults(schedule, lived));
    faults
}

fn ensure(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}

/// Sequence numbers begin with 1 and skip none.
fn numbering(records: &[Record]) -> Option<String> {
    let skipped = records.iter().zip(1..).find(|(record, seq)| record.seq != *seq);
    skipped.map(|(record, seq)| format!("number {seq} is {}", record.seq))
}

/// No actor ends before the runtime stops, but for those of agents that are restarted; and then each ends in order.
fn actors(records: &[Record]) -> Vec<String> {
    let is_stopping = |record: &&Record| record.kind == "runtime_stopping";
    let stopping = records.iter().find(is_stopping).map_or(u64::MAX, |record| record.seq);
    let is_wrong = |record: &&Record| {
        let is_agent = record.actor.starts_with("root/agents/");
        match record.kind.as_str() {
            "actor_exited" if record.seq > stopping => record.fields["cause"] != "normal" && !is_agent,
            // By its supervisor's decision, or by order.
            "actor_exited" => {
                !is_agent || !["error", "normal"].map(Value::from).contains(&record.fields["cause"])
            }
            "dead_letter" => record.seq < stopping && !is_agent,
            kind => NEVER.contains(&kind),
        }
    };
    records.iter().filter(is_wrong).map(|record| format!("this should not happen: {record:?}")).collect()
}

/// Each change of the connection begins where the one before it ended.
fn connection(records: &[Record]) -> Option<String> {
    let changes: Vec<_> = records.iter().filter(|record| record.kind == "connection_state").collect();
    let broken = changes.windows(2).find(|pair| pair[0].fields["to"] != pair[1].fields["from"]);
    broken.map(|pair| format!("the connection's changes do not follow from one another: {pair:?}"))
}

// === requests ===

/// What the journal says of the end of a request.
#[derive(Debug, Clone, PartialEq)]
struct End {
    kind: String,
    reason: Option<Reason>,
    code: Option<String>,
    status: Option<u64>,
    /// Not told of one that made room.
    attempts: Option<u64>,
}

impl End {
    fn is_done(&self) -> bool {
        self.kind == "request_done"
    }

    fn of(record: &Record) -> Option<Self> {
        let ends = ["request_done", "request_failed", "request_timed_out", "queue_overflow"];
        if !ends.contains(&record.kind.as_str()) {
            return None;
        }
        let text = |name: &str| record.fields.get(name).and_then(Value::as_str).map(str::to_owned);
        let number = |name: &str| record.fields.get(name).and_then(Value::as_u64);
        Some(Self {
            kind: record.kind.clone(),
            reason: text("reason").map(Reason::from),
            code: text("code"),
            status: number("status"),
            attempts: number("attempts"),
        })
    }
}

/// What the journal tells of each request, the ends apart.
#[derive(Debug, Default)]
struct Told {
    ends: Vec<End>,
    begun: u64,
    /// Something was told of it after its end.
    goes_on: bool,
}

fn told(records: &[Record]) -> BTreeMap<u64, Told> {
    let mut told: BTreeMap<u64, Told> = BTreeMap::new();
    for record in records {
        let Some(id) = record.fields.get("request_id").and_then(Value::as_u64) else { continue };
        let of_request = told.entry(id).or_default();
        of_request.goes_on |= !of_request.ends.is_empty();
        of_request.begun += u64::from(record.kind == "request_started");
        of_request.ends.extend(End::of(record));
    }
    told
}

fn requests(schedule: &Schedule, lived: &Lived) -> Vec<String> {
    let mut faults = Vec::new();
    let finale = schedule.finale.as_ref().map_or(0, |finale| finale.calls.len());
    if lived.calls.len() != schedule.calls.len() + finale {
        faults.push(format!("{} callers were told anything", lived.calls.len()));
    }
    let told = told(&lived.records);
    for (id, of_request) in &told {
        if of_request.ends.len() != 1 || of_request.goes_on {
            faults.push(format!("request {id} has not exactly one end: {of_request:?}"));
        }
    }
    for called in &lived.calls {
        let on_the_wire = lived.wire.requests.iter().filter(|seen| seen.header(TAG) == Some(&called.tag));
        let case = Case {
            called,
            end: told.get(&called.id.0).and_then(|told| told.ends.first()),
            seen: on_the_wire.collect(),
            carried_out: lived.done.messages.iter().filter(|message| message["text"] == *called.tag).count(),
            retries: called.call.retries.unwrap_or(schedule.settings.retries).into(),
        };
        if let Err(fault) = case.check() {
            faults.push(format!("{}: {fault}\n    {case:?}", called.tag));
        }
    }
    if lived.done.forgotten > 0 {
        faults.push(format!("the ledger has forgotten {} messages: ask less of it", lived.done.forgotten));
    }
    faults
}

/// One request, with everything that is known of it.
#[derive(Debug)]
struct Case<'a> {
    called: &'a Called,
    /// `None` where it was turned away, because the queue had stopped.
    end: Option<&'a End>,
    seen: Vec<&'a SeenRequest>,
    /// How often the ledger heard it.
    carried_out: usize,
    retries: u64,
}

impl Case<'_> {
    fn check(&self) -> Result<(), String> {
        let Some(end) = self.end else { return self.check_turned_away() };
        self.check_answer(end)?;
        self.check_cancellation(end)?;
        if let Some(attempts) = self.attempts(end) {
            ensure(attempts <= self.retries + 1, "there were more attempts than may be")?;
            ensure(attempts > 0 || self.seen.is_empty(), "it was sent without an attempt")?;
            ensure(
                self.sent() as u64 <= attempts * self.sends_max(),
                "it was sent more often than it was attempted",
            )?;
        }
        match self.called.call.what {
            Asked::Get | Asked::Put => Ok(()),
            Asked::Post => self.check_single(end),
            Asked::KeyedPost { is_generated } => {
                self.check_keys(is_generated)?;
                ensure(!end.is_done() || self.carried_out > 0, "it was answered and not carried out")
            }
            Asked::Echo { .. } => self.check_keys(false),
        }
    }

    /// How many attempts there were, as the journal or the caller knows.
    fn attempts(&self, end: &End) -> Option<u64> {
        let told = || self.called.outcome.as_ref()?.as_ref().err().map(|error| error.attempts.into());
        end.attempts.or_else(told)
    }

    /// How often one attempt may send it: what changes nothing is sent again over a fresh connection if a kept one turns out
    /// to be closed.
    fn sends_max(&self) -> u64 {
        if self.called.call.what == Asked::Get { 2 } else { 1 }
    }

    /// How often it was sent to its last byte.
    fn sent(&self) -> usize {
        self.seen.iter().filter(|seen| seen.is_whole).count()
    }

    /// Only a queue that has stopped takes no request in, and then says so.
    fn check_turned_away(&self) -> Result<(), String> {
        let may_be = self.called.is_last
            && match &self.called.outcome {
                None => true,
                Some(Ok(_)) => false,
                Some(Err(error)) => error.reason == Reason::Stopped && error.attempts == 0,
            };
        ensure(may_be, "the journal knows of no end of it")?;
        ensure(self.seen.is_empty() && self.carried_out == 0, "it was turned away, and sent")
    }

    /// What the caller was told is what the journal says.
    fn check_answer(&self, end: &End) -> Result<(), String> {
        match &self.called.outcome {
            None => ensure(
                matches!(self.called.call.patience, Patience::DropAfterMs(_)),
                "its caller was told nothing",
            ),
            Some(Ok(response)) => {
                ensure(end.is_done(), "it was answered, and the journal says that it failed")?;
                ensure(end.status == Some(u64::from(response.status.as_u16())), "the statuses differ")?;
                ensure(end.attempts == Some(response.attempts.into()), "the attempts differ")?;
                ensure(response.request_id == self.called.id, "the ids differ")?;
                self.check_body(&response.body)
            }
            Some(Err(error)) => {
                let kind = match (error.reason, error.code.as_str()) {
                    (Reason::QueueFull | Reason::Evicted, _) => "queue_overflow",
                    (reason, "TIMEOUT") if reason != Reason::Cancelled => "request_timed_out",
                    _ => "request_failed",
                };
                ensure(end.kind == kind, "the journal tells of another end")?;
                ensure(end.reason == Some(error.reason), "the reasons differ")?;
                ensure(error.request_id == Some(self.called.id), "the ids differ")?;
                ensure(
                    !error.message.contains("not sent") || self.sent() == 0,
                    "it is said not to have been sent",
                )?;
                if kind == "queue_overflow" {
                    return Ok(());
                }
                ensure(end.code.as_deref() == Some(error.code.as_str()), "the codes differ")?;
                ensure(end.status == error.status.map(u64::from), "the statuses differ")?;
                ensure(end.attempts == Some(error.attempts.into()), "the attempts differ")?;
                let own = [Reason::Crashed, Reason::Internal, Reason::NoAnswer, Reason::InvalidRequest];
                ensure(!own.contains(&error.reason), "it failed for a fault of the runtime itself")
            }
        }
    }

    fn check_body(&self, body: &[u8]) -> Result<(), String> {
        let tag = self.called.tag.as_str();
        let json = || serde_json::from_slice::<Value>(body).unwrap_or_default();
        let is_right = match self.called.call.what {
            Asked::Get => json()["query"] == tag,
            Asked::Put => body.is_empty(),
            Asked::Post | Asked::KeyedPost { .. } => json()["count"].is_u64(),
            Asked::Echo { bytes } => body == echo(tag, bytes),
        };
        ensure(is_right, "the answer is that to something else")
    }

    fn check_cancellation(&self, end: &End) -> Result<(), String> {
        let is_cancelled = end.reason == Some(Reason::Cancelled);
        match (&self.called.cancelled, self.called.outcome.is_some()) {
            (Some(Ok(true)), true) => ensure(is_cancelled, "it was called off, and ended in another way"),
            (Some(Ok(false)), true) => ensure(!is_cancelled, "it had ended, and was called off"),
            (Some(Ok(goes_on)), false) => ensure(!goes_on, "its caller had dropped it, and it went on"),
            // Whoever cancels while the runtime is stopped is told so.
            (Some(Err(error)), _) => ensure(error.reason == Reason::Stopped, "cancelling it failed"),
            (None, _) => ensure(!is_cancelled, "nobody called it off"),
        }
    }

    /// One that must not be sent twice.
    fn check_single(&self, end: &End) -> Result<(), String> {
        let attempts = self.attempts(end).unwrap_or(0);
        ensure(self.sent() <= 1, "it was sent twice")?;
        ensure(self.carried_out <= 1, "it was carried out twice")?;
        match (end.kind.as_str(), end.reason) {
            ("request_done", _) => ensure(self.carried_out == 1, "it was answered and not carried out"),
            (_, Some(Reason::OutcomeUnknown)) => {
                ensure(attempts > 0, "its outcome is unknown, and there was no attempt")
            }
            (_, Some(Reason::Cancelled)) if attempts > 0 => Ok(()),
            // The backend says that it did not get all of it.
            (_, Some(Reason::BadRequest)) => ensure(self.carried_out == 0, "it was refused and carried out"),
            _ => {
                ensure(self.carried_out == 0, "it is said not to have been sent, and was carried out")?;
                ensure(self.sent() == 0, "it is said not to have been sent, and was")
            }
        }
    }

    /// All attempts carry one key, the caller's if there is one.
    fn check_keys(&self, is_generated: bool) -> Result<(), String> {
        let keys: BTreeSet<_> = self.seen.iter().map(|seen| seen.header("idempotency-key")).collect();
        ensure(!keys.contains(&None), "an attempt carried no key")?;
        ensure(keys.len() <= 1, "attempts carried different keys")?;
        let given = key(&self.called.tag);
        let is_right = |key: &Option<&str>| (*key == Some(given.as_str())) != is_generated;
        ensure(keys.iter().all(is_right), "it carried the wrong key")
    }
}

/// What the notes hold was asked for, and attempted.
fn notes(lived: &Lived) -> Vec<String> {
    let is_right = |note: &&Value| {
        let Some(tag) = note["text"].as_str() else { return note["count"] == 0 };
        let writer = lived.calls.iter().find(|called| called.tag == tag && called.call.what == Asked::Put);
        writer.is_some()
    };
    let wrong = lived.done.notes.iter().filter(|note| !is_right(note));
    wrong.map(|note| format!("nobody wrote {note}")).collect()
}

// === text frames ===

fn sends(schedule: &Schedule, lived: &Lived) -> Vec<String> {
    let mut faults = Vec::new();
    let finale = schedule.finale.as_ref().map_or(0, |finale| finale.sends.len());
    if lived.sends.len() != schedule.sends.len() + finale {
        faults.push(format!("{} senders were told anything", lived.sends.len()));
    }
    for sent in &lived.sends {
        let seen = lived.wire.texts.iter().filter(|text| **text == sent.text).count();
        if let Err(fault) = check_sent(sent, seen) {
            faults.push(format!("{fault}, and was seen {seen} times: {:?} of {:.100}", sent.fate, sent.text));
        }
    }
    faults
}

fn check_sent(sent: &Sent, seen: usize) -> Result<(), String> {
    match &sent.fate {
        Ok(Fate::Sent | Fate::Unknown) => ensure(seen <= 1, "a text was sent once"),
        Ok(Fate::Expired | Fate::Rejected | Fate::TooLarge | Fate::Dropped) => {
            ensure(seen == 0, "a text was not sent")
        }
        // The runtime stopped before its actor saw it.
        Err(error) if error.reason == Reason::Stopped => ensure(seen == 0, "a text came too late"),
        Err(_) => Err("a text has no fate".to_owned()),
    }
}

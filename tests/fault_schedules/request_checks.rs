//! Checks that each request had one outcome, the same for its caller, and was carried out as often as that says.

use std::collections::{BTreeMap, BTreeSet};

use mainstay::Reason;
use mainstay::journal::Record;
use serde_json::Value;

use crate::calls::{SHARED, echo, key};
use crate::counting_transport::TAG;
use crate::fault_proxy::frames::ObservedRequest;
use crate::run_checks::ensure;
use crate::run_result::{CallRecord, RunResult};
use crate::schedule::{CallerBehaviour, ReadMode, RequestKind, Schedule, ScheduledCall};

/// Returns all violations about requests.
pub(crate) fn violations(schedule: &Schedule, result: &RunResult) -> Vec<String> {
    let mut violations = Vec::new();
    let final_phase = schedule.final_phase.as_ref().map_or(0, |final_phase| final_phase.calls.len());
    if result.calls.len() != schedule.calls.len() + final_phase {
        violations.push(format!("{} callers have an answer", result.calls.len()));
    }
    let journal = journalled(&result.records);
    for (id, of_request) in &journal {
        if of_request.ends.len() != 1 || of_request.goes_on {
            violations.push(format!("request {id} has not exactly one end: {of_request:?}"));
        }
    }
    for called in &result.calls {
        let on_the_wire = result.traffic.requests.iter().filter(|seen| seen.header(TAG) == Some(&called.tag));
        let case = RequestCase {
            called,
            end: journal.get(&called.id.0).and_then(|journal| journal.ends.first()),
            seen: on_the_wire.collect(),
            carried_out: result
                .backend
                .messages
                .iter()
                .filter(|message| message["text"] == *called.tag)
                .count(),
            retries: called.call.retries.unwrap_or(schedule.settings.retries).into(),
        };
        if let Err(violation) = case.check() {
            violations.push(format!("{}: {violation}\n    {case:?}", called.tag));
        }
    }
    if result.backend.forgotten > 0 {
        violations
            .push(format!("the ledger has forgotten {} messages: ask less of it", result.backend.forgotten));
    }
    violations
}

/// The end of a request in the journal.
#[derive(Debug, Clone, PartialEq)]
struct RequestEnd {
    kind: String,
    reason: Option<Reason>,
    code: Option<String>,
    status: Option<u64>,
    /// The duration, without those that were evicted.
    attempts: Option<u64>,
}

impl RequestEnd {
    fn is_done(&self) -> bool {
        self.kind == "request_done"
    }

    fn from_record(record: &Record) -> Option<Self> {
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

/// The journal's events about each request, without the ends.
#[derive(Debug, Default)]
struct JournalledRequest {
    ends: Vec<RequestEnd>,
    begun: u64,
    /// True if an event came after the request's end.
    goes_on: bool,
}

fn journalled(records: &[Record]) -> BTreeMap<u64, JournalledRequest> {
    let mut journal: BTreeMap<u64, JournalledRequest> = BTreeMap::new();
    for record in records {
        let Some(id) = record.fields.get("request_id").and_then(Value::as_u64) else { continue };
        let of_request = journal.entry(id).or_default();
        of_request.goes_on |= !of_request.ends.is_empty();
        of_request.begun += u64::from(record.kind == "request_started");
        of_request.ends.extend(RequestEnd::from_record(record));
    }
    journal
}

/// One request, with everything that is known of it.
#[derive(Debug)]
struct RequestCase<'a> {
    called: &'a CallRecord,
    /// The request's id, or `None` if a stopped queue rejected it.
    end: Option<&'a RequestEnd>,
    seen: Vec<&'a ObservedRequest>,
    /// The number of times that the ledger agent received it.
    carried_out: usize,
    retries: u64,
}

impl RequestCase<'_> {
    fn check(&self) -> Result<(), String> {
        let Some(end) = self.end else { return self.check_not_accepted() };
        self.check_answer(end)?;
        self.check_cancellation(end)?;
        if let Some(attempts) = self.attempts(end) {
            ensure(attempts <= self.retries + 1, "there were more attempts than may be")?;
            // The network sees shared requests under one name.
            if self.called.call.kind == RequestKind::Shared {
                return Ok(());
            }
            ensure(attempts > 0 || self.seen.is_empty(), "it was sent without an attempt")?;
            ensure(self.sent() as u64 <= attempts, "it was sent more often than it was attempted")?;
        }
        match self.called.call.kind {
            RequestKind::Get | RequestKind::Shared | RequestKind::Put => Ok(()),
            RequestKind::Post => self.check_single(end),
            RequestKind::KeyedPost { is_generated } => {
                self.check_keys(is_generated)?;
                ensure(!end.is_done() || self.carried_out > 0, "it was answered and not carried out")
            }
            RequestKind::Echo { .. } => self.check_keys(false),
        }
    }

    /// Returns whether its caller did not wait for the whole response.
    fn is_dropped(&self) -> bool {
        let ScheduledCall { caller, reading, .. } = &self.called.call;
        matches!(caller, CallerBehaviour::DropAfterMs(_)) || *reading == ReadMode::Partial
    }

    /// Returns the number of attempts, as the journal or the caller knows.
    fn attempts(&self, end: &RequestEnd) -> Option<u64> {
        let journal = || self.called.outcome.as_ref()?.as_ref().err().map(|error| error.attempts.into());
        end.attempts.or_else(journal)
    }

    /// Returns the number of complete sends.
    fn sent(&self) -> usize {
        self.seen.iter().filter(|seen| seen.is_whole).count()
    }

    /// Checks that only a stopped queue rejects a request, and says so.
    fn check_not_accepted(&self) -> Result<(), String> {
        let may_be = self.called.is_last
            && match &self.called.outcome {
                None => true,
                Some(Ok(_)) => false,
                Some(Err(error)) => error.reason == Reason::Stopped && error.attempts == 0,
            };
        ensure(may_be, "the journal knows of no end of it")?;
        ensure(self.seen.is_empty() && self.carried_out == 0, "it was refused, and sent")
    }

    /// Checks that the caller's result agrees with the journal.
    fn check_answer(&self, end: &RequestEnd) -> Result<(), String> {
        match &self.called.outcome {
            None => ensure(self.is_dropped(), "its caller has no answer"),
            Some(Ok(response)) => {
                ensure(end.is_done(), "it was answered, and the journal says that it failed")?;
                ensure(end.status == Some(u64::from(response.status)), "the statuses differ")?;
                ensure(end.attempts == Some(response.attempts.into()), "the attempts differ")?;
                ensure(response.id == self.called.id, "the ids differ")?;
                self.check_body(&response.body)
            }
            Some(Err(error)) => {
                let kind = match (error.reason, error.code.as_str()) {
                    (Reason::QueueFull | Reason::Evicted, _) => "queue_overflow",
                    (reason, "TIMEOUT") if reason != Reason::Cancelled => "request_timed_out",
                    _ => "request_failed",
                };
                ensure(end.kind == kind, "the journal records another end")?;
                ensure(end.reason == Some(error.reason), "the reasons differ")?;
                ensure(error.request_id == Some(self.called.id), "the ids differ")?;
                ensure(
                    !error.message.replace("not sent again", "").contains("not sent") || self.sent() == 0,
                    "it is reported as not sent",
                )?;
                if kind == "queue_overflow" {
                    return Ok(());
                }
                ensure(end.code.as_deref() == Some(error.code.as_str()), "the codes differ")?;
                ensure(end.status == error.status.map(u64::from), "the statuses differ")?;
                ensure(end.attempts == Some(error.attempts.into()), "the attempts differ")?;
                let own = [
                    Reason::Crashed,
                    Reason::Internal,
                    Reason::NoAnswer,
                    Reason::InvalidRequest,
                    Reason::BodyUnreadable,
                    Reason::BodyChanged,
                ];
                ensure(!own.contains(&error.reason), "it failed for a fault of the runtime itself")
            }
        }
    }

    fn check_body(&self, body: &[u8]) -> Result<(), String> {
        let tag = self.called.tag.as_str();
        let json = || serde_json::from_slice::<Value>(body).unwrap_or_default();
        let is_right = match self.called.call.kind {
            RequestKind::Get => json()["query"] == tag,
            RequestKind::Shared => json()["query"] == SHARED,
            RequestKind::Put => body.is_empty(),
            RequestKind::Post | RequestKind::KeyedPost { .. } => json()["count"].is_u64(),
            RequestKind::Echo { bytes } => body == echo(tag, bytes),
        };
        ensure(is_right, "the answer is that to something else")
    }

    fn check_cancellation(&self, end: &RequestEnd) -> Result<(), String> {
        let is_cancelled = end.reason == Some(Reason::Cancelled);
        match (&self.called.cancelled, self.called.outcome.is_some()) {
            (Some(Ok(true)), true) => ensure(is_cancelled, "it was cancelled, and ended in another way"),
            (Some(Ok(false)), true) => ensure(!is_cancelled, "it had ended, and was cancelled"),
            // A caller that read a part may have cancelled a request that had ended.
            (Some(Ok(_)), false) if self.called.call.reading != ReadMode::Whole => Ok(()),
            (Some(Ok(goes_on)), false) => ensure(!goes_on, "its caller had dropped it, and it went on"),
            // A cancel while the runtime stops returns that error.
            (Some(Err(error)), _) => ensure(error.reason == Reason::Stopped, "cancelling it failed"),
            (None, false) if self.is_dropped() => Ok(()),
            (None, _) => ensure(!is_cancelled, "no caller cancelled it"),
        }
    }

    /// Checks a request that must not be sent twice.
    fn check_single(&self, end: &RequestEnd) -> Result<(), String> {
        let attempts = self.attempts(end).unwrap_or(0);
        ensure(self.sent() <= 1, "it was sent twice")?;
        ensure(self.carried_out <= 1, "it was carried out twice")?;
        match (end.kind.as_str(), end.reason) {
            ("request_done", _) => ensure(self.carried_out == 1, "it was answered and not carried out"),
            (_, Some(Reason::OutcomeUnknown)) => {
                ensure(attempts > 0, "its outcome is unknown, and there was no attempt")
            }
            (_, Some(Reason::Cancelled)) if attempts > 0 => Ok(()),
            // The backend says that the request was incomplete.
            (_, Some(Reason::BadRequest)) => ensure(self.carried_out == 0, "it was refused and carried out"),
            _ => {
                ensure(self.carried_out == 0, "it is reported as not sent, and was carried out")?;
                ensure(self.sent() == 0, "it is reported as not sent, and was")
            }
        }
    }

    /// Checks that all attempts carry one key, the caller's if there is one.
    fn check_keys(&self, is_generated: bool) -> Result<(), String> {
        let keys: BTreeSet<_> = self.seen.iter().map(|seen| seen.header("idempotency-key")).collect();
        ensure(!keys.contains(&None), "an attempt carried no key")?;
        ensure(keys.len() <= 1, "attempts carried different keys")?;
        let given = key(&self.called.tag);
        let is_right = |key: &Option<&str>| (*key == Some(given.as_str())) != is_generated;
        ensure(keys.iter().all(is_right), "it carried the wrong key")
    }
}

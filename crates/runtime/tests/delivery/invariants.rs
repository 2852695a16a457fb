//! Checks the result of a trace against the promises.

use std::collections::BTreeMap;

use fastrand::Rng;
use mainstay_runtime::CallError;
use mainstay_runtime::journal::Record;
use mainstay_runtime::replay;

use crate::changes::{change_value, dotted_path, leaf_paths};
use crate::driver::TraceResult;
use crate::trace::HandlerAction::{
    self, AnswerAfter, AnswerThenPanic, Fail, Hang, Panic, PanicAfter, PanicInSnapshot,
};
use crate::trace::{RandomTrace, SendMode, TestMessage};
use crate::worker::{Acceptance, DeliveryRecord, LABELS};

/// Returns all violations.
pub(crate) fn violations(trace: &RandomTrace, result: &TraceResult) -> Vec<String> {
    let mut violations = Vec::new();
    if result.unanswered > 0 {
        violations.push(format!("{} callers or commands never got an answer", result.unanswered));
    }
    for (id, (message, entry)) in trace.messages.iter().zip(&result.entries).enumerate() {
        let message_records = MessageRecords::collect(LABELS[id], &result.records);
        let case = MessageCheck { id, message, entry, records: &message_records };
        if let Err(violation) = case.check() {
            violations.push(format!(
                "{}: {violation}\n    {message:?}\n    {entry:?}\n    {message_records:?}",
                LABELS[id]
            ));
        }
    }
    violations.extend(check_sequence(&result.records));
    violations.extend(check_incarnations(&result.records));
    violations.extend(check_replay(trace.seed, &result.records));
    violations
}

/// Checks that sequence numbers begin with 1 and skip none.
fn check_sequence(records: &[Record]) -> Option<String> {
    let skipped = records.iter().zip(1..).find(|(record, seq)| record.seq != *seq);
    skipped.map(|(record, seq)| format!("number {seq} is {}", record.seq))
}

/// Checks that each incarnation that began has ended once.
fn check_incarnations(records: &[Record]) -> Vec<String> {
    let mut balance: BTreeMap<(&str, u64), i32> = BTreeMap::new();
    for record in records {
        let change = match record.kind.as_str() {
            "actor_started" => 1,
            "actor_exited" => -1,
            _ => continue,
        };
        *balance.entry((&record.actor, record.generation)).or_default() += change;
    }
    let unbalanced = balance.into_iter().filter(|(_, balance)| *balance != 0);
    unbalanced.map(|(who, balance)| format!("{who:?}: {balance} more starts than exits")).collect()
}

/// Checks that each decision follows from the journal's events, that missing events are counted and nothing else, and
/// that a changed decision is found.
fn check_replay(seed: u64, records: &[Record]) -> Vec<String> {
    let report = replay::check(records.iter().cloned());
    let mut violations: Vec<_> = report.differences.iter().map(ToString::to_string).collect();
    if (report.replayed, report.missing) != (report.decisions, 0) {
        violations.push(format!("not every decision was decided again: {report:?}"));
    }
    let mut rng = Rng::with_seed(seed);
    let share = rng.usize(1..10);
    let left: Vec<Record> = records.iter().filter(|_| rng.usize(0..10) >= share).cloned().collect();
    let ends = left.first().zip(left.last()).map(|(first, last)| last.seq - first.seq + 1);
    let missing = ends.map_or(0, |numbers| numbers - left.len() as u64);
    let report = replay::check(left);
    if !report.agrees() || report.missing != missing {
        violations.push(format!("{missing} events are missing, and it reports {report:?}"));
    }
    violations.extend(check_changed_decision(&mut rng, records.to_vec()));
    violations
}

/// Changes one value of the outcome of one decision, which the replay must find.
fn check_changed_decision(rng: &mut Rng, mut records: Vec<Record>) -> Option<String> {
    let decisions: Vec<usize> = (0..records.len()).filter(|at| records[*at].kind == "decision").collect();
    let at = rng.choice(decisions)?;
    let outcome = ["decision", "delay_ms", "attempt", "state", "budget", "scope"];
    let is_outcome = |path: &String| outcome.iter().any(|name| path[1..].starts_with(name));
    let path =
        rng.choice(leaf_paths(&records[at].fields).into_iter().filter(is_outcome).collect::<Vec<_>>())?;
    change_value(&mut records[at].fields, &path);
    let (cursor, field) = (records[at].cursor(), dotted_path(&path));
    let report = replay::check(records);
    let is_it = |found: &replay::Difference| found.event == Some(cursor) && field.starts_with(&found.field);
    let is_found = report.differences.iter().any(is_it);
    (!is_found).then(|| format!("the changed {field} at {cursor} is not found: {:?}", report.differences))
}

/// The journal's events about one message.
#[derive(Debug)]
struct MessageRecords {
    /// The reason and the number of crashes.
    dead_letters: Vec<(String, Option<u64>)>,
    redelivered: usize,
}

impl MessageRecords {
    fn collect(label: &str, records: &[Record]) -> Self {
        let message_records =
            records.iter().filter(|record| record.fields.get("label").is_some_and(|own| own == label));
        let mut records = Self { dead_letters: Vec::new(), redelivered: 0 };
        for record in message_records {
            match record.kind.as_str() {
                "dead_letter" => {
                    let reason = record.fields["reason"].as_str().unwrap_or_default().to_owned();
                    records
                        .dead_letters
                        .push((reason, record.fields.get("crashes").and_then(serde_json::Value::as_u64)));
                }
                "redelivered" => records.redelivered += 1,
                _ => {}
            }
        }
        records
    }
}

/// One message, with everything that is known of it.
struct MessageCheck<'a> {
    id: usize,
    message: &'a TestMessage,
    entry: &'a DeliveryRecord,
    records: &'a MessageRecords,
}

impl MessageCheck<'_> {
    fn check(&self) -> Result<(), String> {
        if !self.was_accepted() || self.entry.is_outside {
            return self.check_refused();
        }
        ensure(self.entry.ended + self.records.dead_letters.len() == 1, "it has not exactly one outcome")?;
        ensure(
            self.records.redelivered == self.entry.deliveries.len().saturating_sub(1),
            "the journal does not record each delivery but the first",
        )?;
        ensure(self.message.is_redeliverable || self.entry.deliveries.len() <= 1, "it was handled twice")?;
        ensure(!self.must_be_poison() || self.is_dead("poison"), "it was not quarantined")?;
        if let Some((reason, crashes)) = self.records.dead_letters.first() {
            self.check_reason(reason, *crashes)?;
        }
        self.check_answer()
    }

    /// A send whose sender stopped waiting for room, or met a stopped actor, was not accepted.
    fn was_accepted(&self) -> bool {
        match self.entry.accepted {
            Acceptance::Yes => true,
            Acceptance::NotSent | Acceptance::No => false,
            Acceptance::Unknown => !self.entry.deliveries.is_empty() || !self.records.dead_letters.is_empty(),
        }
    }

    fn check_refused(&self) -> Result<(), String> {
        let trail = self.entry.deliveries.len()
            + self.entry.ended
            + self.records.dead_letters.len()
            + self.records.redelivered;
        ensure(trail == 0, "it was refused, and left a trail")?;
        let calls = match self.message.send_mode {
            SendMode::Call | SendMode::CallWithin(_) => true,
            SendMode::Ask => self.entry.accepted == Acceptance::Yes,
            SendMode::Cast | SendMode::TryCast => false,
        };
        match self.entry.answers[..] {
            [] => ensure(!calls, "its caller has no answer"),
            [Err(CallError::Stopped)] => ensure(calls, "it was no call"),
            [Err(CallError::TimedOut)] => ensure(self.has_time_limit(), "it had no time limit"),
            _ => Err("it was refused, and answered otherwise".to_owned()),
        }
    }

    fn has_time_limit(&self) -> bool {
        matches!(self.message.send_mode, SendMode::CallWithin(_))
    }

    fn is_dead(&self, reason: &str) -> bool {
        self.records.dead_letters.iter().any(|(records, _)| records == reason)
    }

    fn deliveries_with(&self, which: impl Fn(HandlerAction) -> bool) -> usize {
        self.entry.deliveries.iter().filter(|action| which(**action)).count()
    }

    fn must_be_poison(&self) -> bool {
        self.message.is_redeliverable
            && self.deliveries_with(crashes_at_once) >= self.message.crashes_max as usize
    }

    fn check_reason(&self, reason: &str, crashes: Option<u64>) -> Result<(), String> {
        let max = u64::from(self.message.crashes_max);
        let crashed = self.deliveries_with(may_crash) as u64;
        ensure(
            (reason == "poison") == crashes.is_some(),
            "crashes are recorded of poison, and of nothing else",
        )?;
        match reason {
            "poison" => {
                ensure(self.message.is_redeliverable && crashes == Some(max), "it is no poison")?;
                ensure(crashed >= max, "it did not crash as often")
            }
            "crashed" => ensure(!self.message.is_redeliverable && crashed == 1, "nothing crashed on it"),
            "expired" => ensure(self.has_time_limit(), "it had no deadline"),
            "stopped" => {
                let interrupted = self.entry.deliveries.last().is_none_or(|action| may_be_killed(*action));
                ensure(self.message.is_redeliverable || interrupted, "its handler was not interrupted")
            }
            _ => Err(format!("{reason} is no reason")),
        }
    }

    fn check_answer(&self) -> Result<(), String> {
        if matches!(self.message.send_mode, SendMode::Cast | SendMode::TryCast) {
            return ensure(self.entry.answers.is_empty(), "it was no call");
        }
        let [answer] = self.entry.answers[..] else {
            return Err(format!("its caller got {} answers", self.entry.answers.len()));
        };
        // An earlier delivery may have answered before it crashed.
        let answered_early =
            self.deliveries_with(|action| matches!(action, AnswerThenPanic | PanicInSnapshot)) > 0;
        let fits = match answer {
            Ok(id) => id == self.id && (answered_early || self.ends_with(may_answer)),
            Err(CallError::TimedOut) => self.has_time_limit(),
            Err(_) if answered_early => false,
            Err(CallError::Crashed) => {
                self.is_dead("crashed") || self.is_dead("poison") || self.ends_with(may_leave_waiting)
            }
            Err(CallError::Stopped) => self.is_dead("stopped") || self.ends_with(may_leave_waiting),
            Err(CallError::NoReply) => self.ends_with(|action| action == HandlerAction::DropReply),
            // The message's deadline and the caller's timeout are the same moment; either may come first.
            Err(CallError::Expired) => self.is_dead("expired"),
            Err(CallError::Full) => false,
        };
        ensure(fits, &format!("{answer:?} does not fit its end"))
    }

    /// Returns whether a handler returned after such an action.
    fn ends_with(&self, which: impl Fn(HandlerAction) -> bool) -> bool {
        self.entry.ended == 1 && self.entry.deliveries.last().is_some_and(|action| which(*action))
    }
}

fn ensure(holds: bool, violation: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(violation.to_owned()) }
}

/// Returns whether the action crashes before its handler can be killed.
fn crashes_at_once(action: HandlerAction) -> bool {
    matches!(action, Panic | Fail | AnswerThenPanic | PanicInSnapshot)
}

/// Returns whether the action crashes, or may take longer than its worker may take.
fn may_crash(action: HandlerAction) -> bool {
    crashes_at_once(action) || matches!(action, PanicAfter(_) | AnswerAfter(_) | Hang)
}

fn may_be_killed(action: HandlerAction) -> bool {
    matches!(action, AnswerAfter(_) | PanicAfter(_) | Hang)
}

fn may_answer(action: HandlerAction) -> bool {
    !matches!(action, HandlerAction::DropReply)
}

/// Returns whether the caller may still wait when the handler returns.
fn may_leave_waiting(action: HandlerAction) -> bool {
    matches!(action, HandlerAction::HoldReply | HandlerAction::AnswerFromTask(_))
}

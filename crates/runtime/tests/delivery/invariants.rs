//! Whether what came of a trace is what was promised.

use std::collections::BTreeMap;

use mainstay_runtime::CallError;
use mainstay_runtime::journal::Record;
use mainstay_runtime::replay;

use crate::driver::TraceResult;
use crate::trace::{HandlerAction, LABELS, RandomTrace, SendMode, TestMessage};
use crate::worker::{Acceptance, DeliveryRecord};

/// Everything that is wrong.
pub(crate) fn violations(trace: &RandomTrace, lived: &TraceResult) -> Vec<String> {
    let mut faults = Vec::new();
    if lived.unanswered > 0 {
        faults.push(format!("{} callers or orders never got an answer", lived.unanswered));
    }
    for (id, (letter, entry)) in trace.messages.iter().zip(&lived.entries).enumerate() {
        let of_letter = MessageRecords::collect(LABELS[id], &lived.records);
        let case = MessageCheck { id, message: letter, entry, records: &of_letter };
        if let Err(fault) = case.check() {
            faults.push(format!("{}: {fault}\n    {letter:?}\n    {entry:?}\n    {of_letter:?}", LABELS[id]));
        }
    }
    faults.extend(check_sequence(&lived.records));
    faults.extend(check_incarnations(&lived.records));
    // What was decided must follow from what the journal tells.
    let replayed = replay::check(lived.records.iter().cloned());
    faults.extend(replayed.differences.iter().map(ToString::to_string));
    faults
}

/// Sequence numbers begin with 1 and skip none.
fn check_sequence(records: &[Record]) -> Option<String> {
    let skipped = records.iter().zip(1..).find(|(record, seq)| record.seq != *seq);
    skipped.map(|(record, seq)| format!("number {seq} is {}", record.seq))
}

/// Each incarnation that began has ended, once.
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

/// What the journal tells of a letter.
#[derive(Debug)]
struct MessageRecords {
    /// Reason, and how many crashes.
    dead_letters: Vec<(String, Option<u64>)>,
    redelivered: usize,
}

impl MessageRecords {
    fn collect(label: &str, records: &[Record]) -> Self {
        let of_letter =
            records.iter().filter(|record| record.fields.get("label").is_some_and(|own| own == label));
        let mut told = Self { dead_letters: Vec::new(), redelivered: 0 };
        for record in of_letter {
            match record.kind.as_str() {
                "dead_letter" => {
                    let reason = record.fields["reason"].as_str().unwrap_or_default().to_owned();
                    told.dead_letters
                        .push((reason, record.fields.get("crashes").and_then(serde_json::Value::as_u64)));
                }
                "redelivered" => told.redelivered += 1,
                _ => {}
            }
        }
        told
    }
}

/// One letter, with everything that is known of it.
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
        ensure(self.entry.ended + self.records.dead_letters.len() == 1, "it has not exactly one fate")?;
        ensure(
            self.records.redelivered == self.entry.deliveries.len().saturating_sub(1),
            "the journal does not tell each delivery but the first",
        )?;
        ensure(self.message.is_redeliverable || self.entry.deliveries.len() <= 1, "it was handled twice")?;
        ensure(!self.must_be_poison() || self.is_dead("poison"), "it was not quarantined")?;
        if let Some((reason, crashes)) = self.records.dead_letters.first() {
            self.check_reason(reason, *crashes)?;
        }
        self.check_answer()
    }

    /// One that waited for room until its sender gave up, or was told that the actor is stopped, was not.
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
            [] => ensure(!calls, "its caller was not told"),
            [Err(CallError::Stopped)] => ensure(calls, "nobody asked"),
            [Err(CallError::TimedOut)] => ensure(self.has_patience(), "nobody said how long"),
            _ => Err("it was refused, and answered otherwise".to_owned()),
        }
    }

    fn has_patience(&self) -> bool {
        matches!(self.message.send_mode, SendMode::CallWithin(_))
    }

    fn is_dead(&self, reason: &str) -> bool {
        self.records.dead_letters.iter().any(|(told, _)| told == reason)
    }

    fn deliveries_with(&self, which: impl Fn(HandlerAction) -> bool) -> usize {
        self.entry.deliveries.iter().filter(|deed| which(**deed)).count()
    }

    fn must_be_poison(&self) -> bool {
        self.message.is_redeliverable
            && self.deliveries_with(crashes_at_once) >= self.message.crashes_max as usize
    }

    fn check_reason(&self, reason: &str, crashes: Option<u64>) -> Result<(), String> {
        let max = u64::from(self.message.crashes_max);
        let crashed = self.deliveries_with(may_crash) as u64;
        ensure((reason == "poison") == crashes.is_some(), "crashes are told of poison, and of nothing else")?;
        match reason {
            "poison" => {
                ensure(self.message.is_redeliverable && crashes == Some(max), "it is no poison")?;
                ensure(crashed >= max, "it did not crash as often")
            }
            "crashed" => ensure(!self.message.is_redeliverable && crashed == 1, "nothing crashed on it"),
            "expired" => ensure(self.has_patience(), "it had no deadline"),
            "stopped" => {
                let interrupted = self.entry.deliveries.last().is_none_or(|deed| may_be_killed(*deed));
                ensure(self.message.is_redeliverable || interrupted, "its handler was not interrupted")
            }
            _ => Err(format!("{reason} is no reason")),
        }
    }

    fn check_answer(&self) -> Result<(), String> {
        if matches!(self.message.send_mode, SendMode::Cast | SendMode::TryCast) {
            return ensure(self.entry.answers.is_empty(), "nobody asked");
        }
        let [answer] = self.entry.answers[..] else {
            return Err(format!("its caller got {} answers", self.entry.answers.len()));
        };
        // An earlier delivery may have answered before it crashed.
        let answered_early = self.deliveries_with(|deed| {
            matches!(deed, HandlerAction::AnswerThenPanic | HandlerAction::PanicInSnapshot)
        }) > 0;
        let fits = match answer {
            Ok(id) => id == self.id && (answered_early || self.ends_with(may_answer)),
            Err(CallError::TimedOut) => self.has_patience(),
            Err(_) if answered_early => false,
            Err(CallError::Crashed) => {
                self.is_dead("crashed") || self.is_dead("poison") || self.ends_with(may_leave_waiting)
            }
            Err(CallError::Stopped) => self.is_dead("stopped") || self.ends_with(may_leave_waiting),
            Err(CallError::Unanswered) => self.ends_with(|deed| deed == HandlerAction::DropReply),
            // Its deadline and the end of its caller's patience are one moment: either may be seen first.
            Err(CallError::Expired) => self.is_dead("expired"),
            Err(CallError::Full) => false,
        };
        ensure(fits, &format!("{answer:?} does not fit what became of it"))
    }

    /// Whether it was handled to its end, by such a deed.
    fn ends_with(&self, which: impl Fn(HandlerAction) -> bool) -> bool {
        self.entry.ended == 1 && self.entry.deliveries.last().is_some_and(|deed| which(*deed))
    }
}

fn ensure(holds: bool, fault: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(fault.to_owned()) }
}

/// Whether the deed crashes before anybody could kill its handler.
fn crashes_at_once(deed: HandlerAction) -> bool {
    matches!(
        deed,
        HandlerAction::Panic
            | HandlerAction::Fail
            | HandlerAction::AnswerThenPanic
            | HandlerAction::PanicInSnapshot
    )
}

/// Whether the deed crashes, or may take longer than its worker is granted.
fn may_crash(deed: HandlerAction) -> bool {
    crashes_at_once(deed)
        || matches!(deed, HandlerAction::PanicAfter(_) | HandlerAction::AnswerAfter(_) | HandlerAction::Hang)
}

fn may_be_killed(deed: HandlerAction) -> bool {
    matches!(deed, HandlerAction::AnswerAfter(_) | HandlerAction::PanicAfter(_) | HandlerAction::Hang)
}

fn may_answer(deed: HandlerAction) -> bool {
    !matches!(deed, HandlerAction::DropReply)
}

/// Whether the caller may still wait when the handler has come to its end.
fn may_leave_waiting(deed: HandlerAction) -> bool {
    matches!(deed, HandlerAction::HoldReply | HandlerAction::AnswerFromTask(_))
}

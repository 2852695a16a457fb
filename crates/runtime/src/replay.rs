//! Repeats a journal's decisions, and finds where the journal and the policy disagree.
//!
//! [`decide`](crate::policy::decide) is pure, and the journal holds everything that a decision followed from. So
//! every decision can be checked afterwards, without the runtime that made it:
//!
//! - against its own inputs: repeated, they must give the same decision
//! - against earlier events: its histories and policies are those that the last decision left behind, and its exit is
//!   the recorded one
//! - against later events: no actor starts before its delay is over, or at all, unless by command
//!
//! A replay reports only what is certain. Where numbers are missing, the earlier state is dropped. Checks go on from
//! where the state is known again.
//!
//! - `recheck`: one decision against its own inputs; `exit_check`: its exit against the incarnation's events
//! - `replayer`: one run of a runtime, with a `timeline` of each actor
//! - [`Report`], [`Difference`]: the results

mod exit_check;
mod mismatch;
mod recheck;
mod replayer;
mod report;
#[cfg(test)]
mod tests;
mod timeline;

use std::path::Path;

use serde_json::Value;

pub use report::{Difference, Report};

use crate::events::{Decided, RuntimeStarted};
use crate::journal::{Cursor, Entry, Event, Record};
use mismatch::Mismatch;
use recheck::{ParseOutcome, RecordedDecision};
use replayer::Replayer;

/// Checks the decisions among `records`, which must be in the order of their numbers.
///
/// ```
/// use mainstay_runtime::replay;
///
/// let report = replay::check([]);
/// assert!(report.agrees() && report.events == 0);
/// ```
pub fn check(records: impl IntoIterator<Item = Record>) -> Report {
    let mut replay = Replay::new();
    for record in records {
        replay.add_event(&record);
    }
    replay.into_report()
}

/// A replay in progress: it takes the entries of a journal one by one, and gives a [`Report`].
///
/// It keeps what it knows of each actor of the current run, and never an entry.
#[derive(Debug, Default)]
pub struct Replay {
    report: Report,
    replayer: Replayer,
    /// Damaged lines since the last event. Each accounts for one number.
    damaged_since_event: u64,
}

impl Replay {
    /// Returns a replay that has read nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next entry.
    pub fn add_entry(&mut self, entry: &Entry) {
        match entry {
            Entry::Event(record, _) => self.add_event(record),
            Entry::Damaged { file, offset_bytes, reason } => self.add_damaged(file, *offset_bytes, reason),
            Entry::OlderFormat { .. } => {}
            Entry::Missing { after, before } => self.missing(*after, *before),
        }
    }

    /// Returns the results.
    #[must_use]
    pub fn into_report(self) -> Report {
        self.report
    }

    fn add_event(&mut self, record: &Record) {
        self.check_seq(record);
        self.check_run(record);
        self.report.events += 1;
        let mut found = self.replayer.check_time(record);
        if record.kind == Decided::KIND {
            found.extend(self.check_decision(record));
        } else {
            found.extend(self.replayer.apply_event(record));
        }
        self.report_mismatches(record, found);
    }

    fn report_mismatches(&mut self, record: &Record, found: Vec<Mismatch>) {
        for mismatch in found {
            self.report.add(Difference::from_mismatch(record, mismatch));
        }
    }

    // === numbers ===

    /// Checks that runs and numbers rise, and forgets what is known where some are missing.
    fn check_seq(&mut self, record: &Record) {
        let cursor = record.cursor();
        self.report.first.get_or_insert(cursor);
        match self.report.last {
            Some(last) if cursor.run < last.run => {
                let message = "this run had ended: another one had begun";
                self.report_mismatches(
                    record,
                    vec![Mismatch::new("run", cursor.run.into(), last.run.into(), message)],
                );
            }
            Some(last) if cursor.run == last.run && cursor.seq <= last.seq => {
                self.replayer.clear_timelines();
                let message = "numbers rise and never repeat within a run";
                let expected = last.seq.saturating_add(1).into();
                self.report_mismatches(
                    record,
                    vec![Mismatch::new("seq", cursor.seq.into(), expected, message)],
                );
            }
            Some(last) if cursor.run > last.run && cursor.seq == 1 => {}
            Some(last) => self.missing(last, cursor),
            None => {}
        }
        self.report.last = Some(cursor);
        self.damaged_since_event = 0;
    }

    /// Counts the numbers that are missing between two places, where a damaged line accounts for one. The count for
    /// an earlier run is not known.
    fn missing(&mut self, after: Cursor, before: Cursor) {
        let first = if after.run == before.run { after.seq } else { 0 };
        let gone = before.seq.saturating_sub(first.saturating_add(1));
        let lost = gone.saturating_sub(self.damaged_since_event);
        self.report.missing = self.report.missing.saturating_add(lost);
        self.report.last = Some(Cursor { seq: before.seq.saturating_sub(1), ..before });
        self.damaged_since_event = 0;
        if gone > 0 || after.run != before.run {
            self.replayer.clear_timelines();
        }
    }

    fn add_damaged(&mut self, file: &Path, offset_bytes: u64, reason: &str) {
        self.replayer.clear_timelines();
        self.report.damaged += 1;
        self.damaged_since_event += 1;
        self.report.add(Difference {
            event: self
                .report
                .last
                .map(|last| Cursor { seq: last.seq.saturating_add(self.damaged_since_event), ..last }),
            at: None,
            actor: None,
            field: "line".to_owned(),
            stated: Value::Null,
            expected: Value::Null,
            message: format!("{} is damaged at byte {offset_bytes}: {reason}", file.display()),
        });
    }

    // === runs ===

    /// Begins another run at the first event of its number, or at a second `runtime_started` in the same run.
    fn check_run(&mut self, record: &Record) {
        let is_same = self.replayer.number() == Some(record.run);
        let begins = record.kind == RuntimeStarted::KIND;
        if is_same && !(begins && self.replayer.has_started) {
            self.replayer.has_started |= begins;
            return;
        }
        self.report.runs += 1;
        self.replayer = Replayer::new(record);
    }

    // === decisions ===

    fn check_decision(&mut self, record: &Record) -> Vec<Mismatch> {
        self.report.decisions += 1;
        match RecordedDecision::parse(record) {
            ParseOutcome::OlderFormat => {
                self.report.not_replayable += 1;
                self.replayer.discard_knowledge(record);
                Vec::new()
            }
            ParseOutcome::Malformed(mismatch) => {
                self.replayer.discard_knowledge(record);
                vec![mismatch]
            }
            ParseOutcome::Complete(stated) => {
                self.report.replayed += 1;
                self.replayer.check_decision(record, &stated)
            }
        }
    }
}

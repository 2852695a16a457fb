//! Decides a journal's decisions again, and finds where the journal and the policy do not agree.
//!
//! [`decide`](crate::policy::decide) is pure and everything that a decision followed from stands in the journal, so
//! every decision can be checked afterwards, by anybody, without the runtime that made it:
//!
//! - against its own inputs: decided again, they must give the same
//! - against what came before it: the histories and policies that it began with are those that the last decision left
//!   behind, and its exit is the one that the journal tells
//! - against what came after it: nobody starts before the delay is over, or at all, unless told to by hand
//!
//! Nothing is claimed that is not certain. Where numbers are missing, what was carried along is forgotten, and checked
//! again from where it is known again.
//!
//! - `verdict`: one decision against its own inputs; `exit`: its exit against what is known of it
//! - `run`: one run of a runtime, and what is known of its actors (`trace`) on the way
//! - [`Report`], [`Difference`]: what is found

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

/// Checks the decisions among `records`, which come in the order of their numbers.
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

/// A replay under way: entries of a journal go in, one after the other, and a [`Report`] comes out.
///
/// It keeps what it knows of each actor of the present run, and never an entry.
#[derive(Debug, Default)]
pub struct Replay {
    report: Report,
    replayer: Replayer,
    /// Damaged lines since the last event: each accounts for one number.
    damaged_since_event: u64,
}

impl Replay {
    /// A replay that has read nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads on.
    pub fn add_entry(&mut self, entry: &Entry) {
        match entry {
            Entry::Event(record, _) => self.add_event(record),
            Entry::Damaged { file, offset_bytes, reason } => self.add_damaged(file, *offset_bytes, reason),
            Entry::OlderFormat { .. } => {}
            Entry::Missing { after, before } => self.missing(*after, *before),
        }
    }

    /// What has been found.
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

    /// Checks that runs and numbers rise, and forgets what was carried where some are missing.
    fn check_seq(&mut self, record: &Record) {
        let cursor = record.cursor();
        self.report.first.get_or_insert(cursor);
        match self.report.last {
            Some(last) if cursor.run < last.run => {
                let why = "this run was over: another one had begun";
                self.report_mismatches(
                    record,
                    vec![Mismatch::new("run", cursor.run.into(), last.run.into(), why)],
                );
            }
            Some(last) if cursor.run == last.run && cursor.seq <= last.seq => {
                self.replayer.clear_timelines();
                let why = "numbers rise and never repeat within a run";
                let expected = last.seq.saturating_add(1).into();
                self.report_mismatches(record, vec![Mismatch::new("seq", cursor.seq.into(), expected, why)]);
            }
            Some(last) if cursor.run > last.run && cursor.seq == 1 => {}
            Some(last) => self.missing(last, cursor),
            None => {}
        }
        self.report.last = Some(cursor);
        self.damaged_since_event = 0;
    }

    /// Counts the numbers that are missing between two places, where a damaged line accounts for one. Of an earlier run, it
    /// is not known how many there were.
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
            what: "line".to_owned(),
            stated: Value::Null,
            expected: Value::Null,
            why: format!("{} is damaged at byte {offset_bytes}: {reason}", file.display()),
        });
    }

    // === runs ===

    /// A runtime begins with another run, or with a second `runtime_started` in the same one.
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

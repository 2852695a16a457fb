//! `mainstay dead-letters`: the messages that were not handled, and why.

use std::collections::VecDeque;

use anstyle::Style;
use mainstay_runtime::events::DeadLetter;
use mainstay_runtime::journal::{Cursor, Entry, Event, Reader, Record};
use serde_json::Value;

use super::error::CliError;
use super::journal;
use super::output::{self, Output};
use crate::DataDir;

/// The table has at most this many rows; `--json` prints all.
const SHOWN_MAX: usize = 1000;

pub(super) fn dead_letters(out: &mut Output, json: bool, data: &DataDir) -> Result<(), CliError> {
    let mut reader = Reader::after(&journal::journal_folder(data)?, Cursor::START);
    let mut newest = VecDeque::new();
    let mut earlier = 0;
    while let Some(entry) = reader.next_entry()? {
        match entry {
            Entry::Event(record, line) if record.kind == DeadLetter::KIND => {
                if json {
                    out.line(&line)?;
                    continue;
                }
                if newest.len() == SHOWN_MAX {
                    newest.pop_front();
                    earlier += 1;
                }
                newest.push_back(row(&record));
            }
            entry => journal::report_flaw(&entry),
        }
    }
    if json { Ok(()) } else { show(out, newest, earlier) }
}

fn show(out: &mut Output, newest: VecDeque<Vec<(String, Style)>>, earlier: usize) -> Result<(), CliError> {
    if newest.is_empty() {
        return out.line("no dead letters: every message was handled");
    }
    if earlier > 0 {
        out.line(&format!("{earlier} earlier ones are left out; --json prints all"))?;
    }
    out.table(&["time", "actor", "message", "reason", "meaning"], &Vec::from(newest))
}

fn row(record: &Record) -> Vec<(String, Style)> {
    let text = |name: &str| record.fields.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
    let meaning = record.event::<DeadLetter>().map_or_else(String::new, |dead| dead.explain());
    vec![
        (record.at.clone(), output::DIM),
        (record.actor.clone(), output::PLAIN),
        (text("label"), output::PLAIN),
        (text("reason"), output::WARNING),
        (meaning, output::DIM),
    ]
}

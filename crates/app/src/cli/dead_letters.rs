//! `mainstay dead-letters`: the messages to actors that were not handled, those to agents that ended with an error, and
//! why. An error that the agent itself answered counts too: no other list has it.

use std::collections::VecDeque;

use anstyle::Style;
use mainstay_actors::agent::MessageFailed;
use mainstay_runtime::events::DeadLetter;
use mainstay_runtime::journal::{Cursor, Entry, Event, Reader, Record};
use serde_json::Value;

use super::args::OutputForm;
use super::error::CliError;
use super::journal::{self, FlawReport};
use super::output::{self, Output};
use crate::{DataDir, Reason};

/// The table has at most this many rows; `--json` prints all.
const SHOWN_MAX: usize = 1000;

pub(super) fn dead_letters(out: &mut Output, form: OutputForm, data: &DataDir) -> Result<(), CliError> {
    let json = form == OutputForm::Json;
    let mut reader = Reader::after(&journal::journal_folder(data)?, Cursor::START);
    let mut newest = VecDeque::new();
    let mut earlier = 0;
    let mut flaws = FlawReport::default();
    while let Some(entry) = reader.next_entry().map_err(journal::unreadable)? {
        match entry {
            Entry::Event(record, line) if is_undelivered(&record) => {
                if json {
                    out.line(&line)?;
                    continue;
                }
                if newest.len() == SHOWN_MAX {
                    newest.pop_front();
                    earlier += 1;
                }
                newest.push_back(row(out, &record));
            }
            entry => flaws.add(&entry),
        }
    }
    flaws.finish();
    if json { Ok(()) } else { show(out, newest, earlier) }
}

fn show(out: &mut Output, newest: VecDeque<Vec<(String, Style)>>, earlier: usize) -> Result<(), CliError> {
    if newest.is_empty() {
        return out
            .line("no dead letters: every message was handled, and none to an agent ended with an error");
    }
    if earlier > 0 {
        out.line(&format!("{earlier} earlier ones are left out; -o json prints all"))?;
    }
    let header: &[&str] = match out.is_wide() {
        true => &["time", "actor", "message", "meaning", "reason"],
        false => &["time", "actor", "message", "meaning"],
    };
    out.table(header, &Vec::from(newest))
}

/// Returns whether a message was not handled, or one to an agent ended with an error and was not cancelled.
fn is_undelivered(record: &Record) -> bool {
    match &*record.kind {
        DeadLetter::KIND => true,
        MessageFailed::KIND => {
            record.event::<MessageFailed>().is_none_or(|failed| failed.reason != Reason::Cancelled)
        }
        _ => false,
    }
}

fn row(out: &Output, record: &Record) -> Vec<(String, Style)> {
    let text = |name: &str| record.fields.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
    let (message, meaning) = match record.event::<MessageFailed>() {
        Some(failed) => {
            let message = format!("message {}", failed.message_id);
            let sentence = failed.describe();
            let meaning = sentence.strip_prefix(&message).unwrap_or(&sentence).trim_start().to_owned();
            (message, meaning)
        }
        None => {
            let meaning = record.event::<DeadLetter>().map_or_else(String::new, |dead| dead.explain());
            (text("label"), meaning)
        }
    };
    let mut row = vec![
        (record.at.parse().map_or_else(|_| record.at.clone(), |at| out.moment(at)), output::DIM),
        (record.actor.clone(), output::PLAIN),
        (message, output::PLAIN),
        (meaning, output::WARNING),
    ];
    if out.is_wide() {
        row.push((text("reason"), output::DIM));
    }
    row
}

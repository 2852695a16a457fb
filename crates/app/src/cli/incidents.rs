//! `mainstay incidents` and `mainstay why`: what went wrong, and why. Both read the journal.

use std::collections::{BTreeSet, VecDeque};

use anstyle::Style;
use jiff::{SignedDuration, Timestamp};
use mainstay_actors::json::Json;
use mainstay_runtime::clock::{Clock, SystemClock};
use mainstay_runtime::journal::{Cursor, Entry, Reader, Record, escape_controls, millis_text};
use serde::Serialize;

use super::args::{IncidentsArgs, OutputForm};
use super::error::CliError;
use super::event_format;
use super::journal::{self, FlawReport};
use super::output::{self, Output};
use crate::bridge::IncidentStory;
use crate::incidents::{Incident, IncidentLog, IncidentQuery};
use crate::suggestion::unknown_name;
use crate::tree_place::short_path;
use crate::{DataDir, Reason};

/// The events about something without an incident that are shown.
const EVENTS_SHOWN_MAX: usize = 10;
/// The earlier incidents that are named.
const EARLIER_MAX: usize = 5;
/// The names of actors that an error chooses from. There are seldom more.
const NAMES_MAX: usize = 10_000;

/// Lists the incidents, the newest last.
pub(super) fn list(out: &mut Output, args: &IncidentsArgs, data: &DataDir) -> Result<(), CliError> {
    let form = args.output.form();
    out.set_wide(form.is_wide());
    let mut log = IncidentLog::default();
    read_journal(data, |record| log.apply(&record))?;
    let since = args.since.map(|span| {
        let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
        SystemClock.now().checked_sub(span).unwrap_or(Timestamp::MIN)
    });
    let incidents = log.incidents().filter(|incident| is_recent(incident, since));
    if form == OutputForm::Json {
        let stories: Vec<IncidentStory> = incidents.cloned().map(IncidentStory::from).collect();
        return print_json(out, &stories);
    }
    let rows: Vec<_> = incidents.map(|incident| row(out, incident)).collect();
    if rows.is_empty() {
        return out.line("no incidents: the journal has nothing that went wrong");
    }
    out.table(&["incident", "began", "lasted", "what happened first"], &rows)?;
    out.line(&out.paint("mainstay why INCIDENT explains one", output::DIM))
}

/// Explains the last incident about `subject`, or else shows what the journal has about it.
pub(super) fn why(out: &mut Output, subject: &str, form: OutputForm, data: &DataDir) -> Result<(), CliError> {
    out.set_wide(form.is_wide());
    let query = IncidentQuery::from(subject);
    let mut log = IncidentLog::default();
    let mut mentions = Mentions::default();
    read_journal(data, |record| {
        log.apply(&record);
        mentions.add(record, &query);
    })?;
    let found: Vec<&Incident> = log.incidents().filter(|incident| query.matches(incident)).collect();
    let Some((last, earlier)) = found.split_last() else {
        return mentions.show(out, subject, &query, form);
    };
    if form == OutputForm::Json {
        return print_json(out, &IncidentStory::from((*last).clone()));
    }
    print_story(out, last)?;
    let earlier: Vec<String> =
        earlier.iter().rev().take(EARLIER_MAX).map(|incident| incident.id.to_string()).collect();
    if earlier.is_empty() {
        return Ok(());
    }
    out.line(&out.paint(&format!("Earlier incidents about it: {}", earlier.join(", ")), output::DIM))
}

/// Passes each event of the journal on, and says on stderr what is wrong with the journal.
fn read_journal(data: &DataDir, mut apply: impl FnMut(Record)) -> Result<(), CliError> {
    let mut reader = Reader::after(&journal::journal_folder(data)?, Cursor::START);
    let mut flaws = FlawReport::default();
    while let Some(entry) = reader.next_entry().map_err(journal::unreadable)? {
        match entry {
            Entry::Event(record, _) => apply(*record),
            entry => flaws.add(&entry),
        }
    }
    flaws.finish();
    Ok(())
}

/// Returns whether an incident was not over at `since`.
fn is_recent(incident: &Incident, since: Option<Timestamp>) -> bool {
    let Some(since) = since else { return true };
    let last = incident.events.last().and_then(|event| event.at.parse::<Timestamp>().ok());
    !incident.is_over() || last.is_some_and(|at| at >= since)
}

fn print_json(out: &mut Output, value: &(impl Serialize + ?Sized)) -> Result<(), CliError> {
    out.json(&Json::from_serialize(value).map_err(CliError::internal)?)
}

fn row(out: &Output, incident: &Incident) -> Vec<(String, Style)> {
    let (lasted, style) = match (incident.is_cut, incident.is_over()) {
        (true, _) => ("cut off".to_owned(), output::WARNING),
        (false, true) => (millis_text(incident.lasted_ms), output::PLAIN),
        (false, false) => ("not over".to_owned(), output::ERROR),
    };
    vec![
        (incident.id.to_string(), output::DIM),
        (moment(out, &incident.started_at), output::DIM),
        (lasted, style),
        (incident.headline(), output::PLAIN),
    ]
}

fn moment(out: &Output, at: &str) -> String {
    at.parse().map_or_else(|_| at.to_owned(), |at| out.moment(at))
}

/// Prints the story, and in the wide form each event.
fn print_story(out: &mut Output, incident: &Incident) -> Result<(), CliError> {
    let style = if incident.is_over() { output::PLAIN } else { output::WARNING };
    let lines = incident.story_with(|at| moment(out, at));
    for (index, line) in lines.iter().enumerate() {
        let style = if index == 0 { style } else { output::PLAIN };
        out.paragraph("", &out.paint(&escape_controls(line), style), 0)?;
    }
    if !out.is_wide() {
        return Ok(());
    }
    let rows: Vec<_> = incident
        .events
        .iter()
        .map(|event| {
            vec![
                (event.cursor.to_string(), output::DIM),
                (moment(out, &event.at), output::DIM),
                (event.actor.clone(), output::PLAIN),
                (event.summary.clone(), output::PLAIN),
            ]
        })
        .collect();
    out.line("")?;
    out.table(&["event", "time", "actor", "what happened"], &rows)
}

/// The last events about what was asked for, and the names of the actors.
#[derive(Default)]
struct Mentions {
    last: VecDeque<Record>,
    actors: BTreeSet<String>,
}

impl Mentions {
    fn add(&mut self, record: Record, query: &IncidentQuery) {
        if self.actors.len() < NAMES_MAX && !self.actors.contains(&record.actor) {
            self.actors.insert(record.actor.clone());
        }
        if query.names(&record) {
            if self.last.len() == EVENTS_SHOWN_MAX {
                self.last.pop_front();
            }
            self.last.push_back(record);
        }
    }

    /// Shows that nothing went wrong, with the last events, or that the journal has nothing of this name.
    fn show(
        mut self,
        out: &mut Output,
        subject: &str,
        query: &IncidentQuery,
        form: OutputForm,
    ) -> Result<(), CliError> {
        let records: &[Record] = self.last.make_contiguous();
        if records.is_empty() {
            return Err(CliError::failed(Reason::NotFound, self.unknown(subject, query)));
        }
        if form == OutputForm::Json {
            return out.line("null");
        }
        out.line(&format!("no incident about {subject}: the journal has nothing that went wrong with it"))?;
        out.line(&out.paint("last events:", output::DIM))?;
        event_format::print_last(out, records)
    }

    fn unknown(&self, subject: &str, query: &IncidentQuery) -> String {
        match query {
            IncidentQuery::Actor(_) => {
                unknown_name("actor in the journal", subject, self.actors.iter().map(|path| short_path(path)))
            }
            IncidentQuery::Incident(_) => {
                format!("the journal has no event {subject}; `mainstay incidents` lists the incidents")
            }
            IncidentQuery::Request(_) | IncidentQuery::Message { .. } => format!(
                "the journal has no event about {subject}; one that ends without an error, a repeat or a wait has none"
            ),
        }
    }
}

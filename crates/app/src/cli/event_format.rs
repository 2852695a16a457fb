//! Prints events as lines.

use jiff::Timestamp;
use mainstay_runtime::journal::escape_controls;

use super::error::CliError;
use super::output::{self, FACT_INDENT, Output};
use super::time::Day;
use crate::events::{self, Level, ProcessExited, Record};

/// Prints events, one a line: the time, the actor with its incarnation from the second on, and what happened. The date stands
/// above the first event of each day, and the last lines of a program below its exit.
#[derive(Debug, Default)]
pub(super) struct EventLines {
    dates: DateHeadings,
}

/// Prints the date above the first time of each day.
#[derive(Debug, Default)]
pub(super) struct DateHeadings {
    day: Option<Day>,
}

impl DateHeadings {
    /// Prints the date if `at` is of another day than the time before it. Returns the time of day.
    pub(super) fn clock(&mut self, out: &mut Output, at: Timestamp) -> Result<String, CliError> {
        let times = &out.options().times;
        let (day, clock) = (times.day(at), times.clock(at));
        if self.day.replace(day) != Some(day) {
            let heading = times.heading(day);
            out.line(&out.paint(&heading, output::DIM))?;
        }
        Ok(clock)
    }
}

impl EventLines {
    pub(super) fn print(&mut self, out: &mut Output, record: &Record) -> Result<(), CliError> {
        let time = match record.at.parse::<Timestamp>() {
            Ok(at) => self.dates.clock(out, at)?,
            Err(_) => escape_controls(&record.at),
        };
        print_line(out, &time, record)?;
        match record.event() {
            Some(ProcessExited { output, was_requested: false, .. }) => print_output(out, &output),
            _ => Ok(()),
        }
    }
}

/// Prints the last events of one actor, each with its date unless it is of today.
pub(super) fn print_last(out: &mut Output, records: &[Record]) -> Result<(), CliError> {
    for record in records {
        let time = match record.at.parse::<Timestamp>() {
            Ok(at) => out.moment(at),
            Err(_) => escape_controls(&record.at),
        };
        let (sentence, style) = sentence(record);
        let indent = time.chars().count() + 3;
        let label = format!("  {}", out.paint(&time, output::DIM));
        out.paragraph(&label, &out.paint(&sentence, style), indent)?;
    }
    Ok(())
}

fn print_line(out: &mut Output, time: &str, record: &Record) -> Result<(), CliError> {
    let (sentence, style) = sentence(record);
    let path = escape_controls(&record.actor);
    let actor = match record.generation {
        0 | 1 => path,
        generation => format!("{path} #{generation}"),
    };
    let indent = time.chars().count() + 3;
    let label = format!("{} {actor:<24} ", out.paint(time, output::DIM));
    out.paragraph(&label, &out.paint(&sentence, style), indent)
}

fn sentence(record: &Record) -> (String, anstyle::Style) {
    let (level, sentence) = events::read(record);
    let style = match level {
        Level::Debug => output::DIM,
        Level::Info => output::PLAIN,
        Level::Warn => output::WARNING,
        Level::Error => output::ERROR,
    };
    (sentence, style)
}

/// Prints lines of a program, each as a line.
pub(super) fn print_output(out: &mut Output, lines: &[String]) -> Result<(), CliError> {
    lines.iter().try_for_each(|line| {
        let line = format!("{:FACT_INDENT$}| {}", "", escape_controls(line));
        out.line(&out.paint(line.trim_end(), output::DIM))
    })
}

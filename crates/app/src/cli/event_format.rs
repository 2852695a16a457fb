//! Prints events as lines.

use jiff::Timestamp;
use mainstay_runtime::journal::escape_controls;

use super::error::CliError;
use super::output::{self, FACT_INDENT, Output};
use super::time::Day;
use crate::events::{self, Level, ProcessExited, Record};

/// Prints events, one a line: the time, the actor with its incarnation from the second on, and what happened. The date stands
/// above the first event of each day, and the last lines of a program below its exit. Later events of its actor do not
/// repeat them.
#[derive(Debug, Default)]
pub(super) struct EventLines {
    dates: DateHeadings,
    /// The actor whose program has just exited, and the lines that were printed.
    exited: Option<(String, Vec<String>)>,
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
        let printed = self.exited.as_ref().filter(|(actor, _)| *actor == record.actor);
        print_line(out, &time, record, printed.map_or(&[], |(_, output)| output))?;
        if let Some(ProcessExited { output, was_requested: false, .. }) = record.event() {
            print_output(out, &output)?;
            self.exited = Some((record.actor.clone(), output));
        }
        Ok(())
    }
}

/// Removes a program's last line on stderr from the error of its exit, if it is among the lines that are shown.
pub(super) fn without_shown_line(text: &str, shown: &[String]) -> String {
    let phrase = |line: &String| format!("; its last line on stderr: {}", line.trim());
    let phrases = shown.iter().filter(|line| !line.trim().is_empty()).map(phrase);
    // A longer line goes first, since another may be its beginning.
    let repeated = phrases.filter(|phrase| text.contains(phrase.as_str())).max_by_key(String::len);
    repeated.map_or_else(|| text.to_owned(), |phrase| text.replace(&phrase, ""))
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

fn print_line(out: &mut Output, time: &str, record: &Record, shown: &[String]) -> Result<(), CliError> {
    let (sentence, style) = sentence(record);
    let sentence = without_shown_line(&sentence, shown);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_line_is_not_repeated_below_the_output() {
        let exited = "it exited with code 3; its last line on stderr: ValueError: boom";
        let shown = ["Traceback".to_owned(), "  ValueError: boom".to_owned(), "ValueError".to_owned()];
        assert_eq!(without_shown_line(exited, &shown), "it exited with code 3");
        let gave_up = format!("given up after 1 restart ({exited}): it stays failed");
        assert_eq!(
            without_shown_line(&gave_up, &shown),
            "given up after 1 restart (it exited with code 3): it stays failed"
        );
        assert_eq!(without_shown_line(exited, &["Traceback".to_owned()]), exited);
    }
}

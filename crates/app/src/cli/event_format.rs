//! Prints an event as a line.

use mainstay_runtime::journal::escape_controls;

use super::error::CliError;
use super::output::{self, Output};
use crate::events::{self, Level, Record};

/// Prints one event: the time, the actor with its incarnation from the second on, and what happened.
pub(super) fn print(out: &mut Output, record: &Record) -> Result<(), CliError> {
    let (level, sentence) = events::read(record);
    let style = match level {
        Level::Debug => output::DIM,
        Level::Info => output::PLAIN,
        Level::Warn => output::WARNING,
        Level::Error => output::ERROR,
    };
    let time = escape_controls(record.at.get(11..23).unwrap_or(&record.at));
    let path = escape_controls(&record.actor);
    let actor = match record.generation {
        0 | 1 => path,
        generation => format!("{path} #{generation}"),
    };
    let line = format!("{} {actor:<24} {}", out.paint(&time, output::DIM), out.paint(&sentence, style));
    out.line(line.trim_end())
}

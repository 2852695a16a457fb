//! Standard output and its styles.
//!
//! Colours are off if it is no terminal, `NO_COLOR` is set, or `TERM` is `dumb`. `CLICOLOR_FORCE` forces them.

use std::io::{self, Stdout, Write};

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Effects, Style};
use mainstay_actors::json::Json;
use mainstay_runtime::journal::escape_controls;

use super::error::CliError;

pub(super) const PLAIN: Style = Style::new();
pub(super) const DIM: Style = Style::new().effects(Effects::DIMMED);
pub(super) const SUCCESS: Style = AnsiColor::Green.on_default();
pub(super) const WARNING: Style = AnsiColor::Yellow.on_default();
pub(super) const ERROR: Style = AnsiColor::Red.on_default();

/// Returns whether the output to `stream` may have colours.
pub(super) fn has_colours(stream: &impl RawStream) -> bool {
    AutoStream::choice(stream) != ColorChoice::Never
}

/// Standard output.
pub(super) struct Output {
    /// Passes text on as it is, since a response may have escape codes of its own, and translates colours for consoles
    /// that do not know them.
    stdout: AutoStream<Stdout>,
    has_colours: bool,
}

impl Output {
    pub(super) fn stdout() -> Self {
        let stdout = io::stdout();
        Self { has_colours: has_colours(&stdout), stdout: AutoStream::always(stdout) }
    }

    /// Returns `text` in a style.
    pub(super) fn paint(&self, text: &str, style: Style) -> String {
        if self.has_colours { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// Writes a line, at once.
    pub(super) fn line(&mut self, line: &str) -> Result<(), CliError> {
        writeln!(self.stdout, "{line}")?;
        Ok(self.stdout.flush()?)
    }

    /// Writes a text as it is.
    pub(super) fn text(&mut self, text: &str) -> Result<(), CliError> {
        write!(self.stdout, "{text}")?;
        Ok(self.stdout.flush()?)
    }

    /// Writes one JSON value.
    pub(super) fn json(&mut self, value: &Json) -> Result<(), CliError> {
        self.line(&value.to_pretty())
    }

    /// Writes rows as a table whose columns are as wide as they need to be. Control characters are escaped.
    pub(super) fn table(&mut self, header: &[&str], rows: &[Vec<(String, Style)>]) -> Result<(), CliError> {
        let escaped = |row: &Vec<(String, Style)>| -> Vec<(String, Style)> {
            row.iter().map(|(text, style)| (escape_controls(text), *style)).collect()
        };
        let rows: Vec<_> = rows.iter().map(escaped).collect();
        let mut widths: Vec<usize> = header.iter().map(|title| title.chars().count()).collect();
        for row in &rows {
            for (width, (text, _)) in widths.iter_mut().zip(row) {
                *width = (*width).max(text.chars().count());
            }
        }
        let titles = header.iter().map(|title| ((*title).to_owned(), DIM)).collect();
        for row in std::iter::once(&titles).chain(&rows) {
            let cells = row.iter().zip(&widths).map(|((text, style), width)| {
                let gap = " ".repeat(width - text.chars().count());
                format!("{}{gap}", self.paint(text, *style))
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            self.line(line.trim_end())?;
        }
        Ok(())
    }
}

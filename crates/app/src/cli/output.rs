//! Standard output and its styles. Colours are off if it is no terminal, or NO_COLOR is set.

use std::io::{self, IsTerminal, Stdout, Write};

use serde_json::Value;

use super::error::CliError;

/// Returns whether the output to `stream` may have colours.
pub(super) fn has_colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
}

/// The meaning of a text, which decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Dim,
    Success,
    Warning,
    Error,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Dim => "2",
            Self::Success => "32",
            Self::Warning => "33",
            Self::Error => "31",
        }
    }
}

/// Standard output.
pub(super) struct Output {
    stdout: Stdout,
    has_colours: bool,
}

impl Output {
    pub(super) fn stdout() -> Self {
        let stdout = io::stdout();
        Self { has_colours: has_colours(&stdout), stdout }
    }

    /// `text` in the colour of its tone.
    pub(super) fn paint(&self, text: &str, tone: Style) -> String {
        if self.has_colours && tone != Style::Plain {
            format!("\x1b[{}m{text}\x1b[0m", tone.code())
        } else {
            text.to_owned()
        }
    }

    /// Writes a line, at once.
    pub(super) fn line(&mut self, line: &str) -> Result<(), CliError> {
        let mut stdout = self.stdout.lock();
        writeln!(stdout, "{line}")?;
        Ok(stdout.flush()?)
    }

    /// Writes a text as it is.
    pub(super) fn text(&mut self, text: &str) -> Result<(), CliError> {
        let mut stdout = self.stdout.lock();
        write!(stdout, "{text}")?;
        Ok(stdout.flush()?)
    }

    /// Writes one JSON value.
    pub(super) fn json(&mut self, value: &Value) -> Result<(), CliError> {
        self.line(&format!("{value:#}"))
    }

    /// Writes rows as a table whose columns are as wide as they need to be.
    pub(super) fn table(&mut self, header: &[&str], rows: &[Vec<(String, Style)>]) -> Result<(), CliError> {
        let mut widths: Vec<usize> = header.iter().map(|title| title.chars().count()).collect();
        for row in rows {
            for (width, (text, _)) in widths.iter_mut().zip(row) {
                *width = (*width).max(text.chars().count());
            }
        }
        let titles = header.iter().map(|title| ((*title).to_owned(), Style::Dim)).collect();
        for row in std::iter::once(&titles).chain(rows) {
            let cells = row.iter().zip(&widths).map(|((text, tone), width)| {
                let gap = " ".repeat(width - text.chars().count());
                format!("{}{gap}", self.paint(text, *tone))
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            self.line(line.trim_end())?;
        }
        Ok(())
    }
}

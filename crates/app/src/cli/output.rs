//! Standard output: its styles, its width, and its form of times.
//!
//! Colours are off if it is no terminal, `NO_COLOR` is set, or `TERM` is `dumb`. `CLICOLOR_FORCE` and `--color always` force
//! them, and `--color never` switches them off.

use std::env;
use std::io::{self, IsTerminal, Stdout, Write};

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Effects, Style};
use jiff::Timestamp;
use mainstay_actors::json::Json;
use mainstay_runtime::clock::{Clock, SystemClock};
use mainstay_runtime::journal::{escape_controls, escape_json_controls};
use terminal_size::{Height, Width, terminal_size_of};

use super::error::CliError;
use super::table::{self, Cell};
use super::time::TimeFormat;

pub(super) const PLAIN: Style = Style::new();
pub(super) const DIM: Style = Style::new().effects(Effects::DIMMED);
pub(super) const SUCCESS: Style = AnsiColor::Green.on_default();
pub(super) const WARNING: Style = AnsiColor::Yellow.on_default();
pub(super) const ERROR: Style = AnsiColor::Red.on_default();

/// The width of an output that is no terminal, unless `COLUMNS` says another.
const WIDTH: usize = 80;
/// The place at which the facts of a screen begin, behind their labels.
pub(super) const FACT_INDENT: usize = 12;

/// Returns whether the output to `stream` may have colours.
pub(super) fn has_colours(stream: &impl RawStream) -> bool {
    AutoStream::choice(stream) != ColorChoice::Never
}

/// Returns whether `TERM` is `dumb`: neither colours nor moves of the cursor are understood.
pub(super) fn is_dumb_terminal() -> bool {
    env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Returns the width of standard output.
pub(super) fn width() -> usize {
    terminal_size().map_or_else(
        || {
            env::var("COLUMNS")
                .ok()
                .and_then(|text| text.parse().ok())
                .filter(|width| *width > 0)
                .unwrap_or(WIDTH)
        },
        |(width, _)| width,
    )
}

/// Returns the width and the height of the terminal, if standard output is one.
pub(super) fn terminal_size() -> Option<(usize, usize)> {
    let (Width(width), Height(height)) = terminal_size_of(io::stdout())?;
    (width > 0 && height > 0).then_some((width.into(), height.into()))
}

/// The settings of an output.
#[derive(Debug, Clone)]
pub(super) struct OutputOptions {
    /// The form of times.
    pub(super) times: TimeFormat,
    /// True if tables are whole, whatever the width.
    pub(super) is_wide: bool,
}

/// Standard output, or a buffer for it.
pub(super) struct Output {
    sink: Sink,
    has_colours: bool,
    options: OutputOptions,
}

enum Sink {
    /// Passes text on as it is, since a response in a pipe may have escape codes of its own. Colours are translated
    /// for consoles that do not know them.
    Stdout(AutoStream<Stdout>),
    Buffer(String),
}

impl Output {
    pub(super) fn stdout(options: OutputOptions) -> Self {
        let stdout = io::stdout();
        Self { has_colours: has_colours(&stdout), sink: Sink::Stdout(AutoStream::always(stdout)), options }
    }

    /// Returns a buffer for this output, with its settings.
    pub(super) fn buffer(&self) -> Self {
        Self {
            sink: Sink::Buffer(String::new()),
            has_colours: self.has_colours,
            options: self.options.clone(),
        }
    }

    /// Takes what a buffer holds.
    pub(super) fn take_text(&mut self) -> String {
        match &mut self.sink {
            Sink::Buffer(text) => std::mem::take(text),
            Sink::Stdout(_) => String::new(),
        }
    }

    pub(super) fn options(&self) -> &OutputOptions {
        &self.options
    }

    /// Sets whether tables and texts are whole, whatever the width.
    pub(super) fn set_wide(&mut self, is_wide: bool) {
        self.options.is_wide = is_wide;
    }

    /// Returns whether tables and texts are whole.
    pub(super) fn is_wide(&self) -> bool {
        self.options.is_wide
    }

    /// Returns whether the cursor can be moved: on a terminal that is not dumb.
    pub(super) fn is_screen(&self) -> bool {
        io::stdout().is_terminal() && !is_dumb_terminal()
    }

    /// Returns `text` in a style.
    pub(super) fn paint(&self, text: &str, style: Style) -> String {
        if self.has_colours { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// Returns a time of today, or of another day with its date.
    pub(super) fn moment(&self, at: Timestamp) -> String {
        self.options.times.moment(at, SystemClock.now())
    }

    /// Writes a line, at once.
    pub(super) fn line(&mut self, line: &str) -> Result<(), CliError> {
        self.text(&format!("{line}\n"))
    }

    /// Writes a text as it is, at once.
    pub(super) fn text(&mut self, text: &str) -> Result<(), CliError> {
        match &mut self.sink {
            Sink::Buffer(buffer) => buffer.push_str(text),
            Sink::Stdout(stdout) => {
                let written = write!(stdout, "{text}").and_then(|()| stdout.flush());
                written.map_err(CliError::unwritten)?;
            }
        }
        Ok(())
    }

    /// Writes one JSON value, indented.
    pub(super) fn json(&mut self, value: &Json) -> Result<(), CliError> {
        self.json_line(&value.to_pretty())
    }

    /// Writes one JSON text as it is, but for the characters that could drive a terminal, which are escaped.
    pub(super) fn json_line(&mut self, json: &str) -> Result<(), CliError> {
        self.line(&escape_json_controls(json))
    }

    /// Writes a text of another program. On a terminal its control characters are escaped, but for tabs and ends of lines.
    pub(super) fn foreign_text(&mut self, text: &str) -> Result<(), CliError> {
        if !io::stdout().is_terminal() {
            return self.line(text);
        }
        for line in text.lines() {
            self.line(&line.split('\t').map(escape_controls).collect::<Vec<_>>().join("\t"))?;
        }
        Ok(())
    }

    /// Writes a fact behind its label; without a label, as a further line of the fact above. On a terminal it is wrapped.
    pub(super) fn fact(&mut self, label: &str, text: &str) -> Result<(), CliError> {
        self.paragraph(label, text, FACT_INDENT)
    }

    /// Writes a text behind a label. On a terminal it is wrapped, and further lines are indented.
    pub(super) fn paragraph(&mut self, label: &str, text: &str, indent: usize) -> Result<(), CliError> {
        // A pipe gets one line for each, which a program can search.
        let width = if self.options.is_wide { None } else { terminal_size().map(|(width, _)| width) };
        self.line(&table::paragraph(label, text, indent, width))
    }

    /// Writes rows as a table that fits the width; columns that are too wide are cut. Control characters are escaped.
    pub(super) fn table(&mut self, header: &[&str], rows: &[Vec<Cell>]) -> Result<(), CliError> {
        let width = if self.options.is_wide { None } else { Some(width()) };
        let header: Vec<Cell> = header.iter().map(|title| ((*title).to_owned(), DIM)).collect();
        for row in table::lay_out(&header, rows, width) {
            let cells = row.iter().map(|(text, style)| {
                // Blanks stay outside the style, so that a line ends with none.
                let (word, gap) = text.split_at(text.trim_end().len());
                format!("{}{gap}", if word.is_empty() { String::new() } else { self.paint(word, *style) })
            });
            let line = cells.collect::<String>();
            self.line(line.trim_end())?;
        }
        Ok(())
    }
}

//! A line of a log, and its form in the file. Pure.

use std::fmt;

use jiff::Timestamp;
use mainstay_runtime::clock::WallTime;
use serde::{Deserialize, Serialize};

/// The source of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// The program's stdout.
    Out,
    /// The program's stderr.
    Err,
    /// The runtime, which notes starts, ends and lines that are left out.
    Note,
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct LogLine {
    /// The time at which the runtime read it.
    pub at: WallTime,
    /// The source.
    pub stream: LogStream,
    /// The text, without secrets. Control characters are escaped, and a long line is cut at an ellipsis.
    pub text: String,
}

impl LogStream {
    fn as_str(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::Err => "err",
            Self::Note => "note",
        }
    }

    /// Returns the place of a stream of the program in a pair: stdout comes first.
    pub(super) fn index(self) -> usize {
        usize::from(self != Self::Out)
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Out, Self::Err, Self::Note].into_iter().find(|stream| stream.as_str() == text)
    }
}

impl fmt::Display for LogStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for LogLine {
    /// Writes the line as the file has it, without its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, stream, text } = self;
        write!(f, "{at} {stream} {text}")
    }
}

impl LogLine {
    /// Parses a line of a file, without its end; `None` if the runtime wrote no such line.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (at, rest) = line.split_once(' ')?;
        let (stream, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let at = WallTime(at.parse::<Timestamp>().ok()?);
        Some(Self { at, stream: LogStream::parse(stream)?, text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_round_trips_through_its_text() {
        let at = WallTime("2026-03-01T12:00:00.25Z".parse().unwrap());
        for (stream, text) in
            [(LogStream::Out, "two  words "), (LogStream::Err, ""), (LogStream::Note, "out err")]
        {
            let line = LogLine { at, stream, text: text.to_owned() };
            assert_eq!(LogLine::parse(&line.to_string()), Some(line));
        }
        let line = LogLine { at, stream: LogStream::Err, text: "boom".to_owned() };
        assert_eq!(line.to_string(), "2026-03-01T12:00:00.250Z err boom");
        for other in ["", "boom", "2026-03-01T12:00:00.250Z", "2026-03-01T12:00:00.250Z in boom"] {
            assert_eq!(LogLine::parse(other), None, "{other:?}");
        }
    }
}

//! The place of an event in a journal.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The largest run, and the largest number within a run: the largest integer that every JSON reader has exactly.
pub(super) const NUMBER_MAX: u64 = (1 << 53) - 1;

/// The place of an event in the journal of one data folder: its run, and its number within the run.
///
/// It reads `RUN.SEQ`, such as `3.17`, as text and in JSON. Later events have larger cursors. A cursor need not be an
/// event's: [`START`](Self::START) is before every event, and `4.0` is before every event of run 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS), ts(type = "string"))]
#[serde(into = "String", try_from = "String")]
pub struct Cursor {
    /// The run: 1, 2, 3 … per data folder.
    pub run: u64,
    /// The number within the run: 1, 2, 3 …
    pub seq: u64,
}

/// A text is not a cursor.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not a cursor: it reads RUN.SEQ, such as 3.17")]
pub struct ParseCursorError(String);

impl Cursor {
    /// The place before every event.
    pub const START: Self = Self::new(0, 0);

    /// Returns the place of event `seq` of run `run`.
    #[must_use]
    pub const fn new(run: u64, seq: u64) -> Self {
        Self { run, seq }
    }

    /// Returns the next place in the same run.
    pub(super) fn next(self) -> Self {
        Self { seq: self.seq.saturating_add(1), ..self }
    }

    /// Returns the place right before this one in the same run.
    pub(super) fn previous(self) -> Self {
        Self { seq: self.seq.saturating_sub(1), ..self }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.run, self.seq)
    }
}

impl FromStr for Cursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |digits: &str| {
            // `parse` by itself also takes a leading plus sign.
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| digits.parse().ok()).flatten()
        };
        let cursor = text.split_once('.').and_then(|(run, seq)| Some(Self::new(number(run)?, number(seq)?)));
        cursor.ok_or_else(|| ParseCursorError(text.to_owned()))
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> Self {
        cursor.to_string()
    }
}

impl TryFrom<String> for Cursor {
    type Error = ParseCursorError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_json_come_back_as_the_same_cursor() {
        for cursor in [Cursor::START, Cursor::new(3, 17), Cursor::new(u64::MAX, u64::MAX)] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
            let json = serde_json::to_string(&cursor).unwrap();
            assert_eq!(serde_json::from_str::<Cursor>(&json).unwrap(), cursor);
        }
        assert_eq!(serde_json::to_string(&Cursor::new(3, 17)).unwrap(), r#""3.17""#);
    }

    #[test]
    fn other_text_is_refused_and_quoted() {
        for text in
            ["", ".", "3", "3.", ".17", "3.17.1", "+3.17", "-1.2", "3. 17", "a.b", "3.18446744073709551616"]
        {
            let error = text.parse::<Cursor>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?} is not a cursor")), "{error}");
        }
    }

    #[test]
    fn later_run_sorts_after_every_seq_of_an_earlier_run() {
        assert!(Cursor::START < Cursor::new(1, 1));
        assert!(Cursor::new(1, 9) < Cursor::new(1, 10));
        assert!(Cursor::new(1, u64::MAX) < Cursor::new(2, 0));
    }

    #[test]
    fn largest_number_has_no_overflow() {
        let largest = Cursor::new(u64::MAX, u64::MAX);
        assert_eq!(largest.next(), largest);
        assert_eq!(Cursor::START.previous(), Cursor::START);
    }
}

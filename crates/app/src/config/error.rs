//! The problems of a file, each with its place, its key and its correction.

use std::fmt;
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::str::CharIndices;

use serde::Serialize;
use thiserror::Error;

use super::fault::ConfigFault;

/// The error for an invalid configuration, with all its problems.
///
/// `Display` gives one line per problem: `FILE:LINE:COLUMN: MESSAGE`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", self.lines())]
pub struct ConfigError {
    /// The file, if the configuration came from one.
    pub file: Option<PathBuf>,
    /// Every problem, in the order of the file; never empty.
    pub problems: Vec<ConfigProblem>,
}

/// A problem of a file. `Display` gives one line: `LINE:COLUMN: MESSAGE`.
///
/// It repeats keys, but never the text of a value, which may be a secret in the wrong place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigProblem {
    /// The line, counted from 1; 0 if the problem is the file as a whole.
    pub line: usize,
    /// The column in characters, counted from 1; 0 if the problem is the file as a whole.
    pub column: usize,
    /// The path of the key, such as `connection.delay_min` or `agent[0].id`; empty if it concerns no key.
    pub key: String,
    /// The problem and its correction on one line, the key included.
    pub message: String,
}

// === impl ConfigProblem ===

impl ConfigProblem {
    /// Makes a problem of the file as a whole.
    pub(crate) fn whole(message: impl Into<String>) -> Self {
        Self { line: 0, column: 0, key: String::new(), message: message.into() }
    }

    /// Makes a problem at a byte of the text that concerns no key.
    pub(crate) fn at(text: &str, offset: usize, message: impl Into<String>) -> Self {
        let (line, column) = TextPosition::new(text).advance(offset);
        Self { line, column, key: String::new(), message: message.into() }
    }

    /// Sorts faults by their place in the file and finds their lines, in one pass over the text.
    pub(crate) fn locate(text: &str, mut faults: Vec<ConfigFault>) -> Vec<Self> {
        faults.sort_by_key(ConfigFault::offset);
        let mut position = TextPosition::new(text);
        faults
            .into_iter()
            .map(|fault| {
                let (line, column) = position.advance(fault.offset());
                Self { line, column, key: fault.key(), message: fault.message() }
            })
            .collect()
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}:{}: ", self.line, self.column)?;
        }
        f.write_str(&self.message)
    }
}

// === impl TextPosition ===

/// A place in a text that only moves forward.
struct TextPosition<'t> {
    ahead: Peekable<CharIndices<'t>>,
    line: usize,
    column: usize,
}

impl<'t> TextPosition<'t> {
    fn new(text: &'t str) -> Self {
        Self { ahead: text.char_indices().peekable(), line: 1, column: 1 }
    }

    /// Moves on to a byte of the text, and returns its line and column.
    fn advance(&mut self, offset: usize) -> (usize, usize) {
        while let Some((_, character)) = self.ahead.next_if(|(at, _)| *at < offset) {
            (self.line, self.column) =
                if character == '\n' { (self.line + 1, 1) } else { (self.line, self.column + 1) };
        }
        (self.line, self.column)
    }
}

// === impl ConfigError ===

impl ConfigError {
    pub(crate) fn new(problems: Vec<ConfigProblem>) -> Self {
        Self { file: None, problems }
    }

    pub(crate) fn in_file(self, file: &Path) -> Self {
        Self { file: Some(file.to_owned()), ..self }
    }

    fn lines(&self) -> String {
        let lines: Vec<String> = self.problems.iter().map(|problem| self.line(problem)).collect();
        lines.join("\n")
    }

    fn line(&self, problem: &ConfigProblem) -> String {
        match &self.file {
            Some(file) if problem.line > 0 => format!("{}:{problem}", file.display()),
            Some(file) => format!("{}: {problem}", file.display()),
            None => problem.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: usize) -> ConfigProblem {
        ConfigProblem {
            line,
            column: 3,
            key: "cache.ttl".to_owned(),
            message: "\"cache.ttl\" is odd".to_owned(),
        }
    }

    #[test]
    fn each_problem_is_one_line_with_file_line_and_column() {
        let error = ConfigError::new(vec![problem(2), problem(7)]);
        assert_eq!(error.to_string(), "2:3: \"cache.ttl\" is odd\n7:3: \"cache.ttl\" is odd");
        let error = error.in_file(Path::new("a.toml"));
        assert_eq!(error.to_string(), "a.toml:2:3: \"cache.ttl\" is odd\na.toml:7:3: \"cache.ttl\" is odd");
    }

    #[test]
    fn problem_of_the_whole_file_names_the_file_alone() {
        let error =
            ConfigError::new(vec![ConfigProblem::whole("cannot be read")]).in_file(Path::new("a.toml"));
        assert_eq!(error.to_string(), "a.toml: cannot be read");
    }

    #[test]
    fn columns_count_characters_and_faults_are_sorted() {
        let text = "a = 1\nä = \"öß\" # x\n";
        let fault = |part: &str| ConfigFault::new("is odd").within(".key", text.find(part).unwrap());
        let places: Vec<(usize, usize)> =
            ConfigProblem::locate(text, vec![fault("# x"), fault("a"), fault("öß")])
                .iter()
                .map(|problem| (problem.line, problem.column))
                .collect();
        assert_eq!(places, [(1, 1), (2, 6), (2, 10)]);
    }
}

//! Describes how a process ended.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::excerpt;

/// The number of stderr's last lines that a log text shows.
const SUMMARY_LINES: usize = 5;

/// The length to which each of them is cut, in characters.
const SUMMARY_LINE_CHARS: usize = 160;

/// The number of the signal that kills a process, on every Unix.
const KILL: i32 = 9;

/// The end of a process, with its last lines on stderr.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessExit {
    /// The exit code, if the process exited by itself.
    pub code: Option<i32>,
    /// The number of the signal that ended it, if any. Both are absent if another part of the program reaped the
    /// process.
    pub signal: Option<i32>,
    /// The last lines of its stderr, oldest first: at most 64, and 16 KiB. The secrets in its environment and in
    /// [`ProcessSpec::secrets`](super::ProcessSpec::secrets) are redacted.
    pub stderr: Vec<String>,
    /// The ids of descendants that could not be ended. Not empty only if the kernel holds one up.
    pub survivors: Vec<u32>,
}

impl ProcessExit {
    /// Returns whether the process exited by itself with code 0.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }

    /// Returns whether the process was killed, or left processes that could not be ended. On Windows, a kill looks like an exit.
    #[must_use]
    pub(crate) fn is_kill(&self) -> bool {
        self.signal == Some(KILL) || !self.survivors.is_empty()
    }

    /// Returns a sentence about a process that was killed because it did not stop, for a log.
    #[must_use]
    pub(crate) fn describe_kill(&self) -> String {
        format!("its process did not end when it was asked to: {self}")
    }

    /// Returns the end in words: `it exited with code 1`.
    #[must_use]
    pub(crate) fn describe(&self) -> String {
        match (self.code, self.signal) {
            // A shell uses these codes if `exec` fails; a program may use the same numbers.
            (Some(code @ 126), _) => format!("it exited with code {code} (often: it may not be run)"),
            (Some(code @ 127), _) => format!("it exited with code {code} (often: a program was not found)"),
            (Some(code), _) => format!("it exited with code {code}"),
            (None, Some(signal)) => match name_of(signal) {
                Some(name) => format!("it was ended by signal {signal} ({name})"),
                None => format!("it was ended by signal {signal}"),
            },
            (None, None) => "it ended in an unknown way".to_owned(),
        }
    }
}

impl fmt::Display for ProcessExit {
    /// Returns the end and the last lines of stderr, for a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())?;
        let words = stderr_summary(&self.stderr);
        if words.is_empty() { Ok(()) } else { write!(f, "; {words}") }
    }
}

/// Returns the last lines of stderr, for a log; empty if there are none.
pub(super) fn stderr_summary(stderr: &[String]) -> String {
    let mut last: Vec<String> = stderr
        .iter()
        .rev()
        .map(|line| line.trim())
        .filter(|line| !line.is_empty())
        .take(SUMMARY_LINES)
        .map(|line| excerpt(line, SUMMARY_LINE_CHARS))
        .collect();
    if last.is_empty() {
        return String::new();
    }
    last.reverse();
    format!("its last lines on stderr: {}", last.join(" | "))
}

#[cfg(unix)]
fn name_of(signal: i32) -> Option<&'static str> {
    use rustix::process::Signal;

    let names = [
        (Signal::HUP, "HUP"),
        (Signal::INT, "INT"),
        (Signal::QUIT, "QUIT"),
        (Signal::ILL, "ILL"),
        (Signal::TRAP, "TRAP"),
        (Signal::ABORT, "ABRT"),
        (Signal::BUS, "BUS"),
        (Signal::FPE, "FPE"),
        (Signal::KILL, "KILL"),
        (Signal::SEGV, "SEGV"),
        (Signal::PIPE, "PIPE"),
        (Signal::ALARM, "ALRM"),
        (Signal::TERM, "TERM"),
        (Signal::XCPU, "XCPU"),
        (Signal::XFSZ, "XFSZ"),
    ];
    names.into_iter().find(|(known, _)| known.as_raw() == signal).map(|(_, name)| name)
}

#[cfg(not(unix))]
fn name_of(_: i32) -> Option<&'static str> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn displayed(code: Option<i32>, signal: Option<i32>, stderr: &[&str]) -> String {
        let stderr = stderr.iter().map(|line| (*line).to_owned()).collect();
        ProcessExit { code, signal, stderr, survivors: Vec::new() }.to_string()
    }

    #[test]
    fn exit_displays_its_cause() {
        assert_eq!(displayed(Some(0), None, &[]), "it exited with code 0");
        assert_eq!(displayed(None, None, &[]), "it ended in an unknown way");
        let expected = "it exited with code 127 (often: a program was not found)";
        assert_eq!(displayed(Some(127), None, &[]), expected);
        #[cfg(unix)]
        assert_eq!(displayed(None, Some(9), &[]), "it was ended by signal 9 (KILL)");
        assert_eq!(displayed(None, Some(99), &[]), "it was ended by signal 99");
    }

    #[test]
    fn exit_displays_the_last_nonempty_stderr_lines() {
        let lines = ["zero", "one", "", "two", "three ", "four", "five", ""];
        let expected = "it exited with code 1; its last lines on stderr: one | two | three | four | five";
        assert_eq!(displayed(Some(1), None, &lines), expected);
    }
}

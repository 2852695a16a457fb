//! Describes how a process ended.

use std::fmt;

use mainstay_runtime::journal::{Event, Level};
use serde::{Deserialize, Serialize};

use crate::error::excerpt;

/// The length to which the last line is cut in a log text, in characters.
const LAST_LINE_CHARS: usize = 300;

/// The number of the signal that kills a process, on every Unix.
const KILL: i32 = 9;

/// The end of a process, with its last line on stderr.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessExit {
    /// The exit code, if the process exited by itself.
    pub code: Option<i32>,
    /// The number of the signal that ended it, if any. Both are absent if another part of the program reaped the
    /// process.
    pub signal: Option<i32>,
    /// The last line on stderr that is not blank. The secrets in its environment and in
    /// [`ProcessSpec::secrets`](super::ProcessSpec::secrets) are redacted.
    pub stderr_line: Option<String>,
    /// True if the system could not run the program, as one in another format: the launcher itself says so.
    #[serde(default)]
    pub never_ran: bool,
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
            (Some(code), _) if self.never_ran => format!("the system could not run it (code {code})"),
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
    /// Returns the end and the last line on stderr, for a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())?;
        f.write_str(&line_suffix("its last line on stderr", self.stderr_line.as_deref()))
    }
}

/// Returns whether the launcher's shell, which has the process's name, says on stderr that it could not run `program`. A
/// program that ends with the same code prints another line.
pub(super) fn is_exec_failure(code: Option<i32>, line: Option<&str>, name: &str, program: &str) -> bool {
    let complaint = line.and_then(|line| line.strip_prefix(name)?.strip_prefix(": "));
    matches!(code, Some(126 | 127))
        && complaint.is_some_and(|text| text.split(": ").any(|part| part == program))
}

/// Returns a line and its name as the rest of a sentence for a log; empty if there is none.
pub(super) fn line_suffix(name: &str, line: Option<&str>) -> String {
    match line.map(str::trim) {
        None | Some("") => String::new(),
        Some(line) => format!("; {name}: {}", excerpt(line, LAST_LINE_CHARS)),
    }
}

/// A process of the backend or of an agent has exited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct ProcessExited {
    /// The process's id.
    pub pid: u32,
    /// The exit code, if the process exited by itself.
    pub code: Option<i32>,
    /// The number of the signal that ended it, if any.
    pub signal: Option<i32>,
    /// True if the runtime had asked it to end.
    pub was_requested: bool,
    /// The last lines that it has printed, at most 20: a longer traceback at the end has its first lines before them.
    #[serde(default)]
    pub output: Vec<String>,
}

impl Event for ProcessExited {
    const KIND: &'static str = "process_exited";
    const LEVEL: Level = Level::Warn;

    fn level(&self) -> Level {
        if self.was_requested { Level::Info } else { Self::LEVEL }
    }

    fn describe(&self) -> String {
        let Self { pid, code, signal, was_requested, .. } = self;
        let exit = ProcessExit { code: *code, signal: *signal, ..ProcessExit::default() };
        let how = exit.describe();
        match was_requested {
            true => format!("process {pid} has ended after a request to end: {how}"),
            false => format!("process {pid} has ended unexpectedly: {how}"),
        }
    }
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

    fn displayed(code: Option<i32>, signal: Option<i32>, stderr_line: Option<&str>) -> String {
        ProcessExit { code, signal, stderr_line: stderr_line.map(str::to_owned), ..ProcessExit::default() }
            .to_string()
    }

    #[test]
    fn only_the_launchers_own_line_is_an_exec_failure() {
        let is_failure = |code, line| is_exec_failure(Some(code), Some(line), "planner", "./run");
        assert!(is_failure(126, "planner: 1: exec: ./run: Exec format error"));
        assert!(is_failure(127, "planner: 1: exec: ./run: not found"));
        assert!(is_failure(126, "planner: line 1: ./run: cannot execute binary file: Exec format error"));
        assert!(!is_failure(1, "planner: 1: exec: ./run: not found"));
        assert!(!is_failure(127, "planner: 1: exec: ./other: not found"));
        assert!(!is_failure(127, "./run: 1: exec: ./run: not found"), "the program says it of itself");
        assert!(!is_exec_failure(Some(127), None, "planner", "./run"));
    }

    #[test]
    fn exit_displays_its_cause_and_its_last_stderr_line() {
        assert_eq!(displayed(Some(0), None, None), "it exited with code 0");
        assert_eq!(displayed(None, None, None), "it ended in an unknown way");
        let expected = "it exited with code 127 (often: a program was not found)";
        assert_eq!(displayed(Some(127), None, None), expected);
        #[cfg(unix)]
        assert_eq!(displayed(None, Some(9), None), "it was ended by signal 9 (KILL)");
        assert_eq!(displayed(None, Some(99), None), "it was ended by signal 99");
        let expected = "it exited with code 1; its last line on stderr: ValueError: boom";
        assert_eq!(displayed(Some(1), None, Some("ValueError: boom ")), expected);
    }
}

//! The events about logs.

use mainstay_runtime::journal::{Event, FaultPhase, Level, count, millis_text};
use serde::{Deserialize, Serialize};

/// A program prints more than its log takes, so that lines are left out from now on. The program counts as noisy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct OutputNoisy {
    /// The lines in a second that the log takes of each stream for any time.
    pub lines_per_second: u32,
    /// The bytes in a second that it takes of each.
    pub bytes_per_second: u64,
}

impl Event for OutputNoisy {
    const KIND: &'static str = "output_noisy";
    const LEVEL: Level = Level::Warn;

    fn describe(&self) -> String {
        let Self { lines_per_second, bytes_per_second } = self;
        format!(
            "it prints more than {} or {} a second, so its log leaves lines out from now on",
            count(lines_per_second, "line"),
            count(bytes_per_second, "byte"),
        )
    }
}

/// A noisy program prints less again, or has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct OutputQuiet {
    /// The lines that its log has left out.
    pub dropped_lines: u64,
    /// The size of these lines, in bytes.
    pub dropped_bytes: u64,
    /// The time from the first to the last of them, in milliseconds.
    pub noisy_ms: u64,
}

impl Event for OutputQuiet {
    const KIND: &'static str = "output_quiet";
    const LEVEL: Level = Level::Info;

    fn describe(&self) -> String {
        let Self { dropped_lines, dropped_bytes, noisy_ms } = self;
        format!(
            "it is no longer noisy: within {} its log has left out {} ({})",
            millis_text(*noisy_ms),
            count(dropped_lines, "line"),
            count(dropped_bytes, "byte"),
        )
    }
}

/// Logs are not being written, or are written again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct LogsDegraded {
    /// The fault, or its end, for a person.
    pub message: String,
    /// The part of the fault that this reports.
    #[serde(default)]
    pub phase: FaultPhase,
}

impl Event for LogsDegraded {
    const KIND: &'static str = "logs_degraded";
    const LEVEL: Level = Level::Warn;

    fn level(&self) -> Level {
        self.phase.level()
    }

    fn describe(&self) -> String {
        format!("the logs: {}", self.message)
    }
}

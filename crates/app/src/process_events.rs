//! Events about child processes that belong to no actor.

use mainstay_actors::process::{LoginPath, ManagerWarning, Orphan, StartReport};
use mainstay_runtime::ActorPath;
use mainstay_runtime::journal::{Event, Journal, Level, count};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// An orphan of an earlier run, a process or its descendant, was ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct ProcessOrphaned {
    /// The orphan.
    #[serde(flatten)]
    pub orphan: Orphan,
}

impl Event for ProcessOrphaned {
    const KIND: &'static str = "process_orphan";
    const LEVEL: Level = Level::Warn;

    fn describe(&self) -> String {
        let Orphan { name, pid, processes, survivors } = &self.orphan;
        let others = match processes {
            0 | 1 => String::new(),
            processes => format!(" with {processes} processes in all"),
        };
        let left = format!("process {pid} ({name}) of an earlier run still ran{others}");
        match survivors[..] {
            [] => format!("{left}, and has been ended"),
            _ => format!("{left}, and could not be ended: {survivors:?} still run"),
        }
    }
}

/// The file with the process ids of an earlier run could not be read in full. A copy of it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct PidFileDamaged {
    /// The number of damaged lines.
    pub damaged_lines: usize,
}

impl Event for PidFileDamaged {
    const KIND: &'static str = "pid_file_damaged";
    const LEVEL: Level = Level::Warn;

    fn describe(&self) -> String {
        format!(
            "the PID file of processes has {}, and a copy is kept",
            count(self.damaged_lines, "damaged line")
        )
    }
}

/// The protection against processes that outlive the runtime is incomplete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct ProcessWarning {
    /// The warning.
    #[serde(flatten)]
    pub warning: ManagerWarning,
}

impl Event for ProcessWarning {
    const KIND: &'static str = "process_warning";
    const LEVEL: Level = Level::Warn;

    fn describe(&self) -> String {
        self.warning.to_string()
    }
}

/// The login shell's `PATH` is not known, so programs are searched in the runtime's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct LoginEnvFailed {
    /// The reason, for a person.
    pub message: String,
}

impl Event for LoginEnvFailed {
    const KIND: &'static str = "login_env_failed";
    const LEVEL: Level = Level::Warn;

    fn describe(&self) -> String {
        format!("programs are searched in the runtime's own PATH: {}", self.message)
    }
}

/// Reads the login shell's `PATH`, and records why that failed.
pub(crate) async fn read_login_path(journal: Journal, login_path: LoginPath) {
    if let Err(error) = login_path.await {
        record(&journal, &LoginEnvFailed { message: error.to_string() });
    }
}

/// The path of these events in the journal: they belong to no actor.
const PATH: &str = "processes";

/// Records the findings of the start.
pub(crate) fn record_start_report(journal: &Journal, report: StartReport) {
    let damaged_lines = report.damaged_lines;
    for orphan in report.orphans {
        record(journal, &ProcessOrphaned { orphan });
    }
    if damaged_lines > 0 {
        record(journal, &PidFileDamaged { damaged_lines });
    }
}

/// Records the warnings of the process manager until it is dropped.
pub(crate) async fn record_warnings(journal: Journal, mut warnings: Receiver<ManagerWarning>) {
    loop {
        match warnings.recv().await {
            Ok(warning) => record(&journal, &ProcessWarning { warning }),
            // Missed warnings are repeated while they still hold.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

fn record<E: Event>(journal: &Journal, event: &E) {
    if let Ok(path) = ActorPath::root(PATH) {
        journal.record(&path, 0, event);
    }
}

//! What the journal says of child processes that no actor could say.

use mainstay_actors::process::{ManagerWarning, Orphan, StartReport};
use mainstay_runtime::ActorPath;
use mainstay_runtime::journal::{Event, Journal, Level, count};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// A process of an earlier run was still there, or something that it had started, and has been ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
        let left =
            format!("process {pid} ({name}) of an earlier run was still there, with {processes} in all");
        match survivors[..] {
            [] => format!("{left}, and has been ended"),
            _ => format!("{left}, and could not be ended: {survivors:?} still run"),
        }
    }
}

/// The record of an earlier run's processes could not be read in full. A copy is set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PidFileDamaged {
    /// The number of damaged lines.
    pub damaged_lines: usize,
}

impl Event for PidFileDamaged {
    const KIND: &'static str = "pid_file_damaged";
    const LEVEL: Level = Level::Warn;

    fn describe(&self) -> String {
        format!(
            "the record of processes has {}, and a copy is kept",
            count(self.damaged_lines, "damaged line")
        )
    }
}

/// Something is wrong with what keeps processes from outliving the runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// Under which the journal has them: they befall no actor.
const PATH: &str = "processes";

/// Records what was found at the start.
pub(crate) fn record_start_report(journal: &Journal, opening: StartReport) {
    let damaged_lines = opening.damaged_lines;
    for leftover in opening.orphans {
        record(journal, &ProcessOrphaned { orphan: leftover });
    }
    if damaged_lines > 0 {
        record(journal, &PidFileDamaged { damaged_lines });
    }
}

/// Records what goes wrong, for as long as there is a warden who tells it.
pub(crate) async fn record_warnings(journal: Journal, mut troubles: Receiver<ManagerWarning>) {
    loop {
        match troubles.recv().await {
            Ok(trouble) => record(&journal, &ProcessWarning { warning: trouble }),
            // Those that follow say what there is to say.
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

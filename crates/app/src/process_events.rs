//! What the journal says of child processes that no actor could say.

use mainstay_actors::process::{Leftover, Opening, Trouble};
use mainstay_runtime::ActorPath;
use mainstay_runtime::journal::{Event, Journal, Level};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// A process of an earlier run was still there, or something that it had started, and has been ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ProcessLeftover {
    #[serde(flatten)]
    leftover: Leftover,
}

impl Event for ProcessLeftover {
    const KIND: &'static str = "process_leftover";
    const LEVEL: Level = Level::Warn;
}

/// The record of an earlier run's processes could not be read in full. A copy is set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ProcessRecordDamaged {
    damaged_lines: usize,
}

impl Event for ProcessRecordDamaged {
    const KIND: &'static str = "process_record_damaged";
    const LEVEL: Level = Level::Warn;
}

/// Something is wrong with what keeps processes from outliving the runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ProcessTrouble {
    #[serde(flatten)]
    trouble: Trouble,
}

impl Event for ProcessTrouble {
    const KIND: &'static str = "process_trouble";
    const LEVEL: Level = Level::Warn;
}

/// Under which the journal has them: they befall no actor.
const PATH: &str = "processes";

/// Records what was found at the start.
pub(crate) fn record_opening(journal: &Journal, opening: Opening) {
    let damaged_lines = opening.damaged_lines;
    for leftover in opening.leftovers {
        record(journal, &ProcessLeftover { leftover });
    }
    if damaged_lines > 0 {
        record(journal, &ProcessRecordDamaged { damaged_lines });
    }
}

/// Records what goes wrong, for as long as there is a warden who tells it.
pub(crate) async fn record_troubles(journal: Journal, mut troubles: Receiver<Trouble>) {
    loop {
        match troubles.recv().await {
            Ok(trouble) => record(&journal, &ProcessTrouble { trouble }),
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

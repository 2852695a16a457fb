//! What every actor of one runtime shares: the journal, the clock, the source of randomness, the state store.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::journal::Journal;
use crate::rng::Rng;
use crate::state::StateStore;

/// What every actor of one runtime shares. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Env {
    pub(crate) journal: Journal,
    pub(crate) rng: Arc<Rng>,
    pub(crate) state_store: Option<Arc<dyn StateStore>>,
}

impl Env {
    /// The time since the runtime started, in whole milliseconds: as precise as the journal, so that a decision
    /// can be made again from what the journal says.
    pub(crate) fn now(&self) -> Duration {
        self.journal.now()
    }

    /// The instant that lies `since_start` after the start of the runtime.
    pub(crate) fn instant(&self, since_start: Duration) -> Instant {
        self.journal.epoch() + since_start
    }
}

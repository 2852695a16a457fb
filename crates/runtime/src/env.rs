//! The environment that all actors of one runtime share: the journal, the source of randomness, the state store.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::journal::Journal;
use crate::rng::Rng;
use crate::state::StateStore;

/// The environment that all actors of one runtime share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Env {
    pub(crate) journal: Journal,
    pub(crate) rng: Arc<Rng>,
    pub(crate) state_store: Option<Arc<dyn StateStore>>,
}

impl Env {
    /// Returns the time since the runtime started, in whole milliseconds. It is as precise as the journal, so that a
    /// decision can be repeated from its record.
    pub(crate) fn now(&self) -> Duration {
        self.journal.now()
    }

    /// Returns the instant `since_start` after the start of the runtime.
    pub(crate) fn instant(&self, since_start: Duration) -> Instant {
        self.journal.epoch() + since_start
    }
}

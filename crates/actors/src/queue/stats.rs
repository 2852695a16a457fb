//! How the queue is doing, for all to see without asking its actor.

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::gate::Outage;

/// How a queue is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStats {
    /// Requests that wait, for their turn or for the end of a backoff.
    pub waiting: usize,
    /// Those of them that wait for the end of a backoff.
    pub backing_off: usize,
    /// Attempts under way.
    pub running: usize,
    /// How many attempts may be under way at once.
    pub max_concurrent: usize,
    /// The requests that wait, by the priority that they arrived with.
    pub by_priority: WaitingByPriority,
    /// Why all of them wait, while the backend cannot be reached.
    #[serde(skip)]
    pub outage: Option<Outage>,
}

/// How many requests wait, by the priority that they arrived with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingByPriority {
    /// In front of the screen.
    pub high: usize,
    /// As usual.
    pub normal: usize,
    /// When nothing else is to be done.
    pub low: usize,
}

/// Where a queue shows how it is doing. Cheap to clone; all clones show the same.
///
/// It is brought up to date after each message that the queue's actor handles. While the actor is down it shows what
/// was true last.
#[derive(Debug, Clone, Default)]
pub struct QueueView(watch::Sender<QueueStats>);

impl QueueView {
    /// How the queue is doing.
    #[must_use]
    pub fn stats(&self) -> QueueStats {
        *self.0.borrow()
    }

    /// Follows how the queue is doing.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<QueueStats> {
        self.0.subscribe()
    }

    pub(super) fn publish(&self, stats: QueueStats) {
        self.0.send_if_modified(|shown| {
            let is_new = std::mem::replace(shown, stats) != stats;
            // Waking nobody takes its time, too. Who subscribes later begins with what is shown then.
            is_new && self.0.receiver_count() > 0
        });
    }
}

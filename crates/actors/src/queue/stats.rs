//! Publishes the queue's figures, readable without its actor.

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::gate::Outage;

/// The figures of a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStats {
    /// The number of waiting requests, those in a backoff included.
    pub waiting: usize,
    /// The number of requests in a backoff.
    pub backing_off: usize,
    /// The number of attempts in flight.
    pub running: usize,
    /// The most attempts in flight.
    pub max_concurrent: usize,
    /// The number of waiting requests by priority.
    pub by_priority: WaitingByPriority,
    /// The outage that holds all requests, while there is one.
    #[serde(skip)]
    pub outage: Option<Outage>,
}

/// The number of waiting requests, by their priority at arrival.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingByPriority {
    /// With priority high: a person waits for the result.
    pub high: usize,
    /// With priority normal.
    pub normal: usize,
    /// With priority low: background work.
    pub low: usize,
}

/// A shared view of a queue's figures. Cheap to clone; all clones show the same.
///
/// The queue's actor updates it after each message. While the actor is down, it shows the last figures.
#[derive(Debug, Clone, Default)]
pub struct QueueView(watch::Sender<QueueStats>);

impl QueueView {
    /// Returns the current figures.
    #[must_use]
    pub fn stats(&self) -> QueueStats {
        *self.0.borrow()
    }

    /// Subscribes to the figures.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<QueueStats> {
        self.0.subscribe()
    }

    pub(super) fn publish(&self, stats: QueueStats) {
        self.0.send_if_modified(|shown| {
            let is_new = std::mem::replace(shown, stats) != stats;
            // A wake-up without receivers costs time. A later subscriber starts with the current value.
            is_new && self.0.receiver_count() > 0
        });
    }
}

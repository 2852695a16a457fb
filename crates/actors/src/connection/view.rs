//! Publishes the connection's status and frames, also while no incarnation of its actor runs.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::events::{ConnectionChanged, ConnectionUnsent};
use super::inbound::FrameBroadcast;
use super::machine::Machine;
use super::policy::ConnectionPolicy;
use super::status::ConnectionStatus;
use crate::broadcast::BroadcastLimits;
use crate::network::BackendAvailability;

/// The connection as others see it.
#[derive(Debug, Clone)]
pub struct ConnectionView {
    /// The current status.
    pub status: watch::Sender<ConnectionStatus>,
    /// True if the backend seems unreachable.
    pub seems_unreachable: watch::Sender<bool>,
    /// The backend's availability, as the connection shows it.
    pub availability: watch::Sender<BackendAvailability>,
    /// The backend's text frames, each once, and the gaps between them.
    pub frames: FrameBroadcast,
    /// True while the backend's own process is not ready, if the runtime starts it. Nothing is dialled then.
    is_backend_down: Arc<Mutex<bool>>,
    unreported: Arc<Mutex<UnreportedEvents>>,
}

/// The events that incarnations could not record because they ended.
#[derive(Debug, Default)]
pub(super) struct UnreportedEvents {
    pub(super) change: Option<ConnectionChanged>,
    pub(super) unsent: Vec<ConnectionUnsent>,
}

impl ConnectionView {
    /// Creates the view of a connection that was never requested.
    #[must_use]
    pub fn new(policy: &ConnectionPolicy) -> Self {
        let limits =
            BroadcastLimits { items_max: policy.inbound_max.max(1), bytes_max: policy.inbound_bytes_max };
        Self {
            status: watch::Sender::new(Machine::new(policy.clone()).status()),
            seems_unreachable: watch::Sender::new(false),
            availability: watch::Sender::new(BackendAvailability::Unknown),
            frames: FrameBroadcast::new(limits),
            is_backend_down: Arc::default(),
            unreported: Arc::default(),
        }
    }

    /// Sets whether the backend's own process is ready. The runtime that starts it says so before anything is dialled.
    pub fn set_backend_up(&self, is_up: bool) {
        let mut is_down = self.is_backend_down.lock();
        *is_down = !is_up;
        self.publish_availability(*is_down);
    }

    /// Returns whether the backend's own process is known not to be ready.
    #[must_use]
    pub fn is_backend_down(&self) -> bool {
        *self.is_backend_down.lock()
    }

    /// Returns the events left by ended incarnations.
    pub(super) fn take_unreported(&self) -> UnreportedEvents {
        std::mem::take(&mut *self.unreported.lock())
    }

    /// Notes that an incarnation ended at `now` with any socket or dial, and left these messages unsent.
    pub(super) fn on_actor_exit(&self, now: Duration, unsent: Vec<ConnectionUnsent>) {
        let before = self.status.borrow().clone();
        let from = before.state;
        let after = before.after_actor_exit(now);
        let change = (after.state != from).then_some(ConnectionChanged {
            from,
            to: after.state,
            attempt: after.attempt,
            max: after.max,
            next_attempt_at: None,
            next_attempt_in_ms: None,
            reason: after.reason,
            code: None,
            error: None,
        });
        {
            let mut unreported = self.unreported.lock();
            unreported.change = change.or(unreported.change.take());
            unreported.unsent.extend(unsent);
        }
        self.publish(after);
    }

    pub(super) fn publish(&self, status: ConnectionStatus) {
        let is_down = self.is_backend_down.lock();
        replace_if_new(&self.status, status);
        self.publish_availability(*is_down);
    }

    /// Publishes what follows from the status and the backend's process. The caller holds the lock, so that the two
    /// belong together.
    fn publish_availability(&self, is_down: bool) {
        let (seems_unreachable, availability) = {
            let status = self.status.borrow();
            (status.seems_unreachable(), status.availability())
        };
        replace_if_new(&self.seems_unreachable, is_down || seems_unreachable);
        let availability = if is_down { BackendAvailability::Down } else { availability };
        replace_if_new(&self.availability, availability);
    }
}

/// Wakes the receivers only if the value differs.
fn replace_if_new<T: PartialEq>(sender: &watch::Sender<T>, value: T) {
    sender.send_if_modified(|shown| {
        let is_new = *shown != value;
        if is_new {
            *shown = value;
        }
        is_new
    });
}

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
            unreported: Arc::default(),
        }
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
        replace_if_new(&self.seems_unreachable, status.seems_unreachable());
        replace_if_new(&self.availability, status.availability());
        replace_if_new(&self.status, status);
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

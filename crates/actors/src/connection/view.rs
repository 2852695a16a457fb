//! What the outside sees of the connection, also while no incarnation of its actor is there.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::broadcast::{BroadcastLimits, FrameBroadcast};
use super::events::{ConnectionChanged, ConnectionUnsent};
use super::machine::Machine;
use super::policy::ConnectionPolicy;
use super::status::ConnectionStatus;

/// What the outside sees of the connection.
#[derive(Debug, Clone)]
pub struct ConnectionView {
    /// The status, as it changes.
    pub status: watch::Sender<ConnectionStatus>,
    /// Whether the backend seems to be away, as it changes.
    pub seems_unreachable: watch::Sender<bool>,
    /// The backend's text frames, each once, and the gaps between them.
    pub frames: FrameBroadcast,
    unreported: Arc<Mutex<UnreportedEvents>>,
}

/// What incarnations brought about by their ends, and so could not record.
#[derive(Debug, Default)]
pub(super) struct UnreportedEvents {
    pub(super) change: Option<ConnectionChanged>,
    pub(super) unsent: Vec<ConnectionUnsent>,
}

impl ConnectionView {
    /// The view of a connection that nobody has asked for yet.
    #[must_use]
    pub fn new(policy: &ConnectionPolicy) -> Self {
        let limits =
            BroadcastLimits { entries_max: policy.inbound_max.max(1), bytes_max: policy.inbound_bytes_max };
        Self {
            status: watch::Sender::new(Machine::new(policy.clone()).status()),
            seems_unreachable: watch::Sender::new(false),
            frames: FrameBroadcast::new(limits),
            unreported: Arc::default(),
        }
    }

    /// What is left to be recorded of incarnations that have ended.
    pub(super) fn take_unreported(&self) -> UnreportedEvents {
        std::mem::take(&mut *self.unreported.lock())
    }

    /// An incarnation has ended at `now`, and any socket or dial with it. It leaves these messages unsent.
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
            let mut untold = self.unreported.lock();
            untold.change = change.or(untold.change.take());
            untold.unsent.extend(unsent);
        }
        self.publish(after);
    }

    pub(super) fn publish(&self, status: ConnectionStatus) {
        let seems_away = status.seems_unreachable();
        self.seems_unreachable.send_if_modified(|shown| std::mem::replace(shown, seems_away) != seems_away);
        self.status.send_if_modified(|shown| {
            let is_new = *shown != status;
            if is_new {
                *shown = status;
            }
            is_new
        });
    }
}

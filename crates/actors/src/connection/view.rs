//! What the outside sees of the connection, also while no incarnation of its actor is there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use super::events::ConnectionChanged;
use super::machine::Machine;
use super::policy::ConnectionPolicy;
use super::status::{ConnectionState, ConnectionStatus};

/// What the outside sees of the connection.
#[derive(Debug, Clone)]
pub struct ConnectionView {
    /// The status, as it changes.
    pub status: watch::Sender<ConnectionStatus>,
    /// Whether the link is up, as it changes; no later than the status says so.
    pub is_up: watch::Sender<bool>,
    /// Whether the backend seems to be away, as it changes.
    pub seems_away: watch::Sender<bool>,
    /// The backend's text frames, each once. Who falls behind is told so and misses frames.
    pub frames: broadcast::Sender<Arc<str>>,
    /// The change that an incarnation brought about by its end, and so could not record.
    untold: Arc<Mutex<Option<ConnectionChanged>>>,
}

impl ConnectionView {
    /// The view of a connection that nobody has asked for yet. `frames_max` are kept for a slow subscriber.
    #[must_use]
    pub fn new(policy: &ConnectionPolicy, frames_max: usize) -> Self {
        Self {
            status: watch::Sender::new(Machine::new(policy.clone()).status()),
            is_up: watch::Sender::new(false),
            seems_away: watch::Sender::new(false),
            frames: broadcast::Sender::new(frames_max.max(1)),
            untold: Arc::default(),
        }
    }

    pub(super) fn untold(&self) -> MutexGuard<'_, Option<ConnectionChanged>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An incarnation has ended at `now`, and any socket or dial with it.
    fn abandon(&self, now: Duration) {
        let before = self.status.borrow().clone();
        let from = before.state;
        let after = before.abandoned(now);
        if after.state != from {
            *self.untold() = Some(ConnectionChanged {
                from,
                to: after.state,
                attempt: after.attempt,
                max: after.max,
                next_attempt_at: None,
                next_attempt_in_ms: None,
                reason: after.reason,
                error: None,
            });
        }
        self.show(after);
    }

    pub(super) fn show(&self, status: ConnectionStatus) {
        let is_up = status.state == ConnectionState::Connected;
        let seems_away = status.suggests_absence();
        self.is_up.send_if_modified(|shown| std::mem::replace(shown, is_up) != is_up);
        self.seems_away.send_if_modified(|shown| std::mem::replace(shown, seems_away) != seems_away);
        self.status.send_if_modified(|shown| {
            let is_new = *shown != status;
            if is_new {
                *shown = status;
            }
            is_new
        });
    }
}

/// Whichever way an incarnation ends, the view does not go on showing what ended with it.
pub(super) struct Presence {
    view: ConnectionView,
    /// An instant and the runtime's time then: a destructor has no context to ask.
    since: (Instant, Duration),
}

impl Presence {
    /// The presence of an incarnation that begins at the runtime's time `now`.
    pub(super) fn new(view: ConnectionView, now: Duration) -> Self {
        Self { view, since: (Instant::now(), now) }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let (instant, then) = self.since;
        let now = then.saturating_add(instant.elapsed());
        let whole_millis = Duration::from_millis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        self.view.abandon(whole_millis);
    }
}

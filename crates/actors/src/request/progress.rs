//! Reports how far a request has come.

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// The progress of the current attempt. It restarts with each attempt; within one, bytes only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferProgress {
    /// The number of the attempt, from 1; 0 means that none has begun.
    pub attempt: u32,
    /// The bytes of the request's body that the connection took. It may buffer about 512 KiB of them, and the
    /// operating system more.
    pub sent: u64,
    /// The length of the request's body, if it is known; 0 if there is no body.
    pub to_send: Option<u64>,
    /// The bytes of the response's body that were received.
    pub received: u64,
    /// The length of the response's body, if the response has begun and announces it.
    pub to_receive: Option<u64>,
}

/// Sends a request's progress to its watchers. It costs nothing without watchers, and never waits.
#[derive(Debug, Clone, Default)]
pub struct ProgressSender(Option<watch::Sender<TransferProgress>>);

impl ProgressSender {
    /// Subscribes to the progress from now on.
    pub(super) fn subscribe(&mut self) -> watch::Receiver<TransferProgress> {
        self.0.get_or_insert_default().subscribe()
    }

    /// Begins attempt number `attempt`.
    pub(crate) fn start_attempt(&self, attempt: u32) {
        self.update(|progress| *progress = TransferProgress { attempt, ..TransferProgress::default() });
    }

    /// Begins to send the body of this `length`, if it is known.
    pub(crate) fn start_sending(&self, length: Option<u64>) {
        self.update(|progress| (progress.sent, progress.to_send) = (0, length));
    }

    /// Adds `bytes` to the bytes sent.
    pub(crate) fn add_sent(&self, bytes: usize) {
        self.update(|progress| progress.sent = progress.sent.saturating_add(bytes as u64));
    }

    /// Sets the bytes of the response's body received so far, out of `length` if that is known.
    pub(crate) fn set_received(&self, bytes: u64, length: Option<u64>) {
        self.update(|progress| (progress.received, progress.to_receive) = (bytes, length));
    }

    fn update(&self, note: impl FnOnce(&mut TransferProgress)) {
        if let Some(watched) = &self.0 {
            watched.send_modify(note);
        }
    }
}

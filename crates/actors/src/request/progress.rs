//! How far a request has come, for whoever wants to watch.

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// How far the attempt under way has come. It starts anew with each attempt; within one, bytes only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferProgress {
    /// The number of the attempt; the first is 1, and 0 means that none has begun.
    pub attempt: u32,
    /// How much of the request's body was handed to the connection, which may hold about half a MiB back, and the
    /// operating system more.
    pub sent: u64,
    /// How much there is to send, if that is known: 0 if there is no body.
    pub to_send: Option<u64>,
    /// How much of the answer's body came in.
    pub received: u64,
    /// How much there is to receive, if the answer has begun and says so.
    pub to_receive: Option<u64>,
}

/// Where whoever carries a request out notes how far it has come. Costs nothing while nobody watches; never waits.
#[derive(Debug, Clone, Default)]
pub struct ProgressSender(Option<watch::Sender<TransferProgress>>);

impl ProgressSender {
    /// What is noted, to be watched from now on.
    pub(super) fn subscribe(&mut self) -> watch::Receiver<TransferProgress> {
        self.0.get_or_insert_default().subscribe()
    }

    /// Attempt number `attempt` begins.
    pub fn start_attempt(&self, attempt: u32) {
        self.update(|progress| *progress = TransferProgress { attempt, ..TransferProgress::default() });
    }

    /// The body is about to be sent from its start; `length` is how long it is, if that is known.
    pub fn start_sending(&self, length: Option<u64>) {
        self.update(|progress| (progress.sent, progress.to_send) = (0, length));
    }

    /// This many bytes more were sent.
    pub fn add_sent(&self, bytes: usize) {
        self.update(|progress| progress.sent = progress.sent.saturating_add(bytes as u64));
    }

    /// So many bytes of the answer's body came in so far, out of `length` if that is known.
    pub fn set_received(&self, bytes: u64, length: Option<u64>) {
        self.update(|progress| (progress.received, progress.to_receive) = (bytes, length));
    }

    fn update(&self, note: impl FnOnce(&mut TransferProgress)) {
        if let Some(watched) = &self.0 {
            watched.send_modify(note);
        }
    }
}

//! The answer to a call.

use tokio::sync::oneshot;

use crate::call_error::CallError;
use crate::teardown;

/// The one place that the answer to a call goes to. Part of the message that makes the call.
///
/// Dropped unanswered, it tells the caller why: see [`CallError`].
#[derive(Debug)]
pub struct Reply<T>(Option<oneshot::Sender<Result<T, CallError>>>);

impl<T> Reply<T> {
    /// A reply and the receiver of its answer.
    pub(crate) fn channel() -> (Self, oneshot::Receiver<Result<T, CallError>>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Some(sender)), receiver)
    }

    /// Answers the call.
    ///
    /// A caller that has gone away is no error of the actor that answers, so nothing is returned: an error here
    /// would tempt a handler to fail, and its supervisor to restart it, because somebody stopped listening.
    pub fn send(mut self, answer: T) {
        if let Some(sender) = self.0.take() {
            let _ = sender.send(Ok(answer));
        }
    }

    /// Whether nobody waits for the answer any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            let _ = sender.send(Err(teardown::reason()));
        }
    }
}

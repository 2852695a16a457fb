//! The answer to a call.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use crate::messaging::call_error::CallError;
use crate::messaging::teardown;

/// The one place that the answer to a call goes to. Part of the message that makes the call.
///
/// Dropped unanswered, it tells the caller why: see [`CallError`].
#[derive(Debug)]
pub struct Reply<T>(Option<oneshot::Sender<Result<T, CallError>>>);

impl<T> Reply<T> {
    /// A reply, and the answer that it will bring.
    ///
    /// [`Address::call`](crate::Address::call) makes its own. This is for a call whose message is sent in a way of
    /// its own, such as with [`try_cast`](crate::Address::try_cast).
    pub fn channel() -> (Self, Promise<T>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Some(sender)), Promise(receiver))
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

/// The answer that a [`Reply`] will bring: always one, though it may be a [`CallError`].
#[derive(Debug)]
#[must_use = "it is of no use unless it is awaited"]
pub struct Promise<T>(oneshot::Receiver<Result<T, CallError>>);

impl<T> Future for Promise<T> {
    type Output = Result<T, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(answer.unwrap_or(Err(CallError::Unanswered)))
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            let _ = sender.send(Err(teardown::reason()));
        }
    }
}

//! The answer to a call.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::messaging::call_error::CallError;
use crate::messaging::drop_reason::{self, DropReason};

/// The sender of the one answer to a call. Part of the message that makes the call.
///
/// If it is dropped unanswered, the caller gets the reason: see [`CallError`].
pub struct Reply<T>(ReplyChannel<T>);

/// The channel to the caller.
enum ReplyChannel<T> {
    Exclusive(oneshot::Sender<ReplyValue<T>>),
    /// Several replies share one caller: the first answer takes the sender.
    Shared(Arc<Mutex<Option<oneshot::Sender<ReplyValue<T>>>>>),
    /// The answer has been sent.
    Used,
}

/// The value that reaches the caller.
#[derive(Debug)]
enum ReplyValue<T> {
    Value(T),
    Dropped(DropReason),
}

impl<T> Reply<T> {
    /// Returns a reply, and the promise of its answer.
    ///
    /// [`Address::call`](crate::Address::call) makes its own. Use this for a call whose message is sent in another
    /// way, such as with [`try_cast`](crate::Address::try_cast).
    pub fn channel() -> (Self, Promise<T>) {
        let (sender, receiver) = oneshot::channel();
        (Self(ReplyChannel::Exclusive(sender)), Promise(WaitState::ForAnswer(receiver)))
    }

    /// Returns another reply to the same caller, for a message that may be handled again; see
    /// [`Message::redelivery_clone`](crate::Message::redelivery_clone).
    ///
    /// The first answer counts. The caller gets an error only when the last reply is dropped unanswered.
    #[must_use]
    pub fn share(&mut self) -> Self {
        let shared = match std::mem::replace(&mut self.0, ReplyChannel::Used) {
            ReplyChannel::Exclusive(sender) => Arc::new(Mutex::new(Some(sender))),
            ReplyChannel::Shared(shared) => shared,
            ReplyChannel::Used => return Self(ReplyChannel::Used),
        };
        self.0 = ReplyChannel::Shared(Arc::clone(&shared));
        Self(ReplyChannel::Shared(shared))
    }

    /// Answers the call.
    ///
    /// Nothing is returned, because a caller that is gone is no error of the actor that answers. An error here would
    /// tempt a handler to fail, and its supervisor to restart it.
    pub fn send(self, answer: T) {
        let _ = self.send_if_waiting(answer);
    }

    /// Answers the call, and returns whether the caller still waited. False means that the caller is gone and does
    /// not get the answer. Use this for an answer that holds only if it is known.
    ///
    /// A caller of [`Address::call_within`](crate::Address::call_within) that stops waiting takes an answer that has
    /// come by then. So exactly one holds: this returns true, or the caller has an error.
    #[must_use]
    pub fn send_if_waiting(mut self, answer: T) -> bool {
        let sender = match std::mem::replace(&mut self.0, ReplyChannel::Used) {
            ReplyChannel::Exclusive(sender) => Some(sender),
            ReplyChannel::Shared(shared) => shared.lock().take(),
            ReplyChannel::Used => None,
        };
        sender.is_some_and(|sender| sender.send(ReplyValue::Value(answer)).is_ok())
    }

    /// Returns whether the caller has stopped waiting.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match &self.0 {
            ReplyChannel::Exclusive(sender) => sender.is_closed(),
            ReplyChannel::Shared(shared) => {
                let sender = shared.lock();
                sender.as_ref().is_none_or(oneshot::Sender::is_closed)
            }
            ReplyChannel::Used => true,
        }
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("is_closed", &self.is_closed()).finish()
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        let sender = match std::mem::replace(&mut self.0, ReplyChannel::Used) {
            ReplyChannel::Exclusive(sender) => Some(sender),
            ReplyChannel::Shared(shared) => Arc::into_inner(shared).and_then(|last| last.into_inner()),
            ReplyChannel::Used => None,
        };
        if let Some(sender) = sender {
            let _ = sender.send(ReplyValue::Dropped(drop_reason::current()));
        }
    }
}

/// The answer that a [`Reply`] will send: always one, though it may be a [`CallError`].
#[derive(Debug)]
#[must_use = "it is of no use unless it is awaited"]
pub struct Promise<T>(WaitState<T>);

#[derive(Debug)]
enum WaitState<T> {
    ForAnswer(oneshot::Receiver<ReplyValue<T>>),
    ForReason(oneshot::Receiver<CallError>),
}

impl<T> Promise<T> {
    /// Stops waiting, and returns the answer if it has come. No answer can come after this.
    pub(crate) fn close(&mut self) -> Option<T> {
        let WaitState::ForAnswer(answer) = &mut self.0 else { return None };
        answer.close();
        match answer.try_recv() {
            Ok(ReplyValue::Value(value)) => Some(value),
            Ok(ReplyValue::Dropped(_)) | Err(_) => None,
        }
    }
}

impl<T> Future for Promise<T> {
    type Output = Result<T, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut self.0 {
                WaitState::ForAnswer(answer) => match ready!(Pin::new(answer).poll(cx)) {
                    Ok(ReplyValue::Value(value)) => return Poll::Ready(Ok(value)),
                    Ok(ReplyValue::Dropped(DropReason::Known(reason))) => return Poll::Ready(Err(reason)),
                    Ok(ReplyValue::Dropped(DropReason::Pending(reason))) => {
                        self.0 = WaitState::ForReason(reason)
                    }
                    Err(_) => return Poll::Ready(Err(CallError::NoReply)),
                },
                WaitState::ForReason(reason) => {
                    let reason = ready!(Pin::new(reason).poll(cx));
                    return Poll::Ready(Err(reason.unwrap_or(CallError::NoReply)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shared_reply_first_answer_counts() {
        let (mut reply, promise) = Reply::channel();
        let second = reply.share();
        reply.send(1);
        assert!(second.is_closed());
        second.send(2);
        assert_eq!(promise.await, Ok(1));
    }

    #[test]
    fn closed_promise_takes_or_refuses_the_answer() {
        let (reply, mut promise) = Reply::channel();
        assert!(reply.send_if_waiting(1));
        assert_eq!(promise.close(), Some(1));

        let (reply, mut promise) = Reply::channel();
        assert_eq!(promise.close(), None);
        assert!(!reply.send_if_waiting(2));
    }

    #[tokio::test]
    async fn shared_reply_last_drop_sets_the_error() {
        let (mut reply, mut promise) = Reply::<()>::channel();
        let (second, third) = (reply.share(), reply.share());
        drop_reason::drop_with(CallError::Crashed, (reply, third));
        assert!(futures_util::poll!(&mut promise).is_pending());
        drop_reason::drop_with(CallError::Stopped, second);
        assert_eq!(promise.await, Err(CallError::Stopped));
    }

    #[tokio::test]
    async fn shared_reply_shared_again_still_answers() {
        let (mut reply, promise) = Reply::channel();
        let mut second = reply.share();
        drop(reply);
        let third = second.share();
        drop(second);
        assert!(!third.is_closed());
        third.send(3);
        assert_eq!(promise.await, Ok(3));
    }
}

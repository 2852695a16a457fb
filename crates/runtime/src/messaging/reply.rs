//! The answer to a call.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use crate::messaging::call_error::CallError;
use crate::messaging::teardown::{self, Reason};

/// The one place that the answer to a call goes to. Part of the message that makes the call.
///
/// Dropped unanswered, it tells the caller why: see [`CallError`].
#[derive(Debug)]
pub struct Reply<T>(Line<T>);

/// The line to the caller.
#[derive(Debug)]
enum Line<T> {
    Own(oneshot::Sender<Answer<T>>),
    /// Several replies lead to one caller: the first answer takes the sender.
    Shared(Arc<Mutex<Option<oneshot::Sender<Answer<T>>>>>),
    /// The answer is on its way.
    Spent,
}

/// What reaches the caller.
#[derive(Debug)]
enum Answer<T> {
    Value(T),
    None(Reason),
}

impl<T> Reply<T> {
    /// A reply, and the answer that it will bring.
    ///
    /// [`Address::call`](crate::Address::call) makes its own. This is for a call whose message is sent in a way of
    /// its own, such as with [`try_cast`](crate::Address::try_cast).
    pub fn channel() -> (Self, Promise<T>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Line::Own(sender)), Promise(Waiting::ForAnswer(receiver)))
    }

    /// Another reply to the same caller, for a message that may be handled again; see
    /// [`Message::retained`](crate::Message::retained).
    ///
    /// The first answer counts. Replies that are dropped unanswered tell the caller nothing until the last one is.
    #[must_use]
    pub fn share(&mut self) -> Self {
        let shared = match std::mem::replace(&mut self.0, Line::Spent) {
            Line::Own(sender) => Arc::new(Mutex::new(Some(sender))),
            Line::Shared(shared) => shared,
            Line::Spent => return Self(Line::Spent),
        };
        self.0 = Line::Shared(Arc::clone(&shared));
        Self(Line::Shared(shared))
    }

    /// Answers the call.
    ///
    /// A caller that has gone away is no error of the actor that answers, so nothing is returned: an error here
    /// would tempt a handler to fail, and its supervisor to restart it, because somebody stopped listening.
    pub fn send(self, answer: T) {
        let _ = self.offer(answer);
    }

    /// Answers the call, and says whether the caller still waited; false where it has gone away, and is not going to learn
    /// of the answer. For an answer that holds only as long as somebody knows of it.
    ///
    /// A caller of [`Address::call_within`](crate::Address::call_within) that gives up takes an answer that has come by
    /// then, so of the two one holds: the answer was given, or the caller has been told that there is none.
    #[must_use]
    pub fn offer(mut self, answer: T) -> bool {
        let sender = match std::mem::replace(&mut self.0, Line::Spent) {
            Line::Own(sender) => Some(sender),
            Line::Shared(shared) => shared.lock().unwrap_or_else(PoisonError::into_inner).take(),
            Line::Spent => None,
        };
        sender.is_some_and(|sender| sender.send(Answer::Value(answer)).is_ok())
    }

    /// Whether nobody waits for the answer any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match &self.0 {
            Line::Own(sender) => sender.is_closed(),
            Line::Shared(shared) => {
                let sender = shared.lock().unwrap_or_else(PoisonError::into_inner);
                sender.as_ref().is_none_or(oneshot::Sender::is_closed)
            }
            Line::Spent => true,
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        let sender = match std::mem::replace(&mut self.0, Line::Spent) {
            Line::Own(sender) => Some(sender),
            Line::Shared(shared) => Arc::into_inner(shared)
                .and_then(|last| last.into_inner().unwrap_or_else(PoisonError::into_inner)),
            Line::Spent => None,
        };
        if let Some(sender) = sender {
            let _ = sender.send(Answer::None(teardown::reason()));
        }
    }
}

/// The answer that a [`Reply`] will bring: always one, though it may be a [`CallError`].
#[derive(Debug)]
#[must_use = "it is of no use unless it is awaited"]
pub struct Promise<T>(Waiting<T>);

#[derive(Debug)]
enum Waiting<T> {
    ForAnswer(oneshot::Receiver<Answer<T>>),
    ForReason(oneshot::Receiver<CallError>),
}

impl<T> Promise<T> {
    /// Waits no longer: the answer, if it has come. From now on none can.
    pub(crate) fn close(&mut self) -> Option<T> {
        let Waiting::ForAnswer(answer) = &mut self.0 else { return None };
        answer.close();
        match answer.try_recv() {
            Ok(Answer::Value(value)) => Some(value),
            Ok(Answer::None(_)) | Err(_) => None,
        }
    }
}

impl<T> Future for Promise<T> {
    type Output = Result<T, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut self.0 {
                Waiting::ForAnswer(answer) => match ready!(Pin::new(answer).poll(cx)) {
                    Ok(Answer::Value(value)) => return Poll::Ready(Ok(value)),
                    Ok(Answer::None(Reason::Known(reason))) => return Poll::Ready(Err(reason)),
                    Ok(Answer::None(Reason::Pending(reason))) => self.0 = Waiting::ForReason(reason),
                    Err(_) => return Poll::Ready(Err(CallError::Unanswered)),
                },
                Waiting::ForReason(reason) => {
                    let reason = ready!(Pin::new(reason).poll(cx));
                    return Poll::Ready(Err(reason.unwrap_or(CallError::Unanswered)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_answer_of_replies_that_share_a_caller_counts() {
        let (mut reply, promise) = Reply::channel();
        let second = reply.share();
        reply.send(1);
        assert!(second.is_closed());
        second.send(2);
        assert_eq!(promise.await, Ok(1));
    }

    #[test]
    fn an_answer_is_taken_by_who_gives_up_waiting_or_comes_to_nobody_and_says_so() {
        let (reply, mut promise) = Reply::channel();
        assert!(reply.offer(1));
        assert_eq!(promise.close(), Some(1));

        let (reply, mut promise) = Reply::channel();
        assert_eq!(promise.close(), None);
        assert!(!reply.offer(2));
    }

    #[tokio::test]
    async fn only_the_last_of_replies_that_share_a_caller_tells_why_there_is_no_answer() {
        let (mut reply, mut promise) = Reply::<()>::channel();
        let (second, third) = (reply.share(), reply.share());
        teardown::drop_for(CallError::Crashed, (reply, third));
        assert!(futures_util::poll!(&mut promise).is_pending());
        teardown::drop_for(CallError::Stopped, second);
        assert_eq!(promise.await, Err(CallError::Stopped));
    }

    #[tokio::test]
    async fn a_shared_reply_can_be_shared_again_and_still_answer() {
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

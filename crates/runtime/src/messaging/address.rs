//! The address of an actor, which survives its restarts.

#[cfg(debug_assertions)]
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use crate::identity::{ActorIdentity, ActorInfo};
use crate::messaging::call_error::CallError;
use crate::messaging::envelope::Envelope;
use crate::messaging::mailbox::{Mailbox, SendErrorKind};
use crate::messaging::message::Message;
#[cfg(debug_assertions)]
use crate::messaging::reply::Promise;
use crate::messaging::reply::Reply;
use crate::path::ActorPath;

/// The error for a message that was not accepted. The message comes back unchanged.
#[derive(Error)]
#[error("{}", match .kind { SendErrorKind::Full => "the mailbox is full", SendErrorKind::Stopped => "the actor is stopped" })]
pub struct SendError<M> {
    /// The message.
    pub message: M,
    /// The reason.
    pub kind: SendErrorKind,
}

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError").field("reason", &self.kind).finish_non_exhaustive()
    }
}

/// The address of an actor. It stays valid across restarts, and is cheap to clone.
///
/// An accepted message has exactly one outcome. Either it is handled once, to the end. Or it is not, a `dead_letter`
/// event says why, and its [`Reply`], if it has one, answers with a [`CallError`]. A message that opts in to
/// redelivery ([`Message::redelivery_clone`]) is first tried again when its handler crashes.
///
/// A handler that never yields cannot be ended. If it is abandoned, its message is a dead letter from then on. The
/// caller is answered when the handler ends, if it does; [`call_within`](Self::call_within) does not wait for that.
pub struct Address<M: Message> {
    identity: Arc<ActorIdentity>,
    mailbox: Arc<Mailbox<M>>,
}

impl<M: Message> Address<M> {
    pub(crate) fn new(identity: Arc<ActorIdentity>, mailbox: Arc<Mailbox<M>>) -> Self {
        Self { identity, mailbox }
    }

    /// Sends a message, and waits for room where there is none.
    ///
    /// An actor that sends to itself, or to one that waits for it, should use [`try_cast`](Self::try_cast).
    ///
    /// # Errors
    /// When the actor is stopped; the message comes back.
    pub async fn cast(&self, message: M) -> Result<(), SendError<M>> {
        // Mostly there is room, and then no waiting has to be set up.
        match self.mailbox.push(Envelope::new(message, None)) {
            Err((envelope, SendErrorKind::Full)) => self.mailbox.push_when_room(envelope).await,
            result => result,
        }
        .map_err(into_send_error)
    }

    /// Sends a message if there is room now.
    ///
    /// # Errors
    /// When there is no room, or the actor is stopped; the message comes back.
    pub fn try_cast(&self, message: M) -> Result<(), SendError<M>> {
        self.mailbox.push(Envelope::new(message, None)).map_err(into_send_error)
    }

    /// Sends the message that `make` builds around a reply, and waits for the answer without a time limit.
    ///
    /// # Errors
    /// See [`CallError`]. Restarts of the actor while the message waits are not errors: the message is kept.
    pub async fn call<T>(&self, make: impl FnOnce(Reply<T>) -> M) -> Result<T, CallError> {
        let (reply, answer) = Reply::channel();
        match self.mailbox.push(Envelope::new(make(reply), None)) {
            Err((envelope, SendErrorKind::Full)) => self.mailbox.push_when_room(envelope).await,
            result => result,
        }
        .map_err(into_call_error)?;
        answer.await
    }

    /// Sends like [`call`](Self::call), and waits for at most `limit`. A message that still waits then is not
    /// handled any more.
    ///
    /// # Errors
    /// See [`CallError`]; `TimedOut` when the time ran out.
    pub async fn call_within<T>(
        &self,
        limit: Duration,
        make: impl FnOnce(Reply<T>) -> M,
    ) -> Result<T, CallError> {
        #[allow(clippy::disallowed_methods, reason = "tokio's clock is the paused one in tests")]
        let Some(deadline) = Instant::now().checked_add(limit) else {
            // The deadline is beyond the range of the clock, so there is none.
            return self.call(make).await;
        };
        let (reply, mut answer) = Reply::channel();
        let envelope = Envelope::new(make(reply), Some(deadline));
        let exchange = async {
            self.mailbox.push_when_room(envelope).await.map_err(into_call_error)?;
            (&mut answer).await
        };
        match timeout_at(deadline, exchange).await {
            Ok(answer) => answer,
            Err(_) => answer.close().ok_or(CallError::TimedOut),
        }
    }

    /// Makes the actor panic at this place in its mailbox, as if a message had crashed its handler. For tests and
    /// demonstrations of supervision; available only with debug assertions, and hidden from the documentation.
    ///
    /// Does not wait for room. The promise resolves when the actor has panicked: with [`CallError::Crashed`], or with
    /// [`CallError::Stopped`] if the actor is stopped before. The journal calls the panic `InjectedPanic`.
    ///
    /// # Errors
    /// `Full` when there is no room in the mailbox, `Stopped` when the actor is stopped.
    #[cfg(debug_assertions)]
    #[doc(hidden)]
    pub fn inject_panic(&self) -> Result<Promise<Infallible>, CallError> {
        let (caller, promise) = Reply::channel();
        match self.mailbox.push_injected_panic(caller) {
            Ok(()) => Ok(promise),
            Err(SendErrorKind::Full) => Err(CallError::Full),
            Err(SendErrorKind::Stopped) => Err(CallError::Stopped),
        }
    }

    /// Returns the number of messages that wait in the mailbox.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.mailbox.len()
    }

    /// Returns the state of the actor at `now`, which is [`Runtime::now`](crate::Runtime::now). It sends no message
    /// and reads no other actor.
    #[must_use]
    pub fn info(&self, now: Duration) -> ActorInfo {
        self.identity.info(now)
    }

    /// Returns the actor's path; `None` until it or a supervisor above it is in a tree.
    #[must_use]
    pub fn path(&self) -> Option<&ActorPath> {
        self.identity.path()
    }
}

fn into_send_error<M>((envelope, reason): (Envelope<M>, SendErrorKind)) -> SendError<M> {
    SendError { message: envelope.message, kind: reason }
}

fn into_call_error<M>((_, reason): (Envelope<M>, SendErrorKind)) -> CallError {
    match reason {
        SendErrorKind::Full => CallError::Full,
        SendErrorKind::Stopped => CallError::Stopped,
    }
}

impl<M: Message> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self { identity: Arc::clone(&self.identity), mailbox: Arc::clone(&self.mailbox) }
    }
}

impl<M: Message> fmt::Debug for Address<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Address").field(&self.identity.name()).finish()
    }
}

//! The content of a mailbox: a message with its deadline and its redelivery state.

#[cfg(debug_assertions)]
use std::convert::Infallible;
use std::mem::{self, Discriminant};

use tokio::time::Instant;

use crate::messaging::label::Label;
use crate::messaging::message::Message;
use crate::messaging::panics;
#[cfg(debug_assertions)]
use crate::messaging::reply::Reply;

/// A message with its deadline and its redelivery state.
#[derive(Debug)]
pub(crate) struct Envelope<M> {
    pub(crate) message: M,
    /// The time after which it is not handled any more.
    pub(crate) expires_at: Option<Instant>,
    /// Present if an incarnation has begun to handle it before.
    pub(crate) redelivery: Option<RedeliveryState>,
}

/// The state of a redelivered message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RedeliveryState {
    /// Crashes on it so far.
    pub(crate) crashes: u32,
    /// The number of crashes that makes it poison.
    pub(crate) crashes_max: u32,
}

impl<M: Message> Envelope<M> {
    pub(crate) fn new(message: M, expires_at: Option<Instant>) -> Self {
        Self { message, expires_at, redelivery: None }
    }

    /// Returns the label for the journal, even if the message's `Debug` panics.
    pub(crate) fn label(&self) -> Label {
        panics::catch(|| Label::of(&self.message)).unwrap_or_else(|_| Label::of_type::<M>())
    }
}

/// An entry of a mailbox.
#[derive(Debug)]
pub(crate) enum MailboxEntry<M> {
    Message(Envelope<M>),
    /// Makes the incarnation panic when it comes to this; see [`Address::inject_panic`](crate::Address::inject_panic).
    #[cfg(debug_assertions)]
    InjectedPanic(Reply<Infallible>),
}

/// The label of an injected panic in the journal.
pub(crate) const INJECTED_PANIC: &str = "InjectedPanic";

impl<M: Message> MailboxEntry<M> {
    /// Returns the label for the journal; see [`Envelope::label`].
    pub(crate) fn label(&self) -> Label {
        match self {
            Self::Message(envelope) => envelope.label(),
            #[cfg(debug_assertions)]
            Self::InjectedPanic(_) => Label::from_name(INJECTED_PANIC),
        }
    }

    /// Returns the variant of a message.
    pub(super) fn variant(&self) -> Option<Discriminant<M>> {
        match self {
            Self::Message(envelope) => Some(mem::discriminant(&envelope.message)),
            #[cfg(debug_assertions)]
            Self::InjectedPanic(_) => None,
        }
    }

    pub(super) fn returned(&mut self) -> Option<&mut RedeliveryState> {
        match self {
            Self::Message(envelope) => envelope.redelivery.as_mut(),
            #[cfg(debug_assertions)]
            Self::InjectedPanic(_) => None,
        }
    }

    pub(super) fn into_envelope(self) -> Option<Envelope<M>> {
        match self {
            Self::Message(envelope) => Some(envelope),
            #[cfg(debug_assertions)]
            Self::InjectedPanic(_) => None,
        }
    }
}

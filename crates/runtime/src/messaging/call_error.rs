//! Errors of calls.

use thiserror::Error;

/// The reason for which a call has no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum CallError {
    /// The actor crashed on the message, or before it replied.
    #[error("the actor crashed before it replied")]
    Crashed,
    /// The actor was stopped, or has failed for good, before it replied.
    #[error("the actor is stopped")]
    Stopped,
    /// The message waited in the mailbox until its deadline, and was not handled.
    #[error("the message expired before it was handled")]
    Expired,
    /// The mailbox had no room.
    #[error("the mailbox is full")]
    Full,
    /// The caller's time ran out; the message may have been handled.
    #[error("no reply came in time")]
    TimedOut,
    /// The handler dropped the call's reply, and did not fail.
    #[error("the actor sent no reply")]
    NoReply,
}

//! Errors of calls.

use thiserror::Error;

/// The reason for which a call has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum CallError {
    /// The actor crashed on the message, or before it answered.
    #[error("the actor crashed before it answered")]
    Crashed,
    /// The actor was stopped, or has failed for good, before it answered.
    #[error("the actor is stopped")]
    Stopped,
    /// The message waited in the mailbox until its deadline, and was not handled.
    #[error("the message expired before it was handled")]
    Expired,
    /// The mailbox had no room.
    #[error("the mailbox is full")]
    Full,
    /// The caller's time ran out; the message may have been handled.
    #[error("no answer came in time")]
    TimedOut,
    /// The handler dropped the reply without an answer, and did not fail.
    #[error("the actor gave no answer")]
    Unanswered,
}

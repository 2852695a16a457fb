//! The wake-ups of an incarnation: its ractor mailbox carries nothing else.

/// The reason for which an incarnation is woken.
#[derive(Debug)]
pub(crate) enum Wake {
    /// There are messages.
    Message,
    /// The incarnation has to end in order.
    Stop,
}

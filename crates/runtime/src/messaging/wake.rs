//! The wake-ups of an incarnation: its ractor mailbox carries nothing else.

use crate::stop_clock::MovingDeadline;

/// The reason for which an incarnation is woken.
#[derive(Debug)]
pub(crate) enum Wake {
    /// There are messages.
    Message,
    /// The incarnation has to end in order, and is killed if it has not by this deadline.
    Stop { by: Option<MovingDeadline> },
}

//! Why an incarnation is woken: all that its ractor mailbox ever carries.

/// Why an incarnation is woken.
#[derive(Debug)]
pub(crate) enum Wake {
    /// There are messages.
    Message,
    /// It is to end in order.
    Stop,
}

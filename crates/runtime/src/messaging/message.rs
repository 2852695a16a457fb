//! The trait of messages.

use std::fmt;

/// A message. Most need only `#[derive(Debug)]` and `impl Message for MyMessage {}`.
///
/// The journal names a message by its *label*: the first word of its `Debug` output. A derived `Debug` begins with the
/// variant, or with the name of a struct, and what follows is never formatted. A `Debug` by hand must begin with such a
/// name, not with content.
///
/// A message whose handler crashes is not handled again, unless its type opts in with
/// [`redelivery_clone`](Self::redelivery_clone). Then the next incarnation handles it before all others. A message that
/// goes on crashing is *poison*: after [`delivery_crashes_max`](Self::delivery_crashes_max) crashes it becomes a dead
/// letter. Redelivery suits messages that do no harm when they are handled twice: a crashed handler may have done half
/// of its work.
///
/// ```
/// use mainstay_runtime::{Message, Reply};
///
/// #[derive(Debug)]
/// enum Store {
///     Put { key: String, value: u64, done: Reply<()> },
///     Compact,
/// }
///
/// impl Message for Store {
///     fn redelivery_clone(&mut self) -> Option<Self> {
///         match self {
///             Self::Put { key, value, done } => {
///                 Some(Self::Put { key: key.clone(), value: *value, done: done.share() })
///             }
///             Self::Compact => None,
///         }
///     }
/// }
/// ```
pub trait Message: fmt::Debug + Send + Sized + 'static {
    /// Returns a copy for the next incarnation if this one crashes on the message; `None` for a message that must not
    /// be handled twice.
    ///
    /// Called before each delivery; the copy is dropped once the message is handled to the end. Share a [`Reply`]
    /// with [`Reply::share`], so that the caller goes on waiting over a crash.
    ///
    /// The copy goes to the front of the mailbox, where there is always room for it; it keeps its deadline. If no
    /// incarnation follows, it is a dead letter like every message that waits.
    ///
    /// [`Reply`]: crate::Reply
    /// [`Reply::share`]: crate::Reply::share
    fn redelivery_clone(&mut self) -> Option<Self> {
        None
    }

    /// Returns the number of crashes that makes this message poison. A poison message is not handled again: it
    /// becomes a dead letter, and its caller gets [`Crashed`](crate::CallError::Crashed). At least 1; the default is
    /// 2.
    ///
    /// A panic, an error and a stuck handler are crashes. A handler that a command killed, as by a stop or a restart,
    /// does not count.
    fn delivery_crashes_max(&self) -> u32 {
        2
    }
}

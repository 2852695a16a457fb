//! The trait of messages.

/// A message. Most need only `impl Message for MyMessage {}`.
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
pub trait Message: Send + Sized + 'static {
    /// Returns the label under which the journal records this message as a dead letter. Name the variant, never the
    /// content.
    fn label(&self) -> &'static str {
        type_label::<Self>()
    }

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

/// Returns the last part of a message type's name.
pub(crate) fn type_label<M>() -> &'static str {
    let name = std::any::type_name::<M>();
    // Called once per message, and names end soon: scanning the bytes is several times faster than a search.
    let start = name.bytes().rposition(|byte| byte == b':').map_or(0, |colon| colon + 1);
    name.get(start..).unwrap_or(name)
}

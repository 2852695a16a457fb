//! What can be sent to an actor.

/// A message. Most need only `impl Message for MyMessage {}`.
///
/// A message whose handler crashes is not handled again, unless its type opts in with [`redelivery_clone`](Self::redelivery_clone):
/// then the next incarnation handles it before all others. A message that goes on crashing is *poison*: after
/// [`delivery_crashes_max`](Self::delivery_crashes_max) crashes on it, it is set aside for good. Redelivery thus is for messages
/// that do no harm when they are handled twice: a crashed handler may have done half of its work.
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
    /// What the journal calls this message when it could not be handled. Say the variant, never its content.
    fn label(&self) -> &'static str {
        type_label::<Self>()
    }

    /// A copy to be handled by the next incarnation if this one crashes on the message; `None` for a message that
    /// must not be handled twice.
    ///
    /// Asked before each delivery, and dropped once the message is handled to the end. Share a [`Reply`] with
    /// [`Reply::share`], so that the caller goes on waiting over a crash.
    ///
    /// The copy goes to the front of the mailbox, where there is always room for it; it keeps its deadline. If the
    /// actor does not come back, it is a dead letter like every message that waits.
    ///
    /// [`Reply`]: crate::Reply
    /// [`Reply::share`]: crate::Reply::share
    fn redelivery_clone(&mut self) -> Option<Self> {
        None
    }

    /// After how many crashes on this message it is poison: not handled again, a dead letter that says so, and its
    /// caller is told [`Crashed`](crate::CallError::Crashed). At least 1; 2 if nothing else is said.
    ///
    /// A panic, an error and a handler that is stuck are crashes. A handler that was killed by order, as by a stop
    /// or a restart, is no fault of the message and is not counted.
    fn delivery_crashes_max(&self) -> u32 {
        2
    }
}

/// The last part of a message type's name.
pub(crate) fn type_label<M>() -> &'static str {
    let name = std::any::type_name::<M>();
    // Asked once a message, and names end soon: going through the bytes is several times faster than a search.
    let start = name.bytes().rposition(|byte| byte == b':').map_or(0, |colon| colon + 1);
    name.get(start..).unwrap_or(name)
}

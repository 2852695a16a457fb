//! What can be sent to an actor.

/// A message. Most need only `impl Message for MyMessage {}`.
pub trait Message: Send + Sized + 'static {
    /// What the journal calls this message when it could not be handled. Say the variant, never its content.
    fn label(&self) -> &'static str {
        let name = std::any::type_name::<Self>();
        // Asked once a message, and names end soon: going through the bytes is several times faster than a search.
        let start = name.bytes().rposition(|byte| byte == b':').map_or(0, |colon| colon + 1);
        name.get(start..).unwrap_or(name)
    }
}

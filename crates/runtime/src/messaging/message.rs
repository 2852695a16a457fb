//! What can be sent to an actor.

/// A message. Most need only `impl Message for MyMessage {}`.
pub trait Message: Send + Sized + 'static {
    /// What the journal calls this message when it could not be handled. Say the variant, never its content.
    fn label(&self) -> &'static str {
        let name = std::any::type_name::<Self>();
        name.rsplit("::").next().unwrap_or(name)
    }
}

//! The progress of an actor, from which a supervisor sees whether it is stuck.

/// The progress of an actor at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ActorProgress {
    /// The number of completed steps.
    pub(crate) steps: u64,
    /// True in the middle of a step.
    pub(crate) is_busy: bool,
}

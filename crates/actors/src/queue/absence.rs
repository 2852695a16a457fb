//! The absence of the backend, as its owner knows it: nothing is sent meanwhile.

use std::sync::Arc;
use std::time::Duration;

/// Says why nothing can be sent, in the words of the backend's owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendAbsence {
    /// The reason for a person: short, and without a text from outside.
    pub summary: String,
    /// The reason with the next step.
    pub text: String,
    /// True if the backend stays absent until a person acts. Requests then fail at once, since a wait would be in vain.
    pub is_final: bool,
    /// True if nothing is wrong: the backend is starting, and has not failed before.
    pub is_orderly_start: bool,
}

/// Returns the absence at a time, or `None` while requests may be sent.
pub type ObserveAbsence = Arc<dyn Fn(Duration) -> Option<BackendAbsence> + Send + Sync>;

//! The errors of handlers.

use thiserror::Error;

/// The error with which a handler ends its incarnation. Any error converts with `?`, any text with `.into()`.
///
/// Expected failures travel in the reply; a `Failure` means "restart me".
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The error with which [`Worker::start`](crate::Worker::start) declines: the actor is not needed now, which is no
/// failure.
///
/// Its supervisor continues without it. The child stays `stopped` and can be started by a command. A temporary child,
/// and a child of a dynamic supervisor, is removed.
///
/// ```
/// # use mainstay_runtime::{Declined, Failure};
/// # fn feature_is_on() -> bool { false }
/// fn open() -> Result<(), Failure> {
///     if !feature_is_on() {
///         return Err(Declined.into());
///     }
///     Ok(())
/// }
/// # assert!(open().unwrap_err().is::<Declined>());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("it declined to start")]
pub struct Declined;

/// The error of an actor that no restart can heal, such as a program that does not exist. Its supervisor spends no
/// restart on it: it gives the child up at once, as if the budget were spent.
///
/// ```
/// # use mainstay_runtime::{Failure, UnrecoverableFailure};
/// # use std::path::Path;
/// fn check(model: &Path) -> Result<(), Failure> {
///     if !model.exists() {
///         let next_step = "install the model, then start the actor";
///         return Err(UnrecoverableFailure::new("the model is missing", next_step).into());
///     }
///     Ok(())
/// }
/// # assert!(check(Path::new("/no/such/model")).unwrap_err().is::<UnrecoverableFailure>());
/// ```
#[derive(Debug, Error)]
#[error("{error}")]
pub struct UnrecoverableFailure {
    error: Failure,
    next_step: String,
}

impl UnrecoverableFailure {
    /// Makes `error` unrecoverable. `next_step` says what a person does before the actor is started again.
    pub fn new(error: impl Into<Failure>, next_step: impl Into<String>) -> Self {
        Self { error: error.into(), next_step: next_step.into() }
    }

    /// Returns what a person does before the actor is started again.
    #[must_use]
    pub fn next_step(&self) -> &str {
        &self.next_step
    }
}

/// The error of a supervisor that shuts itself down.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct ShutdownExit(pub(crate) String);

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

/// The error of a supervisor that shuts itself down.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct ShutdownExit(pub(crate) String);

//! Why a handler gives up.

use thiserror::Error;

/// Why a handler gives up on its incarnation. Any error converts with `?`, any text with `.into()`.
///
/// Expected failures travel in the reply; a `Failure` means "restart me".
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What [`Worker::start`](crate::Worker::start) fails with to decline: the actor is not wanted now, and that is no
/// failure.
///
/// Its supervisor goes on without it. The child stays `stopped` and can be started by hand; a temporary one, and one
/// of a dynamic supervisor, is dropped.
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

/// What a supervisor fails with that ends itself.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct ShutdownExit(pub(crate) String);

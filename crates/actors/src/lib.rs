//! The actors.
//!
//! - [`error`]: the one error that callers see, and the table of its reasons
//! - [`request`]: requests and responses
//! - [`transport`]: one attempt at one request, over HTTP or in a simulation
//! - [`queue`]: what waits, what goes first, what is tried again

pub mod error;
pub mod queue;
pub mod request;
pub mod transport;

//! The connection to the backend: one WebSocket, kept alive by rules that can be read.
//!
//! Policy stands apart from mechanism. These decide, synchronously, with time and randomness passed in:
//!
//! - [`machine`]: which socket to open, to believe and to drop, and when; its table of transitions
//! - [`policy`]: the settings, and after which faults one does not come back
//! - [`status`]: what can be said about the connection at any moment
//! - [`fault`]: what went wrong, as plain data with a message for a person
//! - [`outbound`]: what waits to be sent, and what becomes of it
//! - [`frames`]: which events are new, seen before, or missing


pub mod fault;
pub mod frames;
mod liveness;
pub mod machine;
pub mod outbound;
pub mod policy;
pub mod status;

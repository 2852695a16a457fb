//! The connection to the backend: one WebSocket, kept alive by rules that can be read.
//!
//! Policy stands apart from mechanism. These decide, synchronously, with time and randomness passed in:
//!
//! - [`machine`]: which socket to open, to believe and to drop, and when
//! - [`policy`]: the settings, and after which faults one does not come back
//! - [`status`]: what can be said about the connection at any moment
//! - [`fault`]: what went wrong, as plain data with a message for a person
//! - [`outbound`]: what waits to be sent, and what becomes of it
//! - `invalidation`: what the backend says that the cache must not serve any more
//! - [`frames`]: which events are new, seen before, or missing
//! - `liveness`: whether the peer of an open socket is still there
//! - `tally`: sums of what happens too often to be told each time
//!
//! These do:
//!
//! - [`target`]: where to connect, and with which headers
//! - [`socket`]: the dial, and the two halves of an open socket; `open_socket`: the tasks that read and write it
//! - [`ConnectionActor`]: obeys the machine with real sockets; [`ConnectionMessage`] is what it is told, `link` what one
//!   incarnation has in hand
//! - [`ConnectionView`]: what the outside sees; [`feed`]: frames for whoever listens; `events`: what the journal says
//!
//! docs/connection.md explains all this to those who embed it, docs/conformance/connection-table.md has the machine's transitions.
//!
//! Whoever owns a connection keeps one machine, one outbound buffer and one resumption, and drives them so:
//! it wakes no later than `Machine::next_wake` and `OutboundBuffer::next_expiry`; each action is obeyed in
//! order; each dial and each reader is a task of its own that reports under its generation and ends with
//! `Drop`; `Resume` sends what `Resumption::open` returns, ahead of anything from the buffer; and a send
//! that failed settles its message as not sent, so that it is reported and never sent twice.

mod actor;
pub mod broadcast;
#[cfg(test)]
mod documentation;
pub mod error;
mod event_counter;
mod events;
mod invalidation;
mod liveness;
pub mod machine;
mod message;
pub mod outbound;
pub mod policy;
pub mod resumption;
pub mod socket;
mod socket_tasks;
mod state;
pub mod status;
pub mod target;
mod view;

pub use actor::{ConnectionActor, ConnectionSnapshot};
pub use events::{ConnectionChanged, ConnectionIgnored, ConnectionUnsent, IgnoredReason, UnsentReason};
pub use message::ConnectionMessage;
pub use view::ConnectionView;

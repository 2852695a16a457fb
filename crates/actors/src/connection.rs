//! Keeps one WebSocket to the backend open.
//!
//! These modules decide. They are synchronous; time and randomness are arguments:
//!
//! - [`machine`]: which socket to open, use and drop, and when
//! - [`policy`]: the settings
//! - [`status`]: the connection's state as plain data
//! - [`error`]: what went wrong, as plain data with a message for a person, and whether it is retried
//! - [`outbound`]: the messages that wait to be sent, and their outcomes
//! - `invalidation`: the backend's invalidations, and the sink that they go to
//! - [`resumption`]: which events are new, duplicate or missing
//! - `liveness`: whether the peer of an open socket is alive
//! - [`frame`]: a frame to be sent; `network_watch`: whether the computer has another way to the network
//! - `event_counter`: sums of events that are too frequent to be recorded one by one
//!
//! These modules act:
//!
//! - [`target`]: the address and the headers
//! - [`socket`]: the dial, and the two halves of an open socket; `socket_tasks`: the tasks that read and write it
//! - [`ConnectionActor`]: carries out the machine's actions with real sockets; [`ConnectionMessage`] is its message,
//!   `state` the state of one incarnation
//! - [`ConnectionView`]: the status for others; [`inbound`]: the frames for subscribers; `events`: the journal's
//!   events
//!
//! docs/connection.md explains the connection to embedders; docs/conformance/connection-table.md lists the machine's transitions.
//!
//! The owner of a connection keeps one machine, one outbound buffer and one resumption. It wakes no later than
//! `Machine::next_wake` and `OutboundBuffer::next_expiry`, and carries out the actions in order. Each dial and each
//! reader is a task of its own that reports under its generation and ends with `Drop`. On `Resume` it sends what
//! `Resumption::on_open` returns, ahead of any message. A failed send ends its message as not sent, so that it is
//! reported and never sent twice.

mod actor;
pub mod error;
mod event_counter;
mod events;
pub mod frame;
pub mod inbound;
mod invalidation;
mod liveness;
pub mod machine;
mod message;
mod network_watch;
pub mod outbound;
pub mod policy;
pub mod resumption;
pub mod socket;
mod socket_tasks;
mod state;
pub mod status;
pub mod target;
mod view;

pub use actor::ConnectionActor;

pub use events::{ConnectionChanged, ConnectionIgnored, ConnectionUnsent, IgnoredReason};
pub(crate) use invalidation::{BackendInvalidation, InvalidationSink};
pub use message::{ConnectOutcome, ConnectionMessage};
pub use view::ConnectionView;

#[cfg(test)]
mod tests {
    mod documentation;
}

//! Messages to actors, and the answers to them.
//!
//! - [`Address`](address::Address): sends messages; `mailbox`: keeps them until they are handled
//! - [`Reply`](reply::Reply): the answer to a call; `drop_reason`: the reason for which one is dropped unanswered

pub(crate) mod address;
pub(crate) mod call_error;
pub(crate) mod drop_reason;
pub(crate) mod mailbox;
pub(crate) mod message;
pub(crate) mod reply;

//! How actors are reached, and what becomes of what they are sent.
//!
//! - [`Address`](address::Address): where messages are sent to; `mailbox`: where they wait
//! - [`Reply`](reply::Reply): the answer to a call; `teardown`: why one is dropped unanswered

pub(crate) mod address;
pub(crate) mod call_error;
pub(crate) mod drop_reason;
pub(crate) mod mailbox;
pub(crate) mod message;
pub(crate) mod reply;

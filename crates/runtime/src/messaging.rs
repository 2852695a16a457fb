//! Messages to actors, and the answers to them.
//!
//! - [`Address`](address::Address): sends messages; `mailbox`: keeps each in its `envelope` until it is handled
//! - [`Reply`](reply::Reply): the answer to a call; `drop_reason`: the reason for which one is dropped unanswered
//! - `label`: the name of a message in the journal
//! - `panics`: catching panics with text and location; `backtrace`: their trimmed backtraces
//! - `wake`, `progress`: the signals between a mailbox and its incarnation
//!
//! This folder knows no actor: `actor` builds on it, and `supervisor` on both.

pub(crate) mod address;
mod backtrace;
pub(crate) mod call_error;
pub(crate) mod drop_reason;
pub(crate) mod envelope;
pub(crate) mod label;
pub(crate) mod mailbox;
pub(crate) mod message;
pub(crate) mod panics;
pub(crate) mod progress;
pub(crate) mod reply;
pub(crate) mod wake;

//! Actors: slots, and the incarnations that run in them one after the other.
//!
//! - [`Worker`](worker::Worker), [`Context`](context::Context): the interface for embedders
//! - `behaviour`: the interface of workers and supervisors to the incarnation
//! - `incarnation`: one incarnation, from its launch to the exit record that it leaves in the slot
//! - `slot`: the identity of an actor, with its mailbox and its checkpoint

pub(crate) mod behaviour;
pub(crate) mod context;
pub(crate) mod failure;
pub(crate) mod incarnation;
pub(crate) mod launch;
pub(crate) mod slot;
pub(crate) mod timer;
pub(crate) mod worker;

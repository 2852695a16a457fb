//! Actors: slots, and the incarnations that run in them one after the other.
//!
//! - [`Worker`](worker::Worker), [`Context`](context::Context): the interface for embedders
//! - `behaviour`: the interface of workers and supervisors to the incarnation
//! - `slot`: the identity of an actor, with its mailbox, its checkpoint and its incarnations

pub(crate) mod behaviour;
pub(crate) mod context;
pub(crate) mod failure;
pub(crate) mod slot;
pub(crate) mod worker;

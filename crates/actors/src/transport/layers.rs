//! Layers around a transport, below the queue and the agents: nothing that reaches the backend bypasses them.
//!
//! - [`ReachabilityLayer`] reports each response as a sign that the backend can be reached
//! - [`InvalidationLayer`] drops what a write makes outdated
//! - [`ActivityLayer`] counts the requests that each agent works on
//!
//! Each layer takes a closure for what it reports, so it knows none of those who listen.

mod activity;
mod invalidation;
mod reachability;
#[cfg(test)]
mod tests;

pub use self::{
    activity::{ActivityLayer, OnProgress},
    invalidation::{InvalidationLayer, OutdatedData},
    reachability::ReachabilityLayer,
};

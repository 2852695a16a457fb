//! The runtime.

pub mod policy;

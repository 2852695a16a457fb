//! The actors.

pub mod connection;

//! The actors.

pub mod error;
pub mod request;
pub mod transport;

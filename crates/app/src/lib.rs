//! The app.

#[cfg(feature = "backend")]
pub mod backend;
pub mod config;

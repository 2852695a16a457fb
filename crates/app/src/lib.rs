//! The app.

pub mod config;

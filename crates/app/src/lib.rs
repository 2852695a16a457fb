//! The app.

#[cfg(feature = "backend")]
pub mod backend;

//! Files that are kept while their folders are watched, on the real file system.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets the unexpected should say so at once"
)]

mod crowds;
mod folders;
mod losses;
#[cfg(unix)]
mod plain;
mod saves;
mod scene;

//! Files that are kept while their folders are watched, on the real file system.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets the unexpected should say so at once"
)]

mod many_files;
mod folders;
mod lost_roots;
#[cfg(unix)]
mod uncached;
mod saves;
mod fixture;

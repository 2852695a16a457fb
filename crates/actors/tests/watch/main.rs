//! Files that are cached while their folders are watched, on the real file system.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets the unexpected should say so at once"
)]

mod feed;
mod fixture;
mod folders;
mod lost_roots;
mod many_files;
mod saves;
#[cfg(unix)]
mod uncached;

use std::{fs, path::Path, time::Duration};

use bytes::Bytes;
use mainstay_actors::error::Reason;
use mainstay_runtime::journal::Delivery;

use crate::fixture::{WatchFixture, new_text, old_text, write};

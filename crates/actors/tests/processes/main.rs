//! Tests child processes, started and ended for real, however they, the watchdog or the runtime end.
//!
//! The end of a pipe that a process held open shows that it is gone. Some tests run this same binary again as another
//! process, a runtime that can be killed. Its work is a test of its own, which does nothing unless a variable names
//! its folder.

#![cfg(unix)]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets the unexpected should say so at once"
)]

mod exits;
mod fixture;
mod kills;
mod orphans;
mod runtime_process;
mod shutdown;
#[path = "../../../../tests/tier.rs"]
mod tier;
mod watchdog;

use std::{
    path::PathBuf,
    process::{self, Child, Command, Stdio},
    thread,
    time::Duration,
};

use mainstay_actors::process::{Process, ProcessManager, ProcessSpec, SpawnError};
use rustix::process::Signal;
use tokio::time::timeout;

use crate::{
    fixture::{LIMIT, ProcessFixture, has_program, script, start_ready},
    runtime_process::{RuntimeProcess, data_dir, signal, watchdog_pid},
};

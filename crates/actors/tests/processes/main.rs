//! Child processes, started and ended for real: what becomes of them however they, the guardian or the runtime end.
//!
//! That a process is gone shows by the end of a pipe that it held open. Some tests run this same binary again as another
//! process, a runtime that can be killed; what that does is a test of its own, which does nothing unless it is told
//! which folder to use.

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

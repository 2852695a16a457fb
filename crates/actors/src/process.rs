//! Runs child processes that never outlive the runtime, however it ends.
//!
//! - [`ProcessSpec`]: the program to start; [`SpawnError`]: why it did not start
//! - [`Process`]: a running program and its descendants: its [`ProcessStdin`], output, `ProcessExit` and shutdown
//! - [`Launch`]: starts one and waits until it is ready ([`Readiness`]), or returns a `LaunchError`
//! - [`ProcessManager`]: ends every process with the runtime, by a watchdog, a PID file, and at the next start
//! - `MemoryCeiling`: detects that a process uses too much memory
//! - [`OwnedBackendActor`]: the actor of the backend's own process, if the runtime starts it
//!
//! This module knows no agent, connects to nothing, and restarts nothing. On Unix each process leads a group of its own. A small shell,
//! the watchdog, waits for the end of the runtime and then ends every group. On Linux, a process that left its group
//! is found by a marker in its environment or by its ancestors; elsewhere by its ancestors alone. A process without
//! group, marker and living ancestor is not found; docs/agent-drivers.md says what can be done about that. On Windows a job
//! object does all of this.

mod child;
mod exit;
mod launch;
mod lines;
mod login_env;
mod manager;
mod memory;
mod owned_backend;
mod program;
mod readiness;
#[cfg(any(unix, test))]
mod shutdown;
mod spec;
mod stdin;
mod stop_limit;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

pub(crate) use child::{LoggedStdout, ProcessCondition, pause};
pub use child::{Process, SUSPENSION_LOOK_INTERVAL_MAX};

pub(crate) use exit::ProcessExit;
pub use exit::ProcessExited;
pub(crate) use launch::LaunchError;
pub use launch::{Launch, PrepareStart, PreparedStart};
pub(crate) use lines::{LineSplitter, OutputLine};
pub use login_env::{LoginEnvError, LoginPath, login_path};
pub use manager::{ManagerWarning, OpenError, Orphan, ProcessManager, StartReport};
pub(crate) use memory::MemoryCeiling;
pub use owned_backend::{
    BackendProcess, BackendResumed, BackendStarted, BackendStarting, BackendSuspended, OwnedBackendActor,
    OwnedBackendMessage, OwnedBackendView, PrepareLaunch, SuspensionPolicy,
};
pub(crate) use readiness::ReadySignal;
pub use readiness::{Probe, ProbeResult, Readiness};
pub use spec::{ProcessSpec, SpawnError};
pub use stdin::ProcessStdin;
pub(crate) use stop_limit::stop_within;

#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

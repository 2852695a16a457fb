//! Child processes that never outlive the runtime, however it ends.
//!
//! - [`ProcessSpec`]: what is to be started; [`StartFault`]: why it was not
//! - [`Process`]: one that runs, with all that it starts: its [`Input`] and output, its [`Exit`], its end
//! - [`Launch`]: starts one and waits until it is ready ([`Readiness`]), or says why it is not ([`LaunchFault`])
//! - [`Warden`]: sees to it that none is left behind, by a guardian, by a record on disk, and at the next start
//! - [`MemoryCeiling`]: when one takes more memory than it may
//!
//! It knows no agent, and restarts nothing. On unix a process is the leader of a group of its own; a small shell, the
//! guardian, waits for the runtime to go away, and then ends every group. On Linux, what left its group is found by a
//! mark in its environment or by its ancestors; elsewhere by its ancestors alone. What has left its
//! group and has neither a mark nor a living ancestor is not found; docs/agents.md says what can be done about that. On Windows a job object does all of this.

mod child;
mod exit;
mod launch;
mod lines;
mod manager;
mod memory;
mod output_tail;
mod readiness;
#[cfg(any(unix, test))]
mod shutdown;
mod spec;
mod stdin;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

pub use child::{Process, ProcessIdentity};
pub use exit::ProcessExit;
pub use launch::{Launch, LaunchError};
pub(crate) use lines::{LineSplitter, OutputLine};
pub use manager::{ManagerWarning, OpenError, Orphan, ProcessManager, StartReport};
pub use memory::MemoryCeiling;
pub use readiness::{HttpProbe, Readiness, ReadySignal};
pub use spec::{ProcessSpec, SpawnError};
pub use stdin::ProcessStdin;

#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

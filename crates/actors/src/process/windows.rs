//! Implements processes on Windows, each in a job object, which the system ends when the runtime is gone.
//!
//! So there is no watchdog and no PID file. There is no request to end either. A process that is stopped has until
//! the end of its grace to notice that its stdin was closed, and is then killed.

use parking_lot::Mutex;
use std::path::Path;
use std::pin::pin;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use process_wrap::tokio::{ChildWrapper, CommandWrap, CreationFlags, JobObject, KillOnDrop};
use tokio::process::{ChildStdin, Command};
use tokio::sync::broadcast;
use tokio::time::sleep;
use windows::Win32::System::Threading::CREATE_NO_WINDOW;

use super::child::{Grace, ProcessCondition, ProcessIdentity, StdioPipes, WaitStatus};
use super::manager::{ManagerWarning, OpenError, Orphan};
use super::program::TriedPlaces;
use super::spec::{MARKER_VARIABLE, ProcessSpec, SpawnError};

/// The safeguards against processes that outlive the runtime: here, the system itself.
#[derive(Debug)]
pub(super) struct ProcessRegistry {
    marker_prefix: String,
    spawn_count: AtomicU64,
}

/// The orphans of an earlier run: none.
pub(super) struct RecoveredOrphans {
    pub(super) orphans: Vec<Orphan>,
    pub(super) damaged_lines: usize,
}

impl ProcessRegistry {
    pub(super) async fn open(
        _: Option<&Path>,
        _: broadcast::Sender<ManagerWarning>,
    ) -> Result<(Self, RecoveredOrphans), OpenError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| OpenError::Random(error.to_string()))?;
        let marker_prefix = format!("{:032x}-", u128::from_ne_bytes(bytes));
        let registry = Self { marker_prefix, spawn_count: AtomicU64::new(0) };
        Ok((registry, RecoveredOrphans { orphans: Vec::new(), damaged_lines: 0 }))
    }

    pub(super) async fn close(&self) {}
}

/// A process and its descendants.
#[derive(Debug)]
pub(super) struct ProcessGroup {
    /// Locked for moments only.
    job: Mutex<Box<dyn ChildWrapper>>,
    pid: u32,
    marker: String,
    grace: Duration,
}

impl ProcessGroup {
    pub(super) fn spawn(
        spec: &ProcessSpec,
        registry: &ProcessRegistry,
    ) -> Result<(Self, StdioPipes), SpawnError> {
        let (program, arguments) = spec.command.split_first().ok_or(SpawnError::NoCommand)?;
        let marker =
            format!("{}{}", registry.marker_prefix, registry.spawn_count.fetch_add(1, Ordering::Relaxed));
        let mut command = Command::new(program);
        command.args(arguments).envs(&spec.env).env(MARKER_VARIABLE, &marker);
        if let Some(cwd) = &spec.cwd {
            command.current_dir(cwd);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut command = CommandWrap::from(command);
        // A console program would otherwise open a window on the user's desktop.
        command.wrap(CreationFlags(CREATE_NO_WINDOW)).wrap(KillOnDrop).wrap(JobObject);
        let mut job = command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                SpawnError::NoProgram { program: program.clone(), tried: TriedPlaces::default() }
            }
            _ => SpawnError::Io(error),
        })?;
        let broken = || SpawnError::Io(std::io::Error::other("it has no id or no pipes"));
        let pipes = StdioPipes {
            stdin: job.stdin().take().ok_or_else(broken)?,
            stdout: job.stdout().take().ok_or_else(broken)?,
            stderr: job.stderr().take().ok_or_else(broken)?,
        };
        let pid = job.id().ok_or_else(broken)?;
        Ok((Self { job: Mutex::new(job), pid, marker, grace: spec.grace }, pipes))
    }

    pub(super) fn identity(&self) -> ProcessIdentity {
        ProcessIdentity { pid: self.pid, started: String::new(), marker: self.marker.clone() }
    }

    pub(super) async fn register(&self, _: &ProcessRegistry) -> Result<(), SpawnError> {
        Ok(())
    }

    pub(super) async fn open_gate(&self, _: &mut ChildStdin) {}

    /// Waits for the exit of the process itself.
    pub(super) async fn wait_for_exit(&mut self) -> WaitStatus {
        let job = self.job.get_mut();
        match job.inner_mut().wait().await {
            Ok(status) => WaitStatus { code: status.code(), signal: None },
            Err(_) => WaitStatus::default(),
        }
    }

    /// Ends the process and its descendants: waits for the grace, then kills.
    pub(super) async fn shut_down(
        &self,
        grace: Grace,
        _: impl Future<Output = ()>,
        in_a_hurry: impl Future<Output = ()>,
    ) -> Vec<u32> {
        if !matches!(grace, Grace::None) {
            let mut in_a_hurry = pin!(in_a_hurry);
            let ended = async {
                while !self.has_ended() {
                    sleep(POLL_INTERVAL).await;
                }
            };
            tokio::select! {
                () = ended => {}
                () = sleep(self.grace) => {}
                () = &mut in_a_hurry => {}
            }
        }
        // An empty job needs no kill.
        let _ = self.job.lock().start_kill();
        Vec::new()
    }

    fn has_ended(&self) -> bool {
        let mut job = self.job.lock();
        !matches!(job.inner_mut().try_wait(), Ok(None))
    }

    pub(super) async fn reap(self, _: &ProcessRegistry, _: &[u32]) {}
}

/// The polling interval for a process's exit.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Does nothing: the task kills the job when its owner is dropped.
pub(super) fn kill_group(_: u32) {}

/// Returns nothing, because the system reports it only to unsafe code.
pub(super) async fn resident_bytes(_: &ProcessIdentity) -> Option<u64> {
    None
}

/// Returns that the process runs, because the system reports more only to unsafe code.
pub(super) async fn condition(_: &ProcessIdentity) -> ProcessCondition {
    ProcessCondition::Running
}

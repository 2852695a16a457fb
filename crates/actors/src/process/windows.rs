//! Processes on Windows: each in a job object, which the system ends when the runtime is gone.
//!
//! So there is no guardian and no record here. There is no request to end either: a process that is to be stopped has
//! until the end of its grace to see that its input, which was closed, has ended, and is then killed.

use parking_lot::Mutex;
use std::path::Path;
use std::pin::pin;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use process_wrap::tokio::{ChildWrapper, CommandWrap, JobObject, KillOnDrop};
use tokio::process::{ChildStdin, Command};
use tokio::sync::broadcast;
use tokio::time::sleep;

use super::child::{Grace, Identity, Pipes, Status};
use super::spec::{MARKER, ProcessSpec, StartFault};
use super::warden::{Leftover, OpenFault, Trouble};

/// What sees to it that nothing outlives the runtime: here, the system does.
#[derive(Debug)]
pub(super) struct Custody {
    prefix: String,
    started: AtomicU64,
}

/// What was left by a run before: nothing.
pub(super) struct Found {
    pub(super) leftovers: Vec<Leftover>,
    pub(super) damaged_lines: usize,
}

impl Custody {
    pub(super) async fn open(
        _: Option<&Path>,
        _: broadcast::Sender<Trouble>,
    ) -> Result<(Self, Found), OpenFault> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| OpenFault::Random(error.to_string()))?;
        let prefix = format!("{:032x}-", u128::from_ne_bytes(bytes));
        let custody = Self { prefix, started: AtomicU64::new(0) };
        Ok((custody, Found { leftovers: Vec::new(), damaged_lines: 0 }))
    }

    pub(super) async fn close(&self) {}
}

/// A process and all that it starts.
#[derive(Debug)]
pub(super) struct Body {
    /// Locked for moments only.
    job: Mutex<Box<dyn ChildWrapper>>,
    pid: u32,
    marker: String,
    grace: Duration,
}

impl Body {
    pub(super) fn spawn(spec: &ProcessSpec, custody: &Custody) -> Result<(Self, Pipes), StartFault> {
        let (program, arguments) = spec.command.split_first().ok_or(StartFault::NoCommand)?;
        let marker = format!("{}{}", custody.prefix, custody.started.fetch_add(1, Ordering::Relaxed));
        let mut command = Command::new(program);
        command.args(arguments).envs(&spec.env).env(MARKER, &marker);
        if let Some(cwd) = &spec.cwd {
            command.current_dir(cwd);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut command = CommandWrap::from(command);
        let mut job =
            command.wrap(KillOnDrop).wrap(JobObject).spawn().map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => StartFault::NoProgram { program: program.clone() },
                _ => StartFault::Refused(error),
            })?;
        let broken = || StartFault::Refused(std::io::Error::other("it has no id or no pipes"));
        let pipes = Pipes {
            stdin: job.stdin().take().ok_or_else(broken)?,
            stdout: job.stdout().take().ok_or_else(broken)?,
            stderr: job.stderr().take().ok_or_else(broken)?,
        };
        let pid = job.id().ok_or_else(broken)?;
        Ok((Self { job: Mutex::new(job), pid, marker, grace: spec.grace }, pipes))
    }

    pub(super) fn identity(&self) -> Identity {
        Identity { pid: self.pid, started: String::new(), marker: self.marker.clone() }
    }

    pub(super) async fn register(&self, _: &Custody) -> Result<(), StartFault> {
        Ok(())
    }

    pub(super) async fn open_gate(&self, _: &mut ChildStdin) {}

    /// Ends when the process itself has.
    pub(super) async fn ended(&mut self) -> Status {
        let job = self.job.get_mut();
        match job.inner_mut().wait().await {
            Ok(status) => Status { code: status.code(), signal: None },
            Err(_) => Status::default(),
        }
    }

    /// Ends the process and all that it started: waits for the grace, then kills.
    pub(super) async fn end(&self, grace: Grace, in_a_hurry: impl Future<Output = ()>) -> Vec<u32> {
        if let Grace::AsAgreed = grace {
            let mut in_a_hurry = pin!(in_a_hurry);
            let ended = async {
                while !self.has_ended() {
                    sleep(LOOK_INTERVAL).await;
                }
            };
            tokio::select! {
                () = ended => {}
                () = sleep(self.grace) => {}
                () = &mut in_a_hurry => {}
            }
        }
        // A job that is empty needs none.
        let _ = self.job.lock().start_kill();
        Vec::new()
    }

    fn has_ended(&self) -> bool {
        let mut job = self.job.lock();
        !matches!(job.inner_mut().try_wait(), Ok(None))
    }

    pub(super) async fn bury(self, _: &Custody, _: &[u32]) {}
}

/// How often a process is looked at that is to end by itself.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Its task kills the job as its owner is dropped; nothing can be done from here.
pub(super) fn kill_group(_: u32) {}

/// The system does not say without unsafe code.
pub(super) async fn resident_bytes(_: &Identity) -> Option<u64> {
    None
}

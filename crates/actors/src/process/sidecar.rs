//! Implements the sidecar actor: the backend's own process, if the runtime starts it.
//!
//! - [`SidecarActor`]: the actor
//! - [`SidecarStarted`]: its event in the journal
//!
//! It is an actor so that a supervisor decides its restarts. When the process ends, the incarnation ends with an
//! error, and the next incarnation starts the process again. It never speaks to the backend, whose health other
//! actors observe.

use std::sync::Arc;

use mainstay_runtime::journal::{Event, Level, millis, millis_text};
use mainstay_runtime::{Context, Failure, Message, PermanentFailure, Worker};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::process::ChildStdout;
use tokio::time::Instant;

use super::child::Process;
use super::launch::{Launch, LaunchError};
use super::lines::{LineSplitter, OutputLine};
use super::manager::ProcessManager;
use super::readiness::ReadySignal;
use super::stdin::ProcessStdin;
use super::stop_limit::stop_within;
use crate::error::{Error, Reason};

/// The longest line of output that is searched for the ready text, in bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// The size of one read of the output, in bytes.
const PIECE_BYTES: usize = 16 * 1024;

/// The settings of every incarnation.
pub struct SidecarActor {
    /// The program, and the sign that it is ready.
    pub launch: Launch,
    /// The manager that ends the process with the runtime.
    pub manager: ProcessManager,
    /// Called each time that the process has become ready again.
    pub when_back: Box<dyn Fn() + Send + Sync>,
}

/// A running backend process, which ends when this is dropped.
pub struct Sidecar {
    process: Option<Process>,
    /// Kept open: a program that reads its stdin to the end learns from that end that it is to stop.
    _stdin: Option<ProcessStdin>,
}

/// The messages of the sidecar's actor, which its own tasks send.
#[derive(Debug)]
pub enum SidecarMessage {
    /// The process has exited, or did not become ready.
    Fail(Failure),
}

impl Message for SidecarMessage {
    fn label(&self) -> &'static str {
        match self {
            Self::Fail(_) => "Fail",
        }
    }
}

/// Reports that the backend's process runs and is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarStarted {
    /// The process's id.
    pub pid: u32,
    /// The time that the start took, in milliseconds.
    pub ready_ms: u64,
}

impl Event for SidecarStarted {
    const KIND: &'static str = "backend_started";
    const LEVEL: Level = Level::Info;

    fn describe(&self) -> String {
        format!("the backend is ready as process {} after {}", self.pid, millis_text(self.ready_ms))
    }
}

type Ctx = Context<SidecarMessage>;

impl Worker for SidecarActor {
    type Message = SidecarMessage;
    type State = Sidecar;
    type Snapshot = ();

    /// Returns once the process is ready.
    ///
    /// The first start does not fail with the process. The tree starts without the backend, and the supervisor
    /// decides right after that.
    async fn start(&self, ctx: &mut Ctx, _: Option<()>) -> Result<Sidecar, Failure> {
        match self.launch_process(ctx).await {
            Ok(sidecar) => {
                if ctx.generation() > 1 {
                    (self.when_back)();
                }
                Ok(sidecar)
            }
            Err(failure) if ctx.generation() == 1 => {
                ctx.spawn(std::future::ready(SidecarMessage::Fail(failure)));
                Ok(Sidecar { process: None, _stdin: None })
            }
            Err(failure) => Err(failure),
        }
    }

    async fn handle(&self, _: &mut Ctx, message: SidecarMessage, _: &mut Sidecar) -> Result<(), Failure> {
        match message {
            SidecarMessage::Fail(failure) => Err(failure),
        }
    }

    async fn stop(&self, ctx: &mut Ctx, sidecar: &mut Sidecar) {
        let Some(process) = &sidecar.process else { return };
        let exit = stop_within(ctx.stop_time_left(), process.stop(), || process.kill()).await;
        if exit.is_kill() {
            ctx.report_kill(exit.describe_kill());
        }
    }
}

impl SidecarActor {
    async fn launch_process(&self, ctx: &mut Ctx) -> Result<Sidecar, Failure> {
        let started_at = Instant::now();
        let process = self.launch.start(&self.manager).await.map_err(|error| launch_failure(&error))?;
        let ready_signal = Arc::new(self.launch.readiness.ready_signal());
        let stdin = process.take_stdio().map(|(stdin, stdout)| {
            ctx.spawn_maybe(drain(stdout, Arc::clone(&ready_signal)));
            stdin
        });
        if let Err(error) = self.launch.wait_until_ready(&process, &ready_signal).await {
            process.stop().await;
            return Err(launch_failure(&error));
        }
        ctx.record(&SidecarStarted { pid: process.pid(), ready_ms: millis(started_at.elapsed()) });
        let exited = process.exited();
        ctx.spawn(async move {
            SidecarMessage::Fail(failure(&format!("the backend's process ended: {}", exited.await)))
        });
        Ok(Sidecar { process: Some(process), _stdin: stdin })
    }
}

/// Returns the failure of a process that did not become ready.
fn launch_failure(error: &LaunchError) -> Failure {
    let failure = failure(&format!("the backend's process did not become ready: {error}"));
    match error.is_permanent() {
        true => {
            PermanentFailure::new(failure, "correct the backend's program, then start the backend").into()
        }
        false => failure,
    }
}

/// Returns a failure with the text of an error, which is bounded and without secrets.
fn failure(details: &str) -> Failure {
    Error::new(Reason::Unavailable).with_details(details).log_text().into()
}

/// Reads the output to its end, and keeps nothing of it.
async fn drain(mut stdout: ChildStdout, ready_signal: Arc<ReadySignal>) -> Option<SidecarMessage> {
    let (mut lines, mut piece) = (LineSplitter::new(LINE_BYTES_MAX), vec![0; PIECE_BYTES]);
    while let Ok(count @ 1..) = stdout.read(&mut piece).await {
        lines.push(&piece[..count], |line: OutputLine<'_>| {
            ready_signal.observe_line(&line);
        });
    }
    None
}

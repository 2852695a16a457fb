//! The sidecar actor: the backend's own process, where the runtime is to start it.
//!
//! - [`SidecarActor`]: the actor
//! - [`SidecarStarted`]: what it writes into the journal
//!
//! It is an actor because its restarts are a supervisor's business: when the process ends, the incarnation ends with an
//! error, the supervisor decides by its policy, and the next incarnation starts the process again. It never speaks to the
//! backend: whether that does its work is seen by those who do.

use std::sync::Arc;

use mainstay_runtime::journal::{Event, Level, millis, millis_text};
use mainstay_runtime::{Context, Failure, Message, Worker};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::process::ChildStdout;
use tokio::time::Instant;

use crate::error::{Error, Reason, Secrets};
use crate::process::{Launch, LineSplitter, OutputLine, Process, ProcessManager, ProcessStdin, ReadySignal};

/// The longest line of its output in which the text is looked for that says that it is ready, in bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// So much of its output is read at once.
const PIECE_BYTES: usize = 16 * 1024;

/// What every incarnation is made from.
pub struct SidecarActor {
    /// How it is started.
    pub launch: Launch,
    /// Who sees to it that it does not outlive the runtime.
    pub warden: ProcessManager,
    /// What is cut out of its words before they are told.
    pub secrets: Secrets,
    /// Called each time that it has become ready again.
    pub when_back: Box<dyn Fn() + Send + Sync>,
}

/// One incarnation: the process, until this is dropped.
pub struct Sidecar {
    process: Option<Process>,
    /// One that reads its input to the end learns by that end that it is stopped, or that the runtime is gone.
    _stdin: Option<ProcessStdin>,
}

/// What the sidecar's actor is told, by its own tasks alone.
#[derive(Debug)]
pub enum SidecarMessage {
    /// The process has ended, or did not come up.
    Fail(Box<Error>),
}

impl Message for SidecarMessage {
    fn label(&self) -> &'static str {
        match self {
            Self::Fail(_) => "Fail",
        }
    }
}

/// The backend's process runs, and is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarStarted {
    /// Its id.
    pub pid: u32,
    /// How long it took.
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

    /// Returns once it is ready.
    ///
    /// The first start does not fail with the process: the tree comes up without the backend, and the supervisor decides
    /// right after that.
    async fn start(&self, ctx: &mut Ctx, _: Option<()>) -> Result<Sidecar, Failure> {
        match self.bring_up(ctx).await {
            Ok(sidecar) => {
                if ctx.generation() > 1 {
                    (self.when_back)();
                }
                Ok(sidecar)
            }
            Err(error) if ctx.generation() == 1 => {
                ctx.spawn(std::future::ready(SidecarMessage::Fail(Box::new(error))));
                Ok(Sidecar { process: None, _stdin: None })
            }
            Err(error) => Err(error.log_text().into()),
        }
    }

    async fn handle(&self, _: &mut Ctx, message: SidecarMessage, _: &mut Sidecar) -> Result<(), Failure> {
        match message {
            SidecarMessage::Fail(error) => Err(error.log_text().into()),
        }
    }

    async fn stop(&self, _: &mut Ctx, sidecar: &mut Sidecar) {
        if let Some(process) = &sidecar.process {
            process.stop().await;
        }
    }
}

impl SidecarActor {
    async fn bring_up(&self, ctx: &mut Ctx) -> Result<Sidecar, Error> {
        let begun = Instant::now();
        let failed = |why: &dyn std::fmt::Display| {
            self.fault(&format!("the backend's process did not come up: {why}"))
        };
        let process = self.launch.start(&self.warden).await.map_err(|fault| failed(&fault))?;
        let cue = Arc::new(self.launch.readiness.ready_signal());
        let stdin = process.take_stdio().map(|(stdin, stdout)| {
            ctx.spawn_maybe(drain(stdout, Arc::clone(&cue)));
            stdin
        });
        if let Err(fault) = self.launch.wait_until_ready(&process, &cue).await {
            process.stop().await;
            return Err(failed(&fault));
        }
        ctx.record(&SidecarStarted { pid: process.pid(), ready_ms: millis(begun.elapsed()) });
        let (exited, secrets) = (process.exited(), self.secrets.clone());
        ctx.spawn(async move {
            let exit = exited.await;
            SidecarMessage::Fail(Box::new(fault(&format!("the backend's process ended: {exit}"), &secrets)))
        });
        Ok(Sidecar { process: Some(process), _stdin: stdin })
    }

    fn fault(&self, details: &str) -> Error {
        fault(details, &self.secrets)
    }
}

fn fault(details: &str, secrets: &Secrets) -> Error {
    Error::new(Reason::Unavailable).with_details(details).redacted(secrets)
}

/// Reads its output to the end, and keeps nothing of it.
async fn drain(mut stdout: ChildStdout, cue: Arc<ReadySignal>) -> Option<SidecarMessage> {
    let (mut lines, mut piece) = (LineSplitter::new(LINE_BYTES_MAX), vec![0; PIECE_BYTES]);
    while let Ok(count @ 1..) = stdout.read(&mut piece).await {
        lines.push(&piece[..count], |line: OutputLine<'_>| {
            cue.observe_line(&line);
        });
    }
    None
}

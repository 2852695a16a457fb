//! One process that runs, with all that it starts.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::exit::ProcessExit;
use super::manager::ProcessManager;
use super::output_tail::OutputTail;
use super::spec::{ProcessSpec, SpawnError};
use super::stdin::{ProcessStdin, StdinCloser};
use super::system::{self, ProcessGroup, ProcessRegistry};

/// How long an exit waits for the end of stderr, where something else keeps it open. What the process itself wrote is in
/// the pipe by then, and takes no longer than this to be read.
const STDERR_DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

/// Names one process for good: its id alone is given to others later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProcessIdentity {
    /// Its id, and that of its group.
    pub pid: u32,
    /// When it was started, as the system writes it; empty where it does not say.
    pub started: String,
    /// The mark in its environment, and in that of all that it starts.
    pub marker: String,
}

/// A process that runs, or ran. When this is dropped, it and all that it started are killed at once.
#[derive(Debug)]
pub struct Process {
    identity: ProcessIdentity,
    stdio: Mutex<Option<(ProcessStdin, ChildStdout)>>,
    phase: watch::Receiver<ProcessPhase>,
    stop_request: watch::Sender<StopRequest>,
    stderr_tail: Arc<Mutex<OutputTail>>,
    /// Dropped after the order, so that the order is seen.
    _manager: ProcessManager,
}

#[derive(Debug, Clone)]
enum ProcessPhase {
    Running,
    /// It has ended. What it started is being ended.
    Exited(ProcessExit),
    /// Nothing is left of it.
    AllExited(ProcessExit),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StopRequest {
    None,
    Stop,
    Kill,
}

/// What a process is reached by.
#[derive(Debug)]
pub(super) struct StdioPipes {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

/// How a process ended, as the system says.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct WaitStatus {
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
}

/// Whether time is given to end in order.
#[derive(Debug, Clone, Copy)]
pub(super) enum Grace {
    Configured,
    None,
}

impl Process {
    /// Starts it. Not before it is guarded and recorded does any of it run. Dropping the future ends it.
    ///
    /// Its stderr is read all the time, and its end is kept. Its output is for whoever takes it, and has to be read.
    ///
    /// # Errors
    ///
    /// Why it was not started. A program that turns out to be unfit only when it is run, for example for want of its
    /// interpreter, is told by its [`Exit`], with code 126 or 127.
    pub async fn start(spec: &ProcessSpec, warden: &ProcessManager) -> Result<Self, SpawnError> {
        spec.check()?;
        let custody = warden.registry()?;
        let (body, StdioPipes { stdin, stdout, stderr }) = ProcessGroup::spawn(spec, custody)?;
        let identity = body.identity();
        let (order, ordered) = watch::channel(StopRequest::None);
        let (told, phase) = watch::channel(ProcessPhase::Running);
        let (gate, opened) = oneshot::channel();
        let tail = Arc::<Mutex<OutputTail>>::default();
        let life = ProcessTask {
            group: body,
            registry: Arc::clone(custody),
            stop_signals: StopSignals { stop_request: ordered, closing: warden.closing() },
            phase: told,
            stderr_tail: Arc::clone(&tail),
        };
        warden.track(life.run(stdin, stderr, gate))?;
        let stdin = opened.await.unwrap_or(Err(SpawnError::Stopping))?;
        let stdio = Mutex::new(Some((stdin, stdout)));
        Ok(Self { identity, stdio, phase, stop_request: order, stderr_tail: tail, _manager: warden.clone() })
    }

    /// Its input and output, once.
    pub fn take_stdio(&self) -> Option<(ProcessStdin, ChildStdout)> {
        self.stdio.lock().take()
    }

    /// Its id, and that of its group.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.identity.pid
    }

    /// What names it for good.
    #[must_use]
    pub fn identity(&self) -> &ProcessIdentity {
        &self.identity
    }

    /// Waits until it has ended, by itself or not. What it started may still be there; see [`stop`](Self::stop).
    pub fn exited(&self) -> impl Future<Output = ProcessExit> + Send + 'static {
        wait_for_phase(self.phase.clone(), |phase| phase.exit().is_some())
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn exit(&self) -> Option<ProcessExit> {
        self.phase.borrow().exit().cloned()
    }

    /// Stops it, and returns when nothing is left of it: its input is closed, all that it started is asked to end, has
    /// the grace that was agreed, and is then killed. If it has ended already, waits until the rest has as well. Dropping the future changes
    /// nothing.
    pub async fn stop(&self) -> ProcessExit {
        // A kill is not taken back.
        self.stop_request.send_if_modified(|order| {
            let is_new = *order == StopRequest::None;
            if is_new {
                *order = StopRequest::Stop;
            }
            is_new
        });
        wait_for_phase(self.phase.clone(), |phase| matches!(phase, ProcessPhase::AllExited(_))).await
    }

    /// Kills it and all that it started. Waits for nothing; see [`stop`](Self::stop).
    pub fn kill(&self) {
        self.stop_request.send_replace(StopRequest::Kill);
        if self.exit().is_none() {
            // Not waited for yet, so its id is still its own. The rest is seen to by its task.
            system::kill_group(self.pid());
        }
    }

    /// The last lines of its stderr so far, as [`Exit::stderr`].
    #[must_use]
    pub fn stderr(&self) -> Vec<String> {
        self.stderr_tail.lock().lines()
    }

    /// The resident memory of it and all that it started, in bytes; memory that they share counts for each. `None` once
    /// it has ended, and where the system does not say.
    pub async fn memory(&self) -> Option<u64> {
        if self.exit().is_some() {
            return None;
        }
        system::resident_bytes(&self.identity).await.filter(|bytes| *bytes > 0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl ProcessPhase {
    fn exit(&self) -> Option<&ProcessExit> {
        match self {
            Self::Running => None,
            Self::Exited(exit) | Self::AllExited(exit) => Some(exit),
        }
    }
}

/// What is ordered: by the owner, or because everything is being stopped.
#[derive(Debug, Clone)]
struct StopSignals {
    stop_request: watch::Receiver<StopRequest>,
    closing: watch::Receiver<bool>,
}

impl StopSignals {
    /// Waits until it is to end.
    async fn wait_for_stop(&mut self) -> Grace {
        tokio::select! {
            ordered = self.stop_request.wait_for(|order| *order != StopRequest::None) => match ordered.as_deref() {
                Ok(StopRequest::Stop) => Grace::Configured,
                Ok(_) | Err(_) => Grace::None,
            },
            // The warden outlives every owner.
            _ = self.closing.wait_for(|closing| *closing) => Grace::Configured,
        }
    }

    /// Waits until nobody wants to wait for it any more: it is to be killed, or its owner is gone.
    async fn wait_for_kill(mut self) {
        let _ = self.stop_request.wait_for(|order| *order == StopRequest::Kill).await;
    }
}

/// The task of one process, from its start until nothing is left of it.
struct ProcessTask {
    group: ProcessGroup,
    registry: Arc<ProcessRegistry>,
    stop_signals: StopSignals,
    phase: watch::Sender<ProcessPhase>,
    stderr_tail: Arc<Mutex<OutputTail>>,
}

impl ProcessTask {
    async fn run(
        self,
        mut stdin: ChildStdin,
        stderr: ChildStderr,
        gate: oneshot::Sender<Result<ProcessStdin, SpawnError>>,
    ) {
        let registered = self.group.register(&self.registry).await;
        if registered.is_err() || gate.is_closed() {
            let left = self.group.shut_down(Grace::None, std::future::pending()).await;
            self.group.reap(&self.registry, &left).await;
            let _ = gate.send(registered.map(|()| ProcessStdin::new(stdin)));
            return;
        }
        self.group.open_gate(&mut stdin).await;
        let input = ProcessStdin::new(stdin);
        let pipe = input.closer();
        // Whoever does not take it has dropped the order as well.
        let _ = gate.send(Ok(input));
        let Self { group: body, registry: custody, stop_signals: orders, phase: told, stderr_tail: tail } =
            self;
        let (is_drained, drained) = oneshot::channel();
        let drain = async {
            read_stderr(stderr, &tail).await;
            drop(is_drained);
            std::future::pending().await
        };
        let live = Box::pin(run_until_exit(body, &custody, orders, &pipe, &told, &tail, drained));
        tokio::select! {
            () = live => {}
            () = drain => {}
        }
    }
}

async fn run_until_exit(
    mut body: ProcessGroup,
    custody: &ProcessRegistry,
    mut orders: StopSignals,
    input: &StdinCloser,
    told: &watch::Sender<ProcessPhase>,
    tail: &Mutex<OutputTail>,
    drained: oneshot::Receiver<()>,
) {
    let tell = async |status: WaitStatus| {
        let _ = timeout(STDERR_DRAIN_TIMEOUT, drained).await;
        let stderr = tail.lock().lines();
        let exit = ProcessExit { code: status.code, signal: status.signal, stderr, survivors: Vec::new() };
        told.send_replace(ProcessPhase::Exited(exit.clone()));
        exit
    };
    let (mut exit, left) = tokio::select! {
        status = body.wait_for_exit() => {
            let rest = body.shut_down(Grace::Configured, orders.wait_for_kill());
            tokio::join!(tell(status), rest)
        }
        grace = orders.wait_for_stop() => {
            // Some end when their input does, and whatever else is to happen to them; on Windows nothing else asks them to.
            input.close();
            let left = body.shut_down(grace, orders.clone().wait_for_kill()).await;
            // One that the kernel holds up may end much later.
            let status = if left.is_empty() { body.wait_for_exit().await } else { WaitStatus::default() };
            (tell(status).await, left)
        }
    };
    exit.survivors.clone_from(&left);
    body.reap(custody, &left).await;
    told.send_replace(ProcessPhase::AllExited(exit));
}

/// Reads it to its end.
async fn read_stderr(mut stderr: ChildStderr, tail: &Mutex<OutputTail>) {
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut piece).await {
        tail.lock().push(&piece[..count]);
    }
}

async fn wait_for_phase(
    mut phase: watch::Receiver<ProcessPhase>,
    is_reached: impl Fn(&ProcessPhase) -> bool,
) -> ProcessExit {
    let reached = phase.wait_for(is_reached).await.map(|phase| phase.exit().cloned());
    // Its task is gone only with the runtime that it runs in; what is known until then has to do.
    let last = match reached {
        Ok(exit) => exit,
        Err(_) => phase.borrow().exit().cloned(),
    };
    last.unwrap_or_default()
}

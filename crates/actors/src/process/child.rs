//! Runs one process and its descendants.

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};

use super::exit::{ProcessExit, ProcessExited, is_exec_failure};
use super::lines::LineSplitter;
use super::manager::ProcessManager;
use super::readiness::ReadySignal;
use super::spec::{ProcessSpec, SpawnError};
use super::stdin::{ProcessStdin, StdinCloser};
use super::system::{self, ProcessGroup, ProcessRegistry};
use crate::logs::{LogStream, ProcessLog};
use crate::standstill::until;

/// The time that the report of an exit waits for the end of the output while another process keeps that open. The
/// process's own output is in the pipes by then, and takes no longer to read.
const OUTPUT_DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

/// The longest line that is searched for the ready text, in bytes.
pub(super) const READY_LINE_BYTES_MAX: usize = 64 * 1024;

/// The longest time between two looks whether a signal or a debugger has stopped a process.
pub const SUSPENSION_LOOK_INTERVAL_MAX: Duration = Duration::from_secs(5);

/// The size of one read of stderr, in bytes.
const PIECE_BYTES: usize = 16 * 1024;

/// Identifies one process for good, while its id alone may be reused later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProcessIdentity {
    /// The id of the process and of its group.
    pub pid: u32,
    /// The time of its start, as the system writes it; empty if the system does not say.
    pub started: String,
    /// The marker in its environment, which its descendants inherit.
    pub marker: String,
}

/// The condition of a process, as the system says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProcessCondition {
    /// Runs, as far as the system says.
    Running,
    /// A signal or a debugger has stopped it.
    Suspended,
    /// Has exited.
    Exited,
}

/// A process that runs, or ran. Dropping it kills the process and its descendants at once.
#[derive(Debug)]
pub struct Process {
    identity: ProcessIdentity,
    stdio: Mutex<Option<(ProcessStdin, ChildStdout)>>,
    phase: watch::Receiver<ProcessPhase>,
    stop_request: watch::Sender<StopRequest>,
    log: ProcessLog,
    ready_signal: Arc<ReadySignal>,
    /// Held until the reader of stdout is known.
    output_guard: Mutex<Option<OutputGuard>>,
    /// Dropped after the stop request, so that the task sees the request first.
    _manager: ProcessManager,
}

/// Delays the report of the exit until it is dropped.
#[derive(Debug, Clone)]
struct OutputGuard {
    _open: mpsc::Sender<()>,
}

/// The stdout of a process, whose reader adds to the log. The exit is reported after this is dropped.
#[derive(Debug)]
pub(crate) struct LoggedStdout {
    stdout: ChildStdout,
    _guard: Option<OutputGuard>,
}

impl AsyncRead for LoggedStdout {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdout).poll_read(context, buffer)
    }
}

#[derive(Debug, Clone)]
enum ProcessPhase {
    Running,
    /// The process has exited. Its descendants are being ended.
    Exited(ProcessExit),
    /// The process and its descendants have exited.
    AllExited(ProcessExit),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum StopRequest {
    None,
    Stop,
    /// The stop no longer waits for what the process does at the end of its input.
    Ask,
    Kill,
}

/// The pipes of a process.
#[derive(Debug)]
pub(super) struct StdioPipes {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

/// The exit of a process, as the system reports it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct WaitStatus {
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
}

/// The time that a process gets to end before it is killed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Grace {
    /// The input of the process has ended, and the signal to end follows after a part of the grace.
    AfterInput,
    Configured,
    None,
}

impl Process {
    /// Starts the process. Nothing of it runs before it is watched and recorded. Dropping the future ends it.
    ///
    /// Its stderr is always read, and goes to [`ProcessSpec::log`]. The caller has to read its stdout.
    ///
    /// # Errors
    ///
    /// The process was not started. A program that fails only when it is run, such as one without its interpreter,
    /// shows this by its exit, with code 126 or 127.
    pub async fn start(spec: &ProcessSpec, manager: &ProcessManager) -> Result<Self, SpawnError> {
        Self::start_observed(spec, manager, ReadySignal::default()).await
    }

    /// Starts the process, as [`start`](Self::start), and shows its lines on stderr to the signal.
    pub(super) async fn start_observed(
        spec: &ProcessSpec,
        manager: &ProcessManager,
        ready_signal: ReadySignal,
    ) -> Result<Self, SpawnError> {
        let spec = spec.resolve()?;
        let registry = manager.registry()?;
        let log = spec.log.clone();
        log.begin(spec.known_secrets());
        let (group, StdioPipes { stdin, stdout, stderr }) = ProcessGroup::spawn(&spec, registry)?;
        let program = (spec.name.clone(), spec.command.first().cloned().unwrap_or_default());
        let identity = group.identity();
        let (request, requested) = watch::channel(StopRequest::None);
        let (phase_sender, phase) = watch::channel(ProcessPhase::Running);
        let (gate, gate_opened) = oneshot::channel();
        let (open, output_closed) = mpsc::channel(1);
        let output_guard = OutputGuard { _open: open };
        let ready_signal = Arc::new(ready_signal);
        let task = ProcessTask {
            group,
            program,
            registry: Arc::clone(registry),
            stop_signals: StopSignals { stop_request: requested, closing: manager.closing() },
            phase: phase_sender,
            log: log.clone(),
            ready_signal: Arc::clone(&ready_signal),
            output_closed,
        };
        manager.track(task.run(stdin, (stderr, output_guard.clone()), gate))?;
        let stdin = gate_opened.await.unwrap_or(Err(SpawnError::Stopping))?;
        let stdio = Mutex::new(Some((stdin, stdout)));
        Ok(Self {
            identity,
            stdio,
            phase,
            stop_request: request,
            log,
            ready_signal,
            output_guard: Mutex::new(Some(output_guard)),
            _manager: manager.clone(),
        })
    }

    /// Returns its stdin and stdout, once.
    pub fn take_stdio(&self) -> Option<(ProcessStdin, ChildStdout)> {
        self.output_guard.lock().take();
        self.stdio.lock().take()
    }

    /// Returns its stdin and stdout, once, for a reader that adds to the log.
    pub(crate) fn take_logged_stdio(&self) -> Option<(ProcessStdin, LoggedStdout)> {
        let guard = self.output_guard.lock().take();
        let (stdin, stdout) = self.stdio.lock().take()?;
        Some((stdin, LoggedStdout { stdout, _guard: guard }))
    }

    /// Returns the signal to which the reader of its stdout shows each line.
    pub(crate) fn ready_signal(&self) -> &Arc<ReadySignal> {
        &self.ready_signal
    }

    /// Returns the id of the process and of its group.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.identity.pid
    }

    /// Returns the identity of the process.
    #[must_use]
    pub fn identity(&self) -> &ProcessIdentity {
        &self.identity
    }

    /// Waits until the process has exited, for any cause. Its descendants may still run; see [`stop`](Self::stop).
    pub fn exited(&self) -> impl Future<Output = ProcessExit> + Send + 'static {
        wait_for_phase(self.phase.clone(), |phase| phase.exit().is_some())
    }

    /// Returns its exit, if it has exited.
    #[must_use]
    pub fn exit(&self) -> Option<ProcessExit> {
        self.phase.borrow().exit().cloned()
    }

    /// Stops the process, and returns when neither it nor a descendant is left.
    ///
    /// Its stdin is closed, and after [`ProcessSpec::input_grace`] all are asked to end. What is left after the configured
    /// grace is killed. If the process has exited already, this waits for its descendants. Dropping the future changes
    /// nothing.
    pub async fn stop(&self) -> ProcessExit {
        self.request(StopRequest::Stop);
        wait_for_phase(self.phase.clone(), |phase| matches!(phase, ProcessPhase::AllExited(_))).await
    }

    /// Asks the process and its descendants to end now, also while a [`stop`](Self::stop) waits for what they do at the end
    /// of their input. Waits for nothing.
    pub fn ask_to_end(&self) {
        self.request(StopRequest::Ask);
    }

    fn request(&self, wanted: StopRequest) {
        // A kill is never withdrawn.
        self.stop_request.send_if_modified(|request| {
            let is_more = *request < wanted;
            if is_more {
                *request = wanted;
            }
            is_more
        });
    }

    /// Kills the process and its descendants. Waits for nothing; see [`stop`](Self::stop).
    pub fn kill(&self) {
        self.stop_request.send_replace(StopRequest::Kill);
        if self.exit().is_none() {
            // It is not reaped yet, so its id is still its own. Its task ends the descendants.
            system::kill_group(self.pid());
        }
    }

    /// Returns the last line that it has printed and that is not blank, without secrets.
    #[must_use]
    pub fn last_line(&self) -> Option<String> {
        self.log.last_line()
    }

    /// Returns the resident memory of the process and its descendants, in bytes; shared memory counts for each.
    ///
    /// Returns `None` once the process has exited, and if the system does not say.
    pub async fn memory(&self) -> Option<u64> {
        if self.exit().is_some() {
            return None;
        }
        system::resident_bytes(&self.identity).await.filter(|bytes| *bytes > 0)
    }

    /// Returns whether a signal or a debugger has stopped the process, as SIGSTOP does. Always false on Windows.
    pub(crate) async fn is_suspended(&self) -> bool {
        self.condition().await == ProcessCondition::Suspended
    }

    /// Returns what the system says of the process now. After a standstill that may be more than [`exit`](Self::exit) knows.
    pub(crate) async fn condition(&self) -> ProcessCondition {
        match self.exit() {
            Some(_) => ProcessCondition::Exited,
            None => system::condition(&self.identity).await,
        }
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

/// The requests to stop a process: from its owner, or from the manager that closes.
#[derive(Debug, Clone)]
struct StopSignals {
    stop_request: watch::Receiver<StopRequest>,
    closing: watch::Receiver<bool>,
}

impl StopSignals {
    /// Waits for a request to stop.
    async fn wait_for_stop(&mut self) -> Grace {
        tokio::select! {
            requested = self.stop_request.wait_for(|request| *request != StopRequest::None) => match requested.as_deref() {
                Ok(StopRequest::Stop) => Grace::AfterInput,
                Ok(StopRequest::Ask) => Grace::Configured,
                Ok(_) | Err(_) => Grace::None,
            },
            // The manager outlives every owner.
            _ = self.closing.wait_for(|closing| *closing) => Grace::AfterInput,
        }
    }

    /// Waits for this request or more, or for the drop of the owner.
    async fn wait_for(mut self, wanted: StopRequest) {
        let _ = self.stop_request.wait_for(|request| *request >= wanted).await;
    }
}

/// The task of one process, from its start until nothing is left of it.
struct ProcessTask {
    group: ProcessGroup,
    /// The process's name and its program.
    program: (String, String),
    registry: Arc<ProcessRegistry>,
    stop_signals: StopSignals,
    phase: watch::Sender<ProcessPhase>,
    log: ProcessLog,
    ready_signal: Arc<ReadySignal>,
    /// Closed once all output is read.
    output_closed: mpsc::Receiver<()>,
}

impl ProcessTask {
    async fn run(
        self,
        mut stdin: ChildStdin,
        (stderr, output_guard): (ChildStderr, OutputGuard),
        gate: oneshot::Sender<Result<ProcessStdin, SpawnError>>,
    ) {
        let registered = self.group.register(&self.registry).await;
        if registered.is_err() || gate.is_closed() {
            let survivors = self.group.shut_down(Grace::None, pending(), pending()).await;
            self.group.reap(&self.registry, &survivors).await;
            let _ = gate.send(registered.map(|()| ProcessStdin::new(stdin)));
            return;
        }
        let pid = self.group.identity().pid;
        self.log.note(&format!("process {pid} has started"));
        self.group.open_gate(&mut stdin).await;
        let stdin = ProcessStdin::new(stdin);
        let closer = stdin.closer();
        // A caller that does not take it has dropped the stop request as well.
        let _ = gate.send(Ok(stdin));
        let Self { group, program, registry, stop_signals, phase, log, ready_signal, output_closed } = self;
        let drain = async {
            read_stderr(stderr, &log, &ready_signal).await;
            drop(output_guard);
            pending().await
        };
        let report = ExitReporter { pid, program, phase, log: &log, output_closed };
        let live = Box::pin(run_until_exit(group, &registry, stop_signals, &closer, report));
        tokio::select! {
            () = live => {}
            () = drain => {}
        }
    }
}

/// Reports the exit of a process.
struct ExitReporter<'a> {
    pid: u32,
    program: (String, String),
    phase: watch::Sender<ProcessPhase>,
    log: &'a ProcessLog,
    output_closed: mpsc::Receiver<()>,
}

impl ExitReporter<'_> {
    /// Reports the exit once the output is read, with its last lines.
    async fn report(&mut self, status: WaitStatus, was_requested: bool) -> ProcessExit {
        let _ = until(Instant::now() + OUTPUT_DRAIN_TIMEOUT, self.output_closed.recv()).await;
        let WaitStatus { code, signal } = status;
        let (pid, log) = (self.pid, self.log);
        let mut exit = ProcessExit { code, signal, ..ProcessExit::default() };
        log.end(&format!("process {pid} has ended: {}", exit.describe()));
        exit.stderr_line = log.last_stderr_line();
        let (name, program) = &self.program;
        exit.never_ran = is_exec_failure(code, exit.stderr_line.as_deref(), name, program);
        log.record(&ProcessExited { pid, code, signal, was_requested, output: log.own_excerpt() });
        self.phase.send_replace(ProcessPhase::Exited(exit.clone()));
        exit
    }
}

async fn run_until_exit(
    mut group: ProcessGroup,
    registry: &ProcessRegistry,
    mut signals: StopSignals,
    stdin: &StdinCloser,
    mut reporter: ExitReporter<'_>,
) {
    let (mut exit, survivors) = tokio::select! {
        status = group.wait_for_exit() => {
            let rest = group.shut_down(Grace::Configured, pending(), signals.wait_for(StopRequest::Kill));
            tokio::join!(reporter.report(status, false), rest)
        }
        grace = signals.wait_for_stop() => {
            // Some programs end when their stdin does. On Windows nothing else asks them to.
            stdin.close();
            let (asked, killed) = (signals.clone(), signals);
            let (asked, killed) = (asked.wait_for(StopRequest::Ask), killed.wait_for(StopRequest::Kill));
            let survivors = group.shut_down(grace, asked, killed).await;
            // The kernel may delay a process's end for much longer.
            let status = if survivors.is_empty() { group.wait_for_exit().await } else { WaitStatus::default() };
            (reporter.report(status, true).await, survivors)
        }
    };
    exit.survivors.clone_from(&survivors);
    group.reap(registry, &survivors).await;
    reporter.phase.send_replace(ProcessPhase::AllExited(exit));
}

/// Reads the stream to its end.
async fn read_stderr(mut stderr: ChildStderr, log: &ProcessLog, ready_signal: &ReadySignal) {
    let (mut lines, mut piece) = (LineSplitter::new(READY_LINE_BYTES_MAX), vec![0; PIECE_BYTES]);
    while let Ok(count @ 1..) = stderr.read(&mut piece).await {
        if ready_signal.is_waiting() {
            lines.push(&piece[..count], |line| {
                ready_signal.observe_line(&line);
            });
        }
        pause(log.push(LogStream::Err, &piece[..count])).await;
    }
}

/// Waits before the next read of an output, which is necessary in a flood only.
pub(crate) async fn pause(pause: Duration) {
    if !pause.is_zero() {
        sleep(pause).await;
    }
}

async fn wait_for_phase(
    mut phase: watch::Receiver<ProcessPhase>,
    is_reached: impl Fn(&ProcessPhase) -> bool,
) -> ProcessExit {
    let reached = phase.wait_for(is_reached).await.map(|phase| phase.exit().cloned());
    // The task ends early only with its tokio runtime. Then the last known phase has to do.
    let last = match reached {
        Ok(exit) => exit,
        Err(_) => phase.borrow().exit().cloned(),
    };
    last.unwrap_or_default()
}

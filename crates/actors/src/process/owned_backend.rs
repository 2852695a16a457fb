//! Implements the actor of the backend's own process, if the runtime starts the backend.
//!
//! - [`OwnedBackendActor`]: the actor; `address`: what each start is given; `listener`: who listens there
//! - [`OwnedBackendView`]: what others see of the process
//! - `suspension`: what follows when a signal stops the process; pure
//! - `events`: its events in the journal
//!
//! It is an actor so that a supervisor decides its restarts. Its start returns at once and defers its readiness: warming
//! up is a state of the process, for which no other actor waits. When the process ends, or is not ready in time, the
//! incarnation ends with an error, and the next incarnation starts the process again. It never speaks to the backend,
//! whose health other actors observe.

mod address;
mod events;
mod listener;
mod suspension;
mod view;

use std::sync::Arc;

use mainstay_runtime::journal::{millis, millis_text};
use mainstay_runtime::{Context, Failure, FinalizeContext, Message, UnrecoverableFailure, Worker};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep};

use self::address::assign_address;
pub use self::events::{BackendResumed, BackendStarted, BackendStarting, BackendSuspended};
use self::listener::{ListenerGuard, check_user, is_taken};
pub use self::suspension::SuspensionPolicy;
use self::suspension::{Suspension, SuspensionChange};
pub use self::view::{BackendProcess, OwnedBackendView};
use super::child::{LoggedStdout, Process, READY_LINE_BYTES_MAX, pause};
use super::launch::{Launch, LaunchError};
use super::lines::{LineSplitter, OutputLine};
use super::manager::ProcessManager;
use super::readiness::{Readiness, ReadySignal};
use super::stdin::ProcessStdin;
use super::stop_limit::stop_within;
use crate::error::{Error, Reason};
use crate::logs::{LogStream, ProcessLog};
use crate::network::BackendAddress;
use crate::network::urls::BaseUrl;

/// The size of one read of the output, in bytes.
const PIECE_BYTES: usize = 16 * 1024;

/// Makes the launch of one start, for the address that this start is given, if it is given one.
pub type PrepareLaunch = Box<dyn Fn(Option<&BackendAddress>) -> Result<Launch, Error> + Send + Sync>;

/// The settings of every incarnation.
pub struct OwnedBackendActor {
    /// Makes the launch of each start.
    pub prepare: PrepareLaunch,
    /// True if each start is given a free port and a secret; else the backend's address is configured.
    pub assigns_address: bool,
    /// The sign that the process is ready, as the rest of "it is ready when".
    pub awaits: String,
    /// The manager that ends the process with the runtime.
    pub manager: ProcessManager,
    /// The limits for a process that a signal or a debugger has stopped.
    pub suspension: SuspensionPolicy,
    /// The state of the process for others.
    pub view: OwnedBackendView,
    /// Called when the process has become ready, when it is not ready any more, and when no other start follows.
    pub on_change: Arc<dyn Fn(bool) + Send + Sync>,
}

/// The state of one incarnation. The process ends when this is dropped.
pub struct OwnedBackendState {
    started_at: Instant,
    launch: Option<Arc<Launch>>,
    address: Option<BackendAddress>,
    process: Option<Arc<Process>>,
    suspension: Suspension,
    /// Kept open: a program that reads its stdin to the end learns from that end that it is to stop.
    _stdin: Option<ProcessStdin>,
    presence: Presence,
}

/// Takes the process out of the view when its incarnation ends, in whatever way.
struct Presence {
    view: OwnedBackendView,
    /// True from the process's start until it ends by itself. Else the runtime ends it, in whatever way.
    is_running: bool,
    on_change: Arc<dyn Fn(bool) + Send + Sync>,
}

impl Drop for Presence {
    fn drop(&mut self) {
        if self.is_running {
            self.view.note_stop();
        }
        self.view.clear();
        (self.on_change)(false);
    }
}

/// The messages of the backend's actor, which its own tasks send.
#[derive(Debug)]
pub enum OwnedBackendMessage {
    /// The process was started.
    Spawned(Process),
    /// The process is ready.
    Ready {
        /// The address that it has reported, if it was to report one.
        url: Option<BaseUrl>,
    },
    /// A look at the process shows whether a signal or a debugger has stopped it.
    Looked {
        /// True if it is stopped.
        is_suspended: bool,
    },
    /// The process has exited by itself.
    Exited(Failure),
    /// The process was not started, or did not become ready and was stopped.
    Fail(Failure),
}

impl Message for OwnedBackendMessage {}

type OwnedBackendContext = Context<OwnedBackendMessage>;

impl Worker for OwnedBackendActor {
    type Message = OwnedBackendMessage;
    type State = OwnedBackendState;
    type Snapshot = ();

    /// Begins to start the process, and returns. It never fails, so that the tree starts also if the process cannot.
    async fn start(
        &self,
        ctx: &mut OwnedBackendContext,
        _: Option<()>,
    ) -> Result<OwnedBackendState, Failure> {
        ctx.defer_readiness();
        let mut state = OwnedBackendState {
            started_at: Instant::now(),
            launch: None,
            address: None,
            process: None,
            suspension: Suspension::default(),
            _stdin: None,
            presence: Presence {
                view: self.view.clone(),
                is_running: false,
                on_change: Arc::clone(&self.on_change),
            },
        };
        if let Err(error) = self.begin(ctx, &mut state) {
            let failure = OwnedBackendMessage::Fail(error.log_text().into());
            ctx.spawn(std::future::ready(failure));
        }
        Ok(state)
    }

    async fn handle(
        &self,
        ctx: &mut OwnedBackendContext,
        message: OwnedBackendMessage,
        state: &mut OwnedBackendState,
    ) -> Result<(), Failure> {
        match message {
            OwnedBackendMessage::Spawned(process) => self.await_readiness(ctx, state, process),
            OwnedBackendMessage::Ready { url } => self.announce_ready(ctx, state, url),
            OwnedBackendMessage::Looked { is_suspended } => self.note_suspension(ctx, state, is_suspended)?,
            OwnedBackendMessage::Exited(failure) => {
                // Before the others learn that it is not ready, and before the next process starts.
                self.view.note_exit();
                state.presence.is_running = false;
                return Err(failure);
            }
            OwnedBackendMessage::Fail(failure) => return Err(failure),
        }
        Ok(())
    }

    /// Says again that it is not ready: now for good, since it was stopped or given up.
    fn finalize(&self, _: &FinalizeContext<'_>) {
        (self.on_change)(false);
    }

    async fn stop(&self, ctx: &mut OwnedBackendContext, state: &mut OwnedBackendState) {
        let Some(process) = &state.process else { return };
        // Before the process closes its connections.
        self.view.note_stop();
        let (time_left, ask, kill) = (|| ctx.stop_time_left(), || process.ask_to_end(), || process.kill());
        let exit = stop_within(time_left, process.stop(), ask, kill).await;
        if exit.is_kill() {
            ctx.report_kill(exit.describe_kill());
        }
    }
}

impl OwnedBackendActor {
    fn begin(&self, ctx: &mut OwnedBackendContext, state: &mut OwnedBackendState) -> Result<(), Error> {
        if self.assigns_address {
            let address = state.address.insert(assign_address()?);
            ctx.add_secrets(address.token.clone());
        }
        let launch = Arc::new((self.prepare)(state.address.as_ref())?);
        state.launch = Some(Arc::clone(&launch));
        launch.spec.log.set_generation(ctx.generation());
        let manager = self.manager.clone();
        let probed = assigned_port(state).filter(|_| matches!(launch.readiness, Readiness::Probe(_)));
        ctx.spawn(async move {
            let started = match probed {
                // A probe may carry the secret, so it asks no server that is there before the process.
                Some(port) if is_taken(port).await => Err(LaunchError::AddressInUse),
                _ => launch.start(&manager).await,
            };
            match started {
                Ok(process) => OwnedBackendMessage::Spawned(process),
                Err(error) => OwnedBackendMessage::Fail(launch_failure(&error)),
            }
        });
        Ok(())
    }

    fn await_readiness(
        &self,
        ctx: &mut OwnedBackendContext,
        state: &mut OwnedBackendState,
        process: Process,
    ) {
        let Some(launch) = state.launch.clone() else { return };
        let url = state.address.as_ref().map(|address| address.url.to_string());
        self.view.set_process(&process, url, launch.spec.log.clone());
        state.presence.is_running = true;
        ctx.record(&BackendStarting {
            pid: process.pid(),
            awaits: self.awaits.clone(),
            ready_within_ms: millis(launch.ready_timeout),
        });
        let ready_signal = Arc::clone(process.ready_signal());
        if let Some((stdin, stdout)) = process.take_logged_stdio() {
            ctx.spawn_maybe(drain(stdout, Arc::clone(&ready_signal), launch.spec.log.clone()));
            state._stdin = Some(stdin);
        }
        let process = state.process.insert(Arc::new(process));
        self.schedule_look(ctx, process);
        let process = Arc::clone(process);
        let assigned = assigned_port(state);
        let view = self.view.clone();
        ctx.spawn(async move {
            match wait_until_ready(&launch, &process, assigned).await {
                Ok(url) => OwnedBackendMessage::Ready { url },
                Err(failure) if process.exit().is_some() => {
                    process.stop().await;
                    OwnedBackendMessage::Exited(failure)
                }
                Err(failure) => {
                    view.note_stop();
                    process.stop().await;
                    OwnedBackendMessage::Fail(failure)
                }
            }
        });
    }

    /// Looks at the process after the usual time.
    fn schedule_look(&self, ctx: &mut OwnedBackendContext, process: &Arc<Process>) {
        let (process, interval) = (Arc::clone(process), self.suspension.look_interval);
        ctx.spawn(async move {
            sleep(interval).await;
            OwnedBackendMessage::Looked { is_suspended: process.is_suspended().await }
        });
    }

    /// Shows whether the process is suspended, and fails if that lasts too long.
    fn note_suspension(
        &self,
        ctx: &mut OwnedBackendContext,
        state: &mut OwnedBackendState,
        is_suspended: bool,
    ) -> Result<(), Failure> {
        let Some(process) = &state.process else { return Ok(()) };
        let (pid, policy) = (process.pid(), self.suspension);
        let change = state.suspension.observe(is_suspended, ctx.now(), policy);
        self.view.set_suspended_since(state.suspension.since());
        match change {
            SuspensionChange::None => {}
            SuspensionChange::Began => {
                ctx.record(&BackendSuspended { pid, restart_after_ms: millis(policy.restart_after) });
            }
            SuspensionChange::Ended => ctx.record(&BackendResumed { pid }),
            SuspensionChange::Overdue { lasted } => {
                let lasted = millis_text(millis(lasted));
                return Err(failure(&format!(
                    "the backend's process has been stopped by a signal or a debugger for {lasted}"
                )));
            }
        }
        self.schedule_look(ctx, process);
        Ok(())
    }

    fn announce_ready(
        &self,
        ctx: &mut OwnedBackendContext,
        state: &mut OwnedBackendState,
        url: Option<BaseUrl>,
    ) {
        let Some(process) = &state.process else { return };
        if let (Some(address), Some(url)) = (&mut state.address, url) {
            address.url = url;
        }
        let started = BackendStarted { pid: process.pid(), ready_ms: millis(state.started_at.elapsed()) };
        let exited = process.exited();
        ctx.spawn(async move {
            let exit = exited.await;
            let failure = failure(&format!("the backend's process ended: {exit}"));
            OwnedBackendMessage::Exited(if exit.never_ran { unrecoverable(failure) } else { failure })
        });
        self.view.publish_address(state.address.clone());
        ctx.report_ready();
        ctx.record(&started);
        (self.on_change)(true);
    }
}

/// Returns the port that this start is assigned, if it is assigned one.
fn assigned_port(state: &OwnedBackendState) -> Option<u16> {
    state.address.as_ref().map(|address| address.url.port())
}

/// Waits until the process is ready, and returns the address that it has reported, if it was to report one.
///
/// A probe of an assigned address reaches the process's own listener alone. A process that reports its readiness itself
/// is believed: only another user's listener is refused.
async fn wait_until_ready(
    launch: &Launch,
    process: &Process,
    assigned: Option<u16>,
) -> Result<Option<BaseUrl>, Failure> {
    let refused = |error: Error| Failure::from(error.log_text());
    if let (Readiness::Probe(probe), Some(port)) = (&launch.readiness, assigned) {
        let guard = ListenerGuard::new(port, process.identity().clone(), launch.spec.log.clone());
        return match launch.wait_for(process, guard.wait_until_ready(probe)).await {
            Ok(ready) => ready.map(|()| None).map_err(refused),
            Err(error) => Err(guarded_failure(&error, guard.foreign_listener())),
        };
    }
    launch.wait_until_ready(process).await.map_err(|error| launch_failure(&error))?;
    let url = process.ready_signal().reported_url();
    if let Some(port) = url.as_ref().map(BaseUrl::port).or(assigned) {
        check_user(port).await.map_err(refused)?;
    }
    Ok(url)
}

/// Returns the failure of a process that did not become ready, with the listener that had its port until the end.
fn guarded_failure(error: &LaunchError, foreign_listener: Option<String>) -> Failure {
    match (error, foreign_listener) {
        (LaunchError::ReadyTimeout { .. }, Some(foreign)) => {
            failure(&format!("the backend's process did not become ready: {foreign}; {error}"))
        }
        _ => launch_failure(error),
    }
}

/// Returns the failure of a process that did not become ready.
fn launch_failure(error: &LaunchError) -> Failure {
    let failure = failure(&format!("the backend's process did not become ready: {error}"));
    match error.is_unrecoverable() {
        true => unrecoverable(failure),
        false => failure,
    }
}

fn unrecoverable(failure: Failure) -> Failure {
    UnrecoverableFailure::new(failure, "Correct the backend's program.").into()
}

/// Returns a failure with the text of an error, which is bounded and without secrets.
fn failure(details: &str) -> Failure {
    Error::new(Reason::Unavailable).with_details(details).log_text().into()
}

/// Reads the output to its end, and logs it.
async fn drain(
    mut stdout: LoggedStdout,
    ready_signal: Arc<ReadySignal>,
    log: ProcessLog,
) -> Option<OwnedBackendMessage> {
    let (mut lines, mut piece) = (LineSplitter::new(READY_LINE_BYTES_MAX), vec![0; PIECE_BYTES]);
    while let Ok(count @ 1..) = stdout.read(&mut piece).await {
        let flood_pause = log.push(LogStream::Out, &piece[..count]);
        lines.push(&piece[..count], |line: OutputLine<'_>| {
            ready_signal.observe_line(&line);
        });
        pause(flood_pause).await;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn failure_names_the_listener_that_had_the_port() {
        let timeout = LaunchError::ReadyTimeout { within: Duration::from_secs(1), last_line: None };
        let text = |error: &LaunchError, foreign: Option<&str>| {
            guarded_failure(error, foreign.map(str::to_owned)).to_string()
        };
        let before = "the backend's process did not become ready: ";
        let named = text(&timeout, Some("port 80 is taken"));
        assert_eq!(named, format!("{before}port 80 is taken; it was not ready within 1 s"));
        assert_eq!(text(&timeout, None), format!("{before}it was not ready within 1 s"));
        let other = text(&LaunchError::AddressInUse, Some("port 80 is taken"));
        assert!(!other.contains("port 80"), "{other}");
    }
}

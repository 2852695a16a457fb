//! One instance of an agent: its process and the connection to it.

use parking_lot::{Mutex, MutexGuard};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, timeout};

use super::client::AcpClient;
use super::error::AcpError;
use super::options::AcpOptions;
use super::session::SessionStart;
use crate::agent::driver::ProcessUsage;
use crate::agent::driver::jsonl::memory::MemoryGauge;
use crate::agent::driver::jsonl::errors::{exited_error, not_running_error, stopped_error};
use crate::agent::health::{Observation, ReportedHealth};
use crate::agent::updates::UpdateBroadcast;
use crate::error::{Error, Reason};
use crate::process::{Launch, LaunchError, Process, ProcessExit, ProcessManager};

/// The time for which the end of a connection waits for the end of the process, which says more.
const EXIT_TIMEOUT: Duration = Duration::from_millis(500);

/// Says why the connection to an agent failed.
#[derive(Debug)]
pub(super) enum AcpConnectError {
    /// The process did not start.
    Launch(LaunchError),
    /// The agent did not initialize or start a session.
    Protocol(AcpError),
}

/// A process and its connection. When this is dropped, the process is killed with all that it started.
pub(super) struct AcpInstance {
    process: Process,
    /// Set once the agent has initialized and started a session.
    client: OnceLock<AcpClient>,
    /// Whether the agent has initialized, and is resuming a session.
    is_resuming: AtomicBool,
    started_at: Instant,
    /// The reason for ending a process that still runs.
    kill_reason: Mutex<Option<Error>>,
    /// The reason of a requested stop. Once set, it explains the end however the process exits.
    stop_reason: OnceLock<Error>,
    memory: MemoryGauge,
}

impl AcpInstance {
    /// Starts the process. Nothing is sent before [`connect`](Self::connect).
    pub(super) async fn start(launch: &Launch, warden: &ProcessManager) -> Result<Self, LaunchError> {
        Ok(Self {
            process: launch.start(warden).await?,
            client: OnceLock::new(),
            is_resuming: AtomicBool::new(false),
            started_at: Instant::now(),
            kill_reason: Mutex::default(),
            stop_reason: OnceLock::new(),
            memory: MemoryGauge::default(),
        })
    }

    /// Initializes the protocol, and starts or resumes a session.
    pub(super) async fn connect(
        &self,
        launch: &Launch,
        cwd: &Path,
        kept: Option<&str>,
        feed: &UpdateBroadcast,
        options: &AcpOptions,
    ) -> Result<SessionStart, AcpConnectError> {
        launch
            .wait_until_ready(&self.process, &launch.readiness.ready_signal())
            .await
            .map_err(AcpConnectError::Launch)?;
        let Some((write, read)) = self.process.take_stdio() else {
            return Err(AcpConnectError::Protocol(AcpError::Closed));
        };
        let begun = async {
            let client = AcpClient::open(read, write, feed.clone(), options.clone()).await?;
            self.is_resuming.store(kept.is_some() && client.can_resume(), Ordering::Relaxed);
            let start = client.start_session(cwd, kept).await?;
            self.is_resuming.store(false, Ordering::Relaxed);
            Ok((client, start))
        };
        let begun = tokio::select! {
            biased;
            exit = self.process.exited() => return Err(AcpConnectError::Launch(LaunchError::Exited(exit))),
            begun = timeout(launch.ready_timeout, begun) => begun,
        };
        let begun = begun.map_err(|_| LaunchError::ReadyTimeout {
            within: launch.ready_timeout,
            stderr: self.process.stderr(),
        });
        match begun.map_err(AcpConnectError::Launch)? {
            Ok((client, start)) => {
                // Each instance connects once.
                let _ = self.client.set(client);
                Ok(start)
            }
            Err(fault) => Err(match self.exit_for(&fault).await {
                Some(exit) => AcpConnectError::Launch(LaunchError::Exited(exit)),
                None => AcpConnectError::Protocol(fault),
            }),
        }
    }

    /// Returns whether it ended while it was resuming a session.
    pub(super) fn is_resuming(&self) -> bool {
        self.is_resuming.load(Ordering::Relaxed)
    }

    /// Returns the connection, once there is a session.
    pub(super) fn client(&self) -> Option<&AcpClient> {
        self.client.get()
    }

    /// Returns the agent's health.
    pub(super) async fn observe(&self) -> Observation {
        let over = self.client().and_then(AcpClient::end);
        let exit = match &over {
            Some(fault) => self.exit_for(fault).await,
            None => self.process.exit(),
        };
        if let Some(exit) = exit {
            return Observation::Exited { why: self.stop_reason().unwrap_or_else(|| exited_error(&exit)) };
        }
        if let Some(why) = self.lock_kill_reason().clone().or_else(|| over.as_ref().map(disconnected_error)) {
            return Observation::Exited { why };
        }
        if self.client().is_none() {
            return Observation::Exited {
                why: not_running_error("its process has not begun a conversation yet"),
            };
        }
        Observation::Answered {
            reported: ReportedHealth::Healthy,
            uptime_s: Some(self.started_at.elapsed().as_secs_f64()),
            error_count: None,
        }
    }

    /// Waits until the process or the connection has ended.
    pub(super) fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let exited = self.process.exited().boxed();
        let ended = self.client().map(AcpClient::ended);
        async move {
            match ended {
                Some(ended) => tokio::select! {
                    _ = exited => {}
                    _ = ended => {}
                },
                None => drop(exited.await),
            }
        }
    }

    /// Returns the exit of the process, if that explains the end of the connection.
    pub(super) async fn exit_for(&self, fault: &AcpError) -> Option<ProcessExit> {
        if !fault.is_pipe_end() {
            return None;
        }
        timeout(EXIT_TIMEOUT, self.process.exited()).await.ok()
    }

    /// Returns the reason of a requested stop that came before the end.
    pub(super) fn stop_reason(&self) -> Option<Error> {
        self.stop_reason.get().cloned()
    }

    /// Stops the process, and returns when nothing of it is left.
    pub(super) async fn stop(&self) {
        // An end before the stop keeps its own reason.
        if self.process.exit().is_none() && self.client().is_none_or(|client| client.end().is_none()) {
            let _ = self.stop_reason.set(self.lock_kill_reason().clone().unwrap_or_else(stopped_error));
        }
        self.process.stop().await;
    }

    /// Kills the process without waiting.
    pub(super) fn kill(&self) {
        self.process.kill();
    }

    /// Marks a running process to be ended.
    pub(super) fn mark_for_kill(&self, why: &Error) {
        *self.lock_kill_reason() = Some(why.clone());
    }

    /// Measures its memory, in bytes.
    pub(super) async fn measure_memory(&self) -> Option<u64> {
        self.memory.measure(&self.process).await
    }

    /// Returns the process's usage, while it runs.
    pub(super) fn usage(&self) -> Option<ProcessUsage> {
        self.memory.usage_of(&self.process)
    }

    fn lock_kill_reason(&self) -> MutexGuard<'_, Option<Error>> {
        self.kill_reason.lock()
    }
}

/// Returns the error for a running agent whose connection has ended.
fn disconnected_error(fault: &AcpError) -> Error {
    Error::new(Reason::AgentFailed)
        .with_message(
            "The agent cannot be talked to any more, and is to be restarted. Look into its last error.",
        )
        .with_details(&fault.to_string())
}

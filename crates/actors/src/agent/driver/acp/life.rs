//! One life of an agent's process, with the connection to it.

use parking_lot::{Mutex, MutexGuard};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, timeout};

use super::client::AcpClient;
use super::fault::AcpError;
use super::options::AcpOptions;
use super::session::SessionStart;
use crate::agent::driver::ProcessUsage;
use crate::agent::driver::jsonl::memory::MemoryGauge;
use crate::agent::driver::jsonl::words::{exited_error, not_running_error, stopped_error};
use crate::agent::health::{Observation, ReportedHealth};
use crate::agent::updates::UpdateBroadcast;
use crate::error::{Error, Reason};
use crate::process::{Launch, LaunchError, Process, ProcessExit, ProcessManager};

/// How long the end of a connection waits for the end of the process, which says more.
const EXIT_TIMEOUT: Duration = Duration::from_millis(500);

/// Why an agent does not talk to us.
#[derive(Debug)]
pub(super) enum AcpConnectError {
    /// Its process did not come up.
    Launch(LaunchError),
    /// It did not introduce itself, or begin a conversation.
    Protocol(AcpError),
}

/// The process and the connection. When this is dropped, the process is killed with all that it started.
pub(super) struct AcpInstance {
    process: Process,
    /// Once it has introduced itself and begun a conversation.
    client: OnceLock<AcpClient>,
    /// It has introduced itself, and is to take a conversation up again.
    is_resuming: AtomicBool,
    started_at: Instant,
    /// Why it is to be ended though it runs.
    kill_reason: Mutex<Option<Error>>,
    /// Why it is being stopped, once it is: then however it ends, it ends for that.
    stop_reason: OnceLock<Error>,
    memory: MemoryGauge,
}

impl AcpInstance {
    /// Starts the process. Nothing has been said yet: see [`talk`](Self::talk).
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

    /// Has the agent introduce itself, and begins a conversation with it or takes up the one known as `kept`.
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
                // One life talks once.
                let _ = self.client.set(client);
                Ok(start)
            }
            Err(fault) => Err(match self.exit_for(&fault).await {
                Some(exit) => AcpConnectError::Launch(LaunchError::Exited(exit)),
                None => AcpConnectError::Protocol(fault),
            }),
        }
    }

    /// Whether it has introduced itself and got no further, since it was to take a conversation up again.
    pub(super) fn is_resuming(&self) -> bool {
        self.is_resuming.load(Ordering::Relaxed)
    }

    /// The connection, where there is a conversation.
    pub(super) fn client(&self) -> Option<&AcpClient> {
        self.client.get()
    }

    /// How it is.
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

    /// Waits until it has ended, or talks no more.
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

    /// How the process ended, where that is why the connection did.
    pub(super) async fn exit_for(&self, fault: &AcpError) -> Option<ProcessExit> {
        if !fault.is_pipe_end() {
            return None;
        }
        timeout(EXIT_TIMEOUT, self.process.exited()).await.ok()
    }

    /// Why it is being stopped, or was, if that came before its end.
    pub(super) fn stop_reason(&self) -> Option<Error> {
        self.stop_reason.get().cloned()
    }

    /// Stops it, and returns when nothing is left of it.
    pub(super) async fn stop(&self) {
        // What happened before is told as what it was.
        if self.process.exit().is_none() && self.client().is_none_or(|client| client.end().is_none()) {
            let _ = self.stop_reason.set(self.lock_kill_reason().clone().unwrap_or_else(stopped_error));
        }
        self.process.stop().await;
    }

    /// Kills it, and waits for nothing.
    pub(super) fn kill(&self) {
        self.process.kill();
    }

    /// It is to be ended, though it runs.
    pub(super) fn mark_for_kill(&self, why: &Error) {
        *self.lock_kill_reason() = Some(why.clone());
    }

    /// Looks how much memory it takes, in bytes.
    pub(super) async fn measure_memory(&self) -> Option<u64> {
        self.memory.measure(&self.process).await
    }

    /// What is known of the process, while it runs.
    pub(super) fn usage(&self) -> Option<ProcessUsage> {
        self.memory.usage_of(&self.process)
    }

    fn lock_kill_reason(&self) -> MutexGuard<'_, Option<Error>> {
        self.kill_reason.lock()
    }
}

/// The agent runs, and cannot be talked to any more.
fn disconnected_error(fault: &AcpError) -> Error {
    Error::new(Reason::AgentFailed)
        .with_message(
            "The agent cannot be talked to any more, and is to be restarted. Look into its last error.",
        )
        .with_details(&fault.to_string())
}

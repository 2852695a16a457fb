//! An instance of an agent: its process and the connection to it.

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::timeout;

use super::client::AcpClient;
use super::error::AcpError;
use super::options::AcpOptions;
use super::session::{Login, SessionStart};
use crate::agent::driver::process::errors::{exited_error, not_running_error};
use crate::agent::driver::process::{EXIT_TIMEOUT, Instance, ManagedProcess, ProcessSetup};
use crate::agent::health::{Observation, ReportedHealth};
use crate::error::{Error, Reason};
use crate::process::{LaunchError, ProcessExit};

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
    managed: ManagedProcess,
    /// Set once the agent has initialized and started a session.
    client: OnceLock<AcpClient>,
    /// True if the agent has initialized, and is resuming a session.
    is_resuming: AtomicBool,
}

impl AcpInstance {
    /// Starts the process. Nothing is sent before [`connect`](Self::connect).
    pub(super) async fn start(setup: &ProcessSetup) -> Result<Self, LaunchError> {
        Ok(Self {
            managed: ManagedProcess::start(setup).await?,
            client: OnceLock::new(),
            is_resuming: AtomicBool::new(false),
        })
    }

    /// Initializes the protocol, logs in if that was asked for, and starts or resumes a session.
    pub(super) async fn connect(
        &self,
        setup: &ProcessSetup,
        cwd: &Path,
        saved: Option<&str>,
        login: Option<Login>,
        options: &AcpOptions,
    ) -> Result<SessionStart, AcpConnectError> {
        let ProcessSetup { launch, updates, .. } = setup;
        launch.wait_until_ready(self.managed.process()).await.map_err(AcpConnectError::Launch)?;
        let Some((write, read)) = self.managed.process().take_logged_stdio() else {
            return Err(AcpConnectError::Protocol(AcpError::Closed));
        };
        // A login may wait for a person.
        let within = match &login {
            Some(_) => launch.ready_timeout.saturating_add(options.login_timeout),
            None => launch.ready_timeout,
        };
        let connected = async {
            let client = AcpClient::open(read, write, updates.clone(), options.clone()).await?;
            if let Some(Login(method)) = login {
                client.log_in(method.as_deref()).await?;
            }
            self.is_resuming.store(saved.is_some() && client.can_resume(), Ordering::Relaxed);
            let start = client.start_session(cwd, saved).await?;
            self.is_resuming.store(false, Ordering::Relaxed);
            Ok((client, start))
        };
        let connected = tokio::select! {
            biased;
            exit = self.managed.process().exited() => return Err(AcpConnectError::Launch(LaunchError::Exited(exit))),
            connected = timeout(within, connected) => connected,
        };
        let connected = connected
            .map_err(|_| LaunchError::ReadyTimeout { within, last_line: self.managed.process().last_line() });
        match connected.map_err(AcpConnectError::Launch)? {
            Ok((client, start)) => {
                // Each instance connects once.
                let _ = self.client.set(client);
                Ok(start)
            }
            Err(error) => Err(match self.exit_for(&error).await {
                Some(exit) => AcpConnectError::Launch(LaunchError::Exited(exit)),
                None => AcpConnectError::Protocol(error),
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

    /// Returns the exit of the process, if that explains the end of the connection.
    pub(super) async fn exit_for(&self, error: &AcpError) -> Option<ProcessExit> {
        if !error.is_pipe_end() {
            return None;
        }
        timeout(EXIT_TIMEOUT, self.managed.process().exited()).await.ok()
    }

    /// Returns the reason of a requested stop that came before the end.
    pub(super) fn stop_reason(&self) -> Option<Error> {
        self.managed.stop_reason().get().cloned()
    }
}

impl Instance for AcpInstance {
    fn managed(&self) -> &ManagedProcess {
        &self.managed
    }

    async fn observe(&self) -> Observation {
        let end = self.client().and_then(AcpClient::end);
        let exit = match &end {
            Some(error) => self.exit_for(error).await,
            None => self.managed.process().exit(),
        };
        if let Some(exit) = exit {
            return Observation::Exited { why: self.stop_reason().unwrap_or_else(|| exited_error(&exit)) };
        }
        if let Some(why) = self.managed.kill_reason().or_else(|| end.as_ref().map(disconnected_error)) {
            return Observation::Exited { why };
        }
        if self.client().is_none() {
            return Observation::Exited {
                why: not_running_error("its process has not started a session yet"),
            };
        }
        Observation::Answered {
            reported: ReportedHealth::Healthy,
            uptime_s: Some(self.managed.uptime_s()),
            error_count: self.client().map(AcpClient::lines_skipped),
        }
    }

    /// Resolves at once: the protocol has no ping.
    async fn ping(&self) {}

    /// Resolves when the process or the connection has ended.
    fn ended(&self) -> BoxFuture<'static, ()> {
        let exited = self.managed.process().exited().boxed();
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
        .boxed()
    }

    async fn stop(&self) {
        // An end before the stop keeps its own reason.
        if self.managed.process().exit().is_none()
            && self.client().is_none_or(|client| client.end().is_none())
        {
            self.managed.note_stop();
        }
        self.managed.process().stop().await;
    }

    fn kill(&self) {
        self.managed.process().kill();
    }
}

/// Returns the error for a running agent whose connection has ended.
fn disconnected_error(error: &AcpError) -> Error {
    Error::new(Reason::AgentFailed)
        .with_message("The connection to the agent has ended. Look into its last error.")
        .with_details(&error.to_string())
}

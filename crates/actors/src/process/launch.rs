//! Starts a process, and waits until it is ready.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use mainstay_runtime::journal::{millis, millis_text};
use thiserror::Error;
use tokio::time::Instant;

use super::child::Process;
use super::exit::{ProcessExit, line_suffix};
use super::manager::ProcessManager;
use super::readiness::{ProbeResult, Readiness, run_probe};
use super::spec::{ProcessSpec, SpawnError};
use crate::standstill::until;

/// The program to start, and the sign that it is ready.
#[derive(Clone)]
pub struct Launch {
    /// The program to start.
    pub spec: ProcessSpec,
    /// The sign that the process is ready.
    pub readiness: Readiness,
    /// The time that it may take until it is ready.
    pub ready_timeout: Duration,
    /// Prepares each start, where that depends on what is known only then; else it is of `spec` and `readiness`.
    pub prepare: Option<PrepareStart>,
}

/// The program of one start, and the sign that it is ready, where that differs from those of the launch.
pub struct PreparedStart {
    /// The program to start.
    pub spec: ProcessSpec,
    /// The sign that it is ready, of the same kind as that of the launch; `None` for that one.
    pub readiness: Option<Readiness>,
}

/// Prepares one start. It may wait without limit for what it needs; dropping the start ends that.
pub type PrepareStart = Arc<dyn Fn() -> BoxFuture<'static, Result<PreparedStart, SpawnError>> + Send + Sync>;

/// Says why a process did not become ready.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum LaunchError {
    /// The process was not started.
    #[error(transparent)]
    NotStarted(#[from] SpawnError),
    /// A foreign server answers at the address that is to show readiness, so its answer could be taken for the
    /// process's. Nothing was started.
    #[error(
        "another server answers at the address that is to show when the process is ready; \
         stop that server, or configure another address"
    )]
    AddressInUse,
    /// The process exited before it was ready.
    #[error("before it was ready, {0}")]
    Exited(ProcessExit),
    /// The process was not ready in time. It may still run.
    #[error("it was not ready within {}{}", millis_text(millis(*within)), line_suffix("its last line", last_line.as_deref()))]
    ReadyTimeout {
        /// The time that it had.
        within: Duration,
        /// The last line that it has printed.
        last_line: Option<String>,
    },
}

impl LaunchError {
    /// Returns whether a later launch would fail as well, until a person changes something.
    pub(crate) fn is_unrecoverable(&self) -> bool {
        match self {
            Self::NotStarted(error) => error.is_unrecoverable(),
            Self::Exited(exit) => exit.never_ran,
            Self::AddressInUse | Self::ReadyTimeout { .. } => false,
        }
    }
}

impl Launch {
    /// Starts the process, unless another server answers at the address that is to show readiness.
    ///
    /// # Errors
    /// [`LaunchError::AddressInUse`] and [`LaunchError::NotStarted`].
    pub(crate) async fn start(&self, manager: &ProcessManager) -> Result<Process, LaunchError> {
        if let Readiness::Probe(probe) = &self.readiness
            && run_probe(probe).await != ProbeResult::NoListener
        {
            return Err(LaunchError::AddressInUse);
        }
        let Some(prepare) = &self.prepare else {
            return Ok(Process::start_observed(&self.spec, manager, self.readiness.ready_signal()).await?);
        };
        let PreparedStart { spec, readiness } = prepare().await?;
        let signal = readiness.as_ref().unwrap_or(&self.readiness).ready_signal();
        Ok(Process::start_observed(&spec, manager, signal).await?)
    }

    /// Waits until the process is ready. The reader of its stdout shows each line to its ready signal.
    ///
    /// # Errors
    /// [`LaunchError::Exited`] and [`LaunchError::ReadyTimeout`].
    pub(crate) async fn wait_until_ready(&self, process: &Process) -> Result<(), LaunchError> {
        self.wait_for(process, self.readiness.wait_until_ready(process.ready_signal())).await
    }

    /// Waits for `ready`, which ends when the process is ready, for as long as the process runs and its time lasts.
    ///
    /// # Errors
    /// [`LaunchError::Exited`] and [`LaunchError::ReadyTimeout`].
    pub(super) async fn wait_for<T>(
        &self,
        process: &Process,
        ready: impl Future<Output = T>,
    ) -> Result<T, LaunchError> {
        let deadline = Instant::now() + self.ready_timeout;
        tokio::select! {
            biased;
            // A process that reports readiness and exits counts as exited.
            exit = process.exited() => Err(LaunchError::Exited(exit)),
            ready = until(deadline, ready) => ready.ok_or_else(|| {
                LaunchError::ReadyTimeout { within: self.ready_timeout, last_line: process.last_line() }
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn preparation_takes_no_time_from_the_start() {
        let ready_timeout = Duration::from_secs(1);
        let wait = Duration::from_secs(3600);
        let prepare: PrepareStart = Arc::new(move || {
            Box::pin(async move {
                sleep(wait).await;
                Err(SpawnError::Stopping)
            })
        });
        let spec = ProcessSpec::new("agent", ["true".to_owned()]);
        let launch = Launch { spec, readiness: Readiness::None, ready_timeout, prepare: Some(prepare) };
        let before = Instant::now();
        let started = launch.start(&ProcessManager::new()).await;
        assert!(matches!(started, Err(LaunchError::NotStarted(SpawnError::Stopping))), "{started:?}");
        assert_eq!(before.elapsed(), wait);
    }
}

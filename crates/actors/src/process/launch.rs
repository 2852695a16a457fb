//! Starts a process, and waits until it is ready.

use std::time::Duration;

use thiserror::Error;
use tokio::time::sleep;

use super::child::Process;
use super::exit::{ProcessExit, stderr_summary};
use super::manager::ProcessManager;
use super::readiness::{Readiness, ReadySignal};
use super::spec::{ProcessSpec, SpawnError};

/// What is to be started, and when it is ready.
#[derive(Clone)]
pub struct Launch {
    /// What is to be started.
    pub spec: ProcessSpec,
    /// How one sees that it is ready.
    pub readiness: Readiness,
    /// How long it may take until then.
    pub ready_timeout: Duration,
}

/// Why a process did not come up.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// It was not started.
    #[error(transparent)]
    NotStarted(#[from] SpawnError),
    /// Somebody answers already where it would answer once it is ready, so that could not be told from its own answer.
    /// Nothing was started.
    #[error(
        "before it was started, somebody else answered at the address where it is to answer once it is ready; \
         end that, or have both use another address"
    )]
    AddressInUse,
    /// It ended before it was ready.
    #[error("before it was ready, {0}")]
    Exited(ProcessExit),
    /// It was not ready in time. It may still run.
    #[error("it was not ready within {within:?}{}", stderr_suffix(stderr))]
    ReadyTimeout {
        /// How long it had.
        within: Duration,
        /// The last lines of its stderr, as [`Exit::stderr`].
        stderr: Vec<String>,
    },
}

fn stderr_suffix(stderr: &[String]) -> String {
    match stderr_summary(stderr).as_str() {
        "" => String::new(),
        words => format!("; {words}"),
    }
}

impl Launch {
    /// Starts it, if nobody is there already who could be taken for it.
    ///
    /// # Errors
    /// [`LaunchFault::InUse`] and [`LaunchFault::NotStarted`].
    pub async fn start(&self, warden: &ProcessManager) -> Result<Process, LaunchError> {
        if let Readiness::Http(probe) = &self.readiness
            && probe.is_address_in_use().await
        {
            return Err(LaunchError::AddressInUse);
        }
        Ok(Process::start(&self.spec, warden).await?)
    }

    /// Waits until it is ready. `cue` is shown all lines of its output by whoever reads that.
    ///
    /// # Errors
    /// [`LaunchFault::Exited`] and [`LaunchFault::Late`].
    pub async fn wait_until_ready(&self, process: &Process, cue: &ReadySignal) -> Result<(), LaunchError> {
        tokio::select! {
            biased;
            // One that says that it is ready and ends has ended.
            exit = process.exited() => Err(LaunchError::Exited(exit)),
            () = self.readiness.wait_until_ready(cue) => Ok(()),
            () = sleep(self.ready_timeout) => {
                Err(LaunchError::ReadyTimeout { within: self.ready_timeout, stderr: process.stderr() })
            }
        }
    }
}

//! Starts a process, and waits until it is ready.

use std::time::Duration;

use thiserror::Error;
use tokio::time::sleep;

use super::child::Process;
use super::exit::{Exit, last_words};
use super::readiness::{Cue, Readiness};
use super::spec::{ProcessSpec, StartFault};
use super::warden::Warden;

/// What is to be started, and when it is ready.
#[derive(Clone)]
pub struct Launch {
    /// What is to be started.
    pub spec: ProcessSpec,
    /// How one sees that it is ready.
    pub ready: Readiness,
    /// How long it may take until then.
    pub ready_within: Duration,
}

/// Why a process did not come up.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LaunchFault {
    /// It was not started.
    #[error(transparent)]
    NotStarted(#[from] StartFault),
    /// Somebody answers already where it would answer once it is ready, so that could not be told from its own answer.
    /// Nothing was started.
    #[error(
        "before it was started, somebody else answered at the address where it is to answer once it is ready; \
         end that, or have both use another address"
    )]
    InUse,
    /// It ended before it was ready.
    #[error("before it was ready, {0}")]
    Exited(Exit),
    /// It was not ready in time. It may still run.
    #[error("it was not ready within {within:?}{}", told(stderr))]
    Late {
        /// How long it had.
        within: Duration,
        /// The last lines of its stderr, as [`Exit::stderr`].
        stderr: Vec<String>,
    },
}

fn told(stderr: &[String]) -> String {
    match last_words(stderr).as_str() {
        "" => String::new(),
        words => format!("; {words}"),
    }
}

impl Launch {
    /// Starts it, if nobody is there already who could be taken for it.
    ///
    /// # Errors
    /// [`LaunchFault::InUse`] and [`LaunchFault::NotStarted`].
    pub async fn start(&self, warden: &Warden) -> Result<Process, LaunchFault> {
        if let Readiness::Http(probe) = &self.ready
            && probe.is_taken().await
        {
            return Err(LaunchFault::InUse);
        }
        Ok(Process::start(&self.spec, warden).await?)
    }

    /// Waits until it is ready. `cue` is shown all lines of its output by whoever reads that.
    ///
    /// # Errors
    /// [`LaunchFault::Exited`] and [`LaunchFault::Late`].
    pub async fn ready(&self, process: &Process, cue: &Cue) -> Result<(), LaunchFault> {
        tokio::select! {
            biased;
            // One that says that it is ready and ends has ended.
            exit = process.exited() => Err(LaunchFault::Exited(exit)),
            () = self.ready.reached(cue) => Ok(()),
            () = sleep(self.ready_within) => {
                Err(LaunchFault::Late { within: self.ready_within, stderr: process.stderr() })
            }
        }
    }
}

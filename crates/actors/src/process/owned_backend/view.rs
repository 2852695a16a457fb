//! Shows the backend's own process to others, also while no incarnation of its actor runs.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::logs::ProcessLog;
use crate::network::{BackendAddress, BackendEnds};
use crate::process::child::Process;

/// The backend's own process, as others see it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct OwnedBackendView(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    run: Mutex<Option<RunningBackend>>,
    /// The address that the present process was given, while it is ready.
    address: watch::Sender<Option<BackendAddress>>,
    ends: watch::Sender<BackendEnds>,
}

/// A process that runs.
#[derive(Debug)]
struct RunningBackend {
    pid: u32,
    url: Option<String>,
    log: ProcessLog,
    suspended_since: Option<Duration>,
}

/// The backend's process at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendProcess {
    /// The process's id.
    pub pid: u32,
    /// The address that this start was given, if it was given one.
    pub url: Option<String>,
    /// The last line that it has printed, without secrets.
    pub last_line: Option<String>,
    /// The time since which a signal or a debugger keeps it stopped, as the looks at it show it.
    pub suspended_since: Option<Duration>,
}

impl OwnedBackendView {
    /// Returns the process, while one runs.
    #[must_use]
    pub fn process(&self) -> Option<BackendProcess> {
        let run = self.0.run.lock();
        let RunningBackend { pid, url, log, suspended_since } = run.as_ref()?;
        Some(BackendProcess {
            pid: *pid,
            url: url.clone(),
            last_line: log.last_line(),
            suspended_since: *suspended_since,
        })
    }

    /// Returns the address that the present process was given. There is none while it is not ready.
    #[must_use]
    pub fn address(&self) -> watch::Receiver<Option<BackendAddress>> {
        self.0.address.subscribe()
    }

    /// Returns the number of times that a process has ended. An end is counted before the next process starts.
    #[must_use]
    pub fn ends(&self) -> watch::Receiver<BackendEnds> {
        self.0.ends.subscribe()
    }

    /// Notes that the process has ended by itself.
    pub(super) fn note_exit(&self) {
        self.0.ends.send_modify(|ends| ends.exits += 1);
    }

    /// Notes that the runtime begins or has finished to end the process.
    pub(super) fn note_stop(&self) {
        self.0.ends.send_modify(|ends| ends.stops += 1);
    }

    pub(super) fn set_process(&self, process: &Process, url: Option<String>, log: ProcessLog) {
        *self.0.run.lock() = Some(RunningBackend { pid: process.pid(), url, log, suspended_since: None });
    }

    pub(super) fn set_suspended_since(&self, suspended_since: Option<Duration>) {
        if let Some(run) = &mut *self.0.run.lock() {
            run.suspended_since = suspended_since;
        }
    }

    pub(super) fn publish_address(&self, address: Option<BackendAddress>) {
        if let (Some(run), Some(address)) = (&mut *self.0.run.lock(), &address) {
            run.url = Some(address.url.to_string());
        }
        self.0.address.send_replace(address);
    }

    pub(super) fn clear(&self) {
        *self.0.run.lock() = None;
        self.0.address.send_replace(None);
    }
}

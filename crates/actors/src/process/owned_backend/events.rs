//! The events of the backend's own process.

use mainstay_runtime::journal::{Event, Level, millis_text};
use serde::{Deserialize, Serialize};

/// The backend's process runs, and is not ready yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct BackendStarting {
    /// The process's id.
    pub pid: u32,
    /// The sign that it is ready.
    pub awaits: String,
    /// The time that it has to become ready, in milliseconds.
    pub ready_within_ms: u64,
}

impl Event for BackendStarting {
    const KIND: &'static str = "backend_starting";
    const LEVEL: Level = Level::Info;

    fn describe(&self) -> String {
        let Self { pid, awaits, ready_within_ms } = self;
        let within = millis_text(*ready_within_ms);
        format!("the backend is starting as process {pid}; it is ready when {awaits}, within {within}")
    }
}

/// The backend's process runs and is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct BackendStarted {
    /// The process's id.
    pub pid: u32,
    /// The time that the start took, in milliseconds.
    pub ready_ms: u64,
}

impl Event for BackendStarted {
    const KIND: &'static str = "backend_started";
    const LEVEL: Level = Level::Info;

    fn describe(&self) -> String {
        format!("the backend is ready as process {} after {}", self.pid, millis_text(self.ready_ms))
    }
}

/// A signal or a debugger has stopped the backend's process, so that it does nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct BackendSuspended {
    /// The process's id.
    pub pid: u32,
    /// The time after which the backend is restarted if that lasts, in milliseconds.
    pub restart_after_ms: u64,
}

impl Event for BackendSuspended {
    const KIND: &'static str = "backend_suspended";
    const LEVEL: Level = Level::Warn;

    fn describe(&self) -> String {
        let Self { pid, restart_after_ms } = self;
        let after = millis_text(*restart_after_ms);
        format!(
            "the backend's process {pid} is stopped by a signal or a debugger; it is restarted if that lasts {after}"
        )
    }
}

/// The backend's process continues after a signal or a debugger had stopped it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct BackendResumed {
    /// The process's id.
    pub pid: u32,
}

impl Event for BackendResumed {
    const KIND: &'static str = "backend_resumed";
    const LEVEL: Level = Level::Info;

    fn describe(&self) -> String {
        format!("the backend's process {} continues", self.pid)
    }
}

//! The events of the backend's own process.

use mainstay_runtime::journal::{Event, Level, millis_text};
use serde::{Deserialize, Serialize};

/// The backend's process runs, and is not ready yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

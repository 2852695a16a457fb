//! Watches the memory of an agent's process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use crate::agent::driver::ProcessUsage;
use crate::error::{Error, Reason};
use crate::process::{MemoryCeiling, Process};

/// The memory at the last measurement, in bytes; 0 if unknown.
#[derive(Debug, Default)]
pub(super) struct MemoryGauge(AtomicU64);

impl MemoryGauge {
    /// Measures the memory.
    pub(super) async fn measure(&self, process: &Process) -> Option<u64> {
        let bytes = process.memory().await;
        self.0.store(bytes.unwrap_or(0), Ordering::Relaxed);
        bytes
    }

    /// Returns the process's usage, while it runs.
    pub(super) fn usage_of(&self, process: &Process) -> Option<ProcessUsage> {
        if process.exit().is_some() {
            return None;
        }
        let bytes = self.0.load(Ordering::Relaxed);
        Some(ProcessUsage { pid: process.pid(), memory_bytes: (bytes > 0).then_some(bytes) })
    }
}

/// Calls `look` every `interval`, and returns the reason for a restart once the memory is too high. Never returns
/// without a ceiling, or once `look` says that the process is gone.
pub(super) async fn wait_until_over_ceiling<Look: Future<Output = Option<Option<u64>>>>(
    bytes_max: Option<u64>,
    interval: Duration,
    look: impl Fn() -> Look,
) -> Error {
    let mut ceiling = bytes_max.map(MemoryCeiling::new);
    loop {
        sleep(interval).await;
        let Some(bytes) = look().await else { return std::future::pending().await };
        if let Some(ceiling) = &mut ceiling
            && ceiling.record_reading(bytes)
        {
            return memory_error(bytes.unwrap_or_default(), ceiling.bytes_max());
        }
    }
}

fn memory_error(bytes: u64, bytes_max: u64) -> Error {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let details =
        format!("it takes {} MiB of memory, more than the {} MiB that it may", mib(bytes), mib(bytes_max));
    Error::new(Reason::AgentFailed)
        .with_message("The agent takes more memory than it may. Look for a leak if that repeats.")
        .with_details(&details)
}

//! How much memory an agent takes, and when that is more than it may.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use crate::agent::driver::ProcessUsage;
use crate::error::{Error, Reason};
use crate::process::{MemoryCeiling, Process};

/// What a process takes, in bytes, as last looked at; 0 where that is not known.
#[derive(Debug, Default)]
pub(in crate::agent) struct MemoryGauge(AtomicU64);

impl MemoryGauge {
    /// Looks how much it takes.
    pub(in crate::agent) async fn measure(&self, process: &Process) -> Option<u64> {
        let bytes = process.memory().await;
        self.0.store(bytes.unwrap_or(0), Ordering::Relaxed);
        bytes
    }

    /// What is known of the process, while it runs.
    pub(in crate::agent) fn usage_of(&self, process: &Process) -> Option<ProcessUsage> {
        if process.exit().is_some() {
            return None;
        }
        let bytes = self.0.load(Ordering::Relaxed);
        Some(ProcessUsage { pid: process.pid(), memory_bytes: (bytes > 0).then_some(bytes) })
    }
}

/// Looks at the memory that an agent takes, in bytes, every `interval`, and returns why it is to be restarted once that is
/// too much. Never returns where it may take any, or once `look` says that it is gone.
pub(in crate::agent) async fn wait_until_over_ceiling<Look: Future<Output = Option<Option<u64>>>>(
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
        .with_message("The agent takes more memory than it may, and is to be restarted. Look for a leak if that repeats.")
        .with_details(&details)
}

//! When an agent takes more memory than it may.

use std::time::Duration;

use tokio::time::sleep;

use crate::error::{Error, Reason};
use crate::process::MemoryCeiling;

/// Looks at the memory that an agent takes, in bytes, every `interval`, and returns why it is to be restarted once that is
/// too much. Never returns where it may take any, or once `look` says that it is gone.
pub(in crate::agent) async fn over_ceiling<Look: Future<Output = Option<Option<u64>>>>(
    bytes_max: Option<u64>,
    interval: Duration,
    look: impl Fn() -> Look,
) -> Error {
    let mut ceiling = bytes_max.map(MemoryCeiling::new);
    loop {
        sleep(interval).await;
        let Some(bytes) = look().await else { return std::future::pending().await };
        if let Some(ceiling) = &mut ceiling
            && ceiling.is_exceeded_by(bytes)
        {
            return too_large(bytes.unwrap_or_default(), ceiling.bytes_max());
        }
    }
}

fn too_large(bytes: u64, bytes_max: u64) -> Error {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let details =
        format!("it takes {} MiB of memory, more than the {} MiB that it may", mib(bytes), mib(bytes_max));
    Error::new(Reason::AgentFailed)
        .with_message("The agent takes more memory than it may, and is to be restarted. Look for a leak if that repeats.")
        .with_details(&details)
}

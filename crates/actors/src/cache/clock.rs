//! The clock by which entries age: the runtime's time plus the time for which the computer slept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mainstay_runtime::journal::millis;
use tokio::time::Instant;

/// The clock's reading when the cache begins, since a loaded value may be older than the cache. It is the longest age
/// in HTTP (RFC 9111, 1.2.2): 68 years.
const START_OFFSET: Duration = Duration::from_secs(1 << 31);

/// A clock that never goes back. Clones are the same clock.
///
/// On most systems the runtime's time stands still while the computer sleeps, but entries age all the same.
#[derive(Debug, Clone)]
pub(super) struct CacheClock {
    started_at: Instant,
    slept_ms: Arc<AtomicU64>,
}

impl CacheClock {
    #[allow(clippy::disallowed_methods, reason = "tokio's clock is the paused one in tests")]
    pub(super) fn new() -> Self {
        Self { started_at: Instant::now(), slept_ms: Arc::default() }
    }

    pub(super) fn now(&self) -> Duration {
        START_OFFSET
            + self.started_at.elapsed()
            + Duration::from_millis(self.slept_ms.load(Ordering::Relaxed))
    }

    /// Adds the length of the computer's sleep, which the runtime's time does not include.
    pub(super) fn add_sleep(&self, slept: Duration) {
        self.slept_ms.fetch_add(millis(slept), Ordering::Relaxed);
    }
}

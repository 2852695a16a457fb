//! The time by which values grow old: the runtime's, and what the machine slept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mainstay_runtime::journal::millis;
use tokio::time::Instant;

/// What the clock shows when the cache begins: what is loaded may be older than the cache. It is the longest age that HTTP
/// tells (RFC 9111, 1.2.2), 68 years.
const START_OFFSET: Duration = Duration::from_secs(1 << 31);

/// A clock that only goes on. Clones are the same clock.
///
/// The runtime's time stands still while the machine sleeps, on most systems, and what is kept grows old all the same.
#[derive(Debug, Clone)]
pub(super) struct CacheClock {
    started_at: Instant,
    suspended_ms: Arc<AtomicU64>,
}

impl CacheClock {
    #[allow(clippy::disallowed_methods, reason = "tokio's clock is the paused one in tests")]
    pub(super) fn new() -> Self {
        Self { started_at: Instant::now(), suspended_ms: Arc::default() }
    }

    pub(super) fn now(&self) -> Duration {
        START_OFFSET
            + self.started_at.elapsed()
            + Duration::from_millis(self.suspended_ms.load(Ordering::Relaxed))
    }

    /// The machine slept for so long, of which the runtime's time knows nothing.
    pub(super) fn add_suspend(&self, slept: Duration) {
        self.suspended_ms.fetch_add(millis(slept), Ordering::Relaxed);
    }
}

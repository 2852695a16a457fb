//! Whether a kept connection may be one that the server is about to close.
//!
//! Some servers close a connection after a fault of the application, without having said so in their answer (uvicorn
//! does). What has only one chance would run into that close, and its outcome would be unknown. And where one kept
//! connection was closed, the others may be as well: a repeat would meet them one after the other. So for as long as such
//! a connection can be in the pool, a request gets one of its own.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use super::POOL_IDLE_TIMEOUT;

#[derive(Debug)]
pub(super) struct StaleConnectionGuard {
    created: Instant,
    /// In milliseconds since `created`.
    until_ms: AtomicU64,
}

impl StaleConnectionGuard {
    pub(super) fn new() -> Self {
        Self { created: Instant::now(), until_ms: AtomicU64::new(0) }
    }

    /// Returns whether one of the kept connections may be such a one.
    pub(super) fn is_active(&self, now: Instant) -> bool {
        self.elapsed_ms(now) < self.until_ms.load(Ordering::Relaxed)
    }

    /// Notes the sign of it: a server's failure over a connection that may be kept, or a kept one that broke.
    pub(super) fn mark(&self, now: Instant) {
        // A connection that is kept for longer has been used again since, or is let go. That counts from the end of the
        // answer, and this from its beginning.
        self.until_ms.fetch_max(self.elapsed_ms(now + POOL_IDLE_TIMEOUT * 2), Ordering::Relaxed);
    }

    fn elapsed_ms(&self, at: Instant) -> u64 {
        u64::try_from(at.duration_since(self.created).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn stale_guard_ends_with_the_pool_idle_timeout() {
        let (doubt, now) = (StaleConnectionGuard::new(), Instant::now());
        assert!(!doubt.is_active(now));
        doubt.mark(now);
        assert!(doubt.is_active(now) && doubt.is_active(now + POOL_IDLE_TIMEOUT));
        assert!(!doubt.is_active(now + POOL_IDLE_TIMEOUT * 2));
    }
}

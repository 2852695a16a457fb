//! Says when a kept connection may be stale.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use super::settings::POOL_IDLE_TIMEOUT;

/// Tracks whether the server may be about to close a kept connection.
///
/// Some servers close a connection after a fault of the application without announcing it in their response (uvicorn
/// does). A request with one chance would run into that close, and its outcome would be unknown. If one kept
/// connection was closed, the others may be as well, and a repeat would meet them one by one. So while such a
/// connection can be in the pool, these requests get a new one.
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

    /// Returns whether a kept connection may be stale.
    pub(super) fn is_active(&self, now: Instant) -> bool {
        self.elapsed_ms(now) < self.until_ms.load(Ordering::Relaxed)
    }

    /// Marks the kept connections as doubtful: a server failed over one, or one broke.
    pub(super) fn mark(&self, now: Instant) {
        // Connections that are kept for longer have been used since, or were closed. Their time counts from the end
        // of a response, and this mark from its beginning.
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
        let (guard, now) = (StaleConnectionGuard::new(), Instant::now());
        assert!(!guard.is_active(now));
        guard.mark(now);
        assert!(guard.is_active(now) && guard.is_active(now + POOL_IDLE_TIMEOUT));
        assert!(!guard.is_active(now + POOL_IDLE_TIMEOUT * 2));
    }
}

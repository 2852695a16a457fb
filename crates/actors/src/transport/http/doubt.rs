//! Whether a kept connection may be one that the server is about to close.
//!
//! Some servers close a connection after a fault of the application, without having said so in their answer (uvicorn
//! does). What must not be sent twice would run into that close, and then nobody knew whether it was carried out. So for
//! as long as such a connection can be in the pool, it gets one of its own.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use super::POOL_IDLE_TIMEOUT;

#[derive(Debug)]
pub(super) struct Doubt {
    created: Instant,
    /// In milliseconds since `created`.
    until_ms: AtomicU64,
}

impl Doubt {
    pub(super) fn none() -> Self {
        Self { created: Instant::now(), until_ms: AtomicU64::new(0) }
    }

    /// Whether one of the kept connections carried a server's failure of late.
    pub(super) fn is_there(&self, now: Instant) -> bool {
        self.millis(now) < self.until_ms.load(Ordering::Relaxed)
    }

    /// A server's failure has come over a connection that may be kept.
    pub(super) fn arise(&self, now: Instant) {
        // A connection that is kept for longer has been used again since, or is let go. That counts from the end of the
        // answer, and this from its beginning.
        self.until_ms.fetch_max(self.millis(now + POOL_IDLE_TIMEOUT * 2), Ordering::Relaxed);
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.duration_since(self.created).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_servers_failure_is_forgotten_when_its_connection_is_no_longer_kept() {
        let (doubt, now) = (Doubt::none(), Instant::now());
        assert!(!doubt.is_there(now));
        doubt.arise(now);
        assert!(doubt.is_there(now) && doubt.is_there(now + POOL_IDLE_TIMEOUT));
        assert!(!doubt.is_there(now + POOL_IDLE_TIMEOUT * 2));
    }
}
